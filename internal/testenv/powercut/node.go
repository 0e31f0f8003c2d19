package powercut

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// node is a file or a directory.
type node struct {
	id   uint64
	dir  bool
	mode uint32 // permissions
	link string // what a symbolic link points to; it is there as soon as the name is
	time time.Time
	// removed says that no directory has it any more, dead that it is from before the power failed;
	// lookups is how often the kernel was told of it.
	removed, dead bool
	lookups       uint64
	// born and changed are the numbers of the journal's entries with which it was created and with
	// which the names in it changed last.
	born, changed uint64

	// What a file holds, what of it is safe, and what makes the one of the other.
	live, safe []byte
	pending    []change

	// What a directory holds, and what of it is safe.
	names, safeNames map[string]*node
}

// change is a write of data at an offset, or a change of the size to it.
type change struct {
	at     int64
	data   []byte
	resize bool
}

func (c change) end() int64 { return c.at + int64(len(c.data)) }

func (c change) apply(b []byte) []byte {
	if c.resize {
		return grown(b, c.at)[:c.at]
	}
	b = grown(b, c.end())
	copy(b[c.at:], c.data)
	return b
}

// grown returns b with zeros at its end, at least size bytes.
func grown(b []byte, size int64) []byte {
	old := len(b)
	if int64(old) >= size {
		return b
	}
	b = slices.Grow(b, int(size)-old)[:size]
	clear(b[old:])
	return b
}

// change does c; it is safe only when the file is synced.
func (n *node) change(c change) {
	n.live = c.apply(n.live)
	n.time = time.Now()
	n.pending = append(n.pending, c)
}

func (n *node) sync() {
	for _, c := range n.pending {
		n.safe = c.apply(n.safe)
	}
	n.pending = nil
}

// survive draws what is left of the node, and of what is in a directory, when the power fails.
func (n *node) survive(r *rand.Rand) {
	for _, name := range slices.Sorted(maps.Keys(n.safeNames)) {
		n.safeNames[name].survive(r)
	}
	reach := int64(math.MaxInt64) // how far writes can reach although a change of the size was lost
	for _, c := range n.pending {
		switch {
		case c.resize && (reach < math.MaxInt64 || r.IntN(2) == 0):
			reach = min(reach, c.at, int64(len(n.safe)))
		case c.resize:
			n.safe = c.apply(n.safe)
		case c.end() <= reach:
			n.safe = c.left(n.safe, r)
		}
	}
	n.pending = nil
}

// left does what is left of a write.
func (c change) left(b []byte, r *rand.Rand) []byte {
	switch r.IntN(4) {
	case 0:
		return b
	case 1:
		return grown(b, c.end())
	case 2:
		return c.apply(b)
	}
	first := c.at/sector + 1 // the first boundary within, counted in sectors
	within := (c.end()-1)/sector - first + 1
	if within <= 0 {
		return b
	}
	cut := (first+r.Int64N(within))*sector - c.at
	if r.IntN(2) == 0 {
		return change{at: c.at, data: c.data[:cut]}.apply(b)
	}
	return change{at: c.at + cut, data: c.data[cut:]}.apply(b)
}
