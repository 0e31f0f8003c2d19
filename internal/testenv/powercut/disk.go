package powercut

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	rootID = 1
	// maxSize bounds a file, since it is in memory twice.
	maxSize = 1 << 30
)

// disk is what the file system holds and what of it is safe. Nodes go by their ids, which are never
// used again.
type disk struct {
	mu    sync.Mutex
	root  *node
	nodes map[uint64]*node
	// lastID is the last id given.
	lastID uint64
	// journal has the changes of names that are not safe; safe counts those that are.
	journal [][]naming
	safe    uint64
	// off says that there is no power; with a chance, it fails in place of the change after the
	// next left ones.
	off    bool
	left   int
	chance *rand.Rand
}

// naming gives a name in a directory to a node, or takes it from all if there is none.
type naming struct {
	dir  *node
	name string
	to   *node
}

func newDisk() *disk {
	d := &disk{lastID: rootID}
	d.root = &node{id: rootID, dir: true, mode: 0o755, time: time.Now(), names: map[string]*node{},
		safeNames: map[string]*node{}}
	d.nodes = map[uint64]*node{rootID: d.root}
	return d
}

// cutAfter makes the power fail in place of the change number n+1, at once for zero.
func (d *disk) cutAfter(n int, r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.off:
	case n == 0:
		d.cut(r)
	default:
		d.left, d.chance = n, r
	}
}

func (d *disk) cut(r *rand.Rand) {
	d.off, d.chance = true, nil
	d.keep(d.safe + uint64(r.IntN(len(d.journal)+1)))
	d.root.survive(r)
}

// keep makes the journal safe up to the entry of that number.
func (d *disk) keep(number uint64) {
	for ; d.safe < number && len(d.journal) > 0; d.safe++ {
		for _, e := range d.journal[0] {
			if e.to == nil {
				delete(e.dir.safeNames, e.name)
			} else {
				e.dir.safeNames[e.name] = e.to
			}
		}
		d.journal = d.journal[1:]
	}
}

func (d *disk) restore() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.off {
		return errors.New("the power is on")
	}
	for id, n := range d.nodes {
		if n.dead = true; n.lookups == 0 {
			delete(d.nodes, id)
		}
	}
	d.off, d.journal = false, nil
	d.root = d.revive(d.root, rootID)
	return nil
}

// revive makes a node anew from what is safe of it, under another id, so that nobody who knew the
// old one, the kernel with its cached pages least of all, takes it for the same.
func (d *disk) revive(old *node, id uint64) *node {
	n := &node{id: id, dir: old.dir, mode: old.mode, time: old.time, link: old.link, safe: old.safe,
		live: slices.Clone(old.safe)}
	d.nodes[id] = n
	if !n.dir {
		return n
	}
	n.names, n.safeNames = map[string]*node{}, map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(old.safeNames)) {
		d.lastID++
		child := d.revive(old.safeNames[name], d.lastID)
		n.names[name], n.safeNames[name] = child, child
	}
	return n
}

// get returns a node for reading.
func (d *disk) get(id uint64) (*node, syscall.Errno) {
	n := d.nodes[id]
	if d.off || n == nil || n.dead {
		return nil, syscall.EIO
	}
	return n, 0
}

// getForChange returns a node for a change, which may be the one at which the power fails.
func (d *disk) getForChange(id uint64) (*node, syscall.Errno) {
	switch {
	case d.chance == nil: // no failure is planned
	case d.left == 0:
		d.cut(d.chance)
	default:
		d.left--
	}
	return d.get(id)
}

// record does a change of names and puts it into the journal.
func (d *disk) record(all ...naming) {
	d.journal = append(d.journal, all)
	number := d.safe + uint64(len(d.journal))
	for _, e := range all {
		e.dir.changed, e.dir.time = number, time.Now()
		if e.to == nil {
			delete(e.dir.names, e.name)
			continue
		}
		if old := e.dir.names[e.name]; old != nil {
			d.remove(old)
		}
		e.dir.names[e.name] = e.to
		if e.to.born == 0 {
			e.to.born = number
		}
	}
}

func (d *disk) remove(n *node) {
	n.removed = true
	d.forget(n.id, 0)
}

// forget says that the kernel knows of a node that many times less.
func (d *disk) forget(id, lookups uint64) {
	n := d.nodes[id]
	if n == nil {
		return
	}
	n.lookups -= min(lookups, n.lookups)
	if (n.removed || n.dead) && n.lookups == 0 {
		delete(d.nodes, id) // what is safe of it may still have a name
	}
}
