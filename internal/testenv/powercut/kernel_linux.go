package powercut

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// kernel does what the kernel asks for. It lets it remember no name and no attribute, so that
// whatever the kernel knows of the time before the power failed, but for the pages of nodes that
// are none any more, is asked anew.
type kernel struct {
	fuse.RawFileSystem // answers the rest with ENOSYS
	disk               *disk

	// Directories that are being read go by their handles; the disk's lock guards them, too.
	lastRead uint64
	reading  map[uint64][]entry
}

func (k *kernel) lock() func() {
	k.disk.mu.Lock()
	return k.disk.mu.Unlock
}

func attributes(n *node, out *fuse.Attr) {
	size := uint64(len(n.live))
	*out = fuse.Attr{
		Ino: n.id, Size: size, Blocks: (size + sector - 1) / sector, Blksize: 4096,
		Nlink: 1,
		Owner: fuse.Owner{Uid: uint32(syscall.Geteuid()), Gid: uint32(syscall.Getegid())},
	}
	out.Mode = kind(n) | n.mode&0o7777
	switch {
	case n.dir:
		out.Nlink = 2
	case n.link != "":
		out.Size = uint64(len(n.link))
	}
	if n.removed {
		out.Nlink = 0
	}
	out.SetTimes(&n.time, &n.time, &n.time)
}

func kind(n *node) uint32 {
	switch {
	case n.dir:
		return syscall.S_IFDIR
	case n.link != "":
		return syscall.S_IFLNK
	default:
		return syscall.S_IFREG
	}
}

func found(n *node, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	attributes(n, &out.Attr)
}

func (k *kernel) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string,
	out *fuse.EntryOut) fuse.Status {
	defer k.lock()()
	n, errno := k.disk.lookup(in.NodeId, name)
	if errno == 0 {
		found(n, out)
	}
	return fuse.Status(errno)
}

func (k *kernel) Forget(id, lookups uint64) {
	defer k.lock()()
	k.disk.forget(id, lookups)
}

func (k *kernel) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer k.lock()()
	n, errno := k.disk.get(in.NodeId)
	if errno == 0 {
		attributes(n, &out.Attr)
	}
	return fuse.Status(errno)
}

func (k *kernel) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer k.lock()()
	if size, ok := in.GetSize(); ok {
		if errno := k.disk.resize(in.NodeId, size); errno != 0 {
			return fuse.Status(errno)
		}
	}
	n, errno := k.disk.get(in.NodeId)
	if errno != 0 {
		return fuse.Status(errno)
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = mode & 0o7777
	}
	if changed, ok := in.GetMTime(); ok {
		n.time = changed
	}
	attributes(n, &out.Attr)
	return fuse.OK
}

func (k *kernel) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer k.lock()()
	n, errno := k.disk.create(in.NodeId, name, true, in.Mode)
	if errno == 0 {
		found(n, out)
	}
	return fuse.Status(errno)
}

func (k *kernel) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string,
	out *fuse.EntryOut) fuse.Status {
	defer k.lock()()
	n, errno := k.disk.create(in.NodeId, name, false, 0o777)
	if errno == 0 {
		n.link = target
		found(n, out)
	}
	return fuse.Status(errno)
}

func (k *kernel) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	defer k.lock()()
	n, errno := k.disk.get(in.NodeId)
	if errno != 0 {
		return nil, fuse.Status(errno)
	}
	return []byte(n.link), fuse.OK
}

func (k *kernel) Create(_ <-chan struct{}, in *fuse.CreateIn, name string,
	out *fuse.CreateOut) fuse.Status {
	defer k.lock()()
	n, errno := k.disk.create(in.NodeId, name, false, in.Mode)
	if errno == 0 {
		found(n, &out.EntryOut)
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	return fuse.Status(errno)
}

func (k *kernel) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer k.lock()()
	_, errno := k.disk.get(in.NodeId)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.Status(errno)
}

func (k *kernel) Release(<-chan struct{}, *fuse.ReleaseIn) {}

func (k *kernel) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer k.lock()()
	return fuse.Status(k.disk.unlink(in.NodeId, name))
}

func (k *kernel) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer k.lock()()
	return fuse.Status(k.disk.unlink(in.NodeId, name))
}

func (k *kernel) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	const noReplace = 1
	if in.Flags&^noReplace != 0 {
		return fuse.EINVAL
	}
	defer k.lock()()
	return fuse.Status(k.disk.rename(in.NodeId, oldName, in.Newdir, newName, in.Flags == 0))
}

func (k *kernel) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer k.lock()()
	n, errno := k.disk.read(in.NodeId, int64(in.Offset), buf)
	return fuse.ReadResultData(buf[:n]), fuse.Status(errno)
}

func (k *kernel) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer k.lock()()
	errno := k.disk.write(in.NodeId, int64(in.Offset), data,
		in.Flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0)
	if errno != 0 {
		return 0, fuse.Status(errno)
	}
	return uint32(len(data)), fuse.OK
}

func (k *kernel) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer k.lock()()
	return fuse.Status(k.disk.sync(in.NodeId))
}

func (k *kernel) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return k.Fsync(cancel, in)
}

func (k *kernel) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer k.lock()()
	const block, total = 4096, 256 << 30 / 4096
	*out = fuse.StatfsOut{Bsize: block, Frsize: block, Blocks: total, Bfree: total / 2,
		Bavail: total / 2, NameLen: 255,
		Files: 1 << 30, Ffree: 1 << 29}
	if k.disk.off {
		return fuse.EIO
	}
	return fuse.OK
}

func (k *kernel) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer k.lock()()
	all, errno := k.disk.list(in.NodeId)
	if errno != 0 {
		return fuse.Status(errno)
	}
	k.lastRead++
	k.reading[k.lastRead] = all
	out.Fh = k.lastRead
	return fuse.OK
}

// ReadDir reads the directory as it was when it was opened or rewound.
func (k *kernel) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer k.lock()()
	now, errno := k.disk.list(in.NodeId)
	if errno != 0 {
		return fuse.Status(errno)
	}
	if in.Offset == 0 {
		k.reading[in.Fh] = now
	}
	for _, e := range k.reading[in.Fh][min(in.Offset, uint64(len(k.reading[in.Fh]))):] {
		if !out.AddDirEntry(fuse.DirEntry{Name: e.name, Mode: kind(e.node), Ino: e.node.id}) {
			break
		}
	}
	return fuse.OK
}

func (k *kernel) ReleaseDir(in *fuse.ReleaseIn) {
	defer k.lock()()
	delete(k.reading, in.Fh)
}
