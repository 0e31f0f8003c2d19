package toc

import (
	"archive/tar"
	"hash/maphash"
	"path"
	"strings"
)

// names remembers the paths of a layer by their hashes. A table is read as a map, a tar entry by
// entry: if a path occurs twice, is below something that is not a directory, or is removed and
// added again, the results may differ. A hash collision can only make it refuse too much.
type names struct {
	seed  maphash.Seed
	known map[uint64]use
}

type use uint8

const (
	directory use = 1 << iota // an entry that is a directory
	other                     // any other entry, or a path that a whiteout removes
	above                     // something is below it
)

func (n *names) add(h *tar.Header) error {
	if n.known == nil {
		n.seed, n.known = maphash.MakeSeed(), map[uint64]use{}
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil // the root directory
	}
	refuse := func() error {
		return errTable("a layer for lazy runtimes in which %.200q depends on the order of the entries", h.Name)
	}
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		key := maphash.String(n.seed, name[:i])
		if n.known[key]&other != 0 {
			return refuse()
		}
		if n.known[key]&above != 0 {
			break // and its parents are known, too
		}
		n.known[key] |= above
	}
	kind, taken := other, other|directory|above
	if h.Typeflag == tar.TypeDir {
		kind, taken = directory, other
	}
	dir, base := path.Split(name)
	if away, ok := strings.CutPrefix(base, ".wh."); ok && away != ".wh..opq" {
		key := maphash.String(n.seed, dir+away)
		if n.known[key] != 0 {
			return refuse()
		}
		n.known[key] |= other
	}
	key := maphash.String(n.seed, name)
	if n.known[key]&taken != 0 {
		return refuse()
	}
	n.known[key] |= kind
	return nil
}
