package powercut

import (
	"bytes"
	"maps"
	"slices"
	"syscall"
	"time"
)

// lookup finds a name in a directory.
func (d *disk) lookup(parent uint64, name string) (*node, syscall.Errno) {
	dir, errno := d.get(parent)
	if errno != 0 {
		return nil, errno
	}
	n := dir.names[name]
	if n == nil {
		return nil, syscall.ENOENT
	}
	n.lookups++
	return n, 0
}

// create makes an empty file or directory.
func (d *disk) create(parent uint64, name string, dir bool, mode uint32) (*node, syscall.Errno) {
	in, errno := d.getForChange(parent)
	switch {
	case errno != 0:
		return nil, errno
	case in.removed:
		return nil, syscall.ENOENT
	case in.names[name] != nil:
		return nil, syscall.EEXIST
	}
	d.lastID++
	n := &node{id: d.lastID, dir: dir, mode: mode, time: time.Now(), lookups: 1}
	if dir {
		n.names, n.safeNames = map[string]*node{}, map[string]*node{}
	}
	d.nodes[n.id] = n
	d.record(naming{in, name, n})
	return n, 0
}

// unlink removes a name of a file, or of an empty directory.
func (d *disk) unlink(parent uint64, name string) syscall.Errno {
	in, errno := d.getForChange(parent)
	if errno != 0 {
		return errno
	}
	n := in.names[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	d.record(naming{in, name, nil})
	d.remove(n)
	return 0
}

// rename gives a node another name, in place of what had that name.
func (d *disk) rename(from uint64, oldName string, to uint64, newName string,
	replace bool) syscall.Errno {
	source, errno := d.getForChange(from)
	if errno != 0 {
		return errno
	}
	target, errno := d.get(to)
	if errno != 0 {
		return errno
	}
	n, old := source.names[oldName], target.names[newName]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n == old:
		return 0
	case old != nil && !replace:
		return syscall.EEXIST
	case old != nil && len(old.names) > 0:
		return syscall.ENOTEMPTY
	}
	d.record(naming{source, oldName, nil}, naming{target, newName, n})
	return 0
}

// read copies what a file holds from an offset on, and returns how many bytes it copied. It works
// without power, too, since a process that maps a file would not get an error but be killed.
func (d *disk) read(id uint64, offset int64, buf []byte) (int, syscall.Errno) {
	n := d.nodes[id]
	if n == nil {
		return 0, syscall.EIO
	}
	if offset >= int64(len(n.live)) {
		return 0, 0
	}
	return copy(buf, n.live[offset:]), 0
}

// write writes a copy of data and syncs the file if it was opened for that.
func (d *disk) write(id uint64, offset int64, data []byte, sync bool) syscall.Errno {
	n, errno := d.getForChange(id)
	if errno != 0 {
		return errno
	}
	if offset+int64(len(data)) > maxSize {
		return syscall.EFBIG
	}
	n.change(change{at: offset, data: bytes.Clone(data)})
	if sync {
		d.makeSafe(n)
	}
	return 0
}

func (d *disk) resize(id uint64, size uint64) syscall.Errno {
	n, errno := d.getForChange(id)
	switch {
	case errno != 0:
		return errno
	case size > maxSize:
		return syscall.EFBIG
	case size != uint64(len(n.live)):
		n.change(change{at: int64(size), resize: true})
	}
	return 0
}

func (d *disk) sync(id uint64) syscall.Errno {
	n, errno := d.getForChange(id)
	if errno == 0 {
		d.makeSafe(n)
	}
	return errno
}

func (d *disk) makeSafe(n *node) {
	n.sync()
	d.keep(n.born)
	if n.dir {
		d.keep(n.changed)
	}
}

// entry is a name in a directory.
type entry struct {
	name string
	node *node
}

// list returns what is in a directory, in the order of the names.
func (d *disk) list(id uint64) ([]entry, syscall.Errno) {
	n, errno := d.get(id)
	if errno != 0 {
		return nil, errno
	}
	all := make([]entry, 0, len(n.names))
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		all = append(all, entry{name, n.names[name]})
	}
	return all, 0
}
