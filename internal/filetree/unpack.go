package filetree

import (
	"archive/tar"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
	// maxLinks is the number of symbolic links that Linux follows in a path.
	maxLinks = 40
	// maxSteps bounds the work for a layer and for an image: real ones with a million files take a
	// tenth.
	maxSteps = 1 << 26
)

// Layer is the content of a layer when it is unpacked into an empty directory. It depends on
// nothing else.
type Layer struct {
	DiffID  pratique.Digest
	Entries []Entry
	root    *Node
	// upFrom are directories that a link of this layer goes up from, although this layer does not
	// have them.
	upFrom      []string
	linked      []*File // files with Names
	moved       bool    // the name of some header leads through a link
	overwritten bool    // some entry replaces another one
	pending     []*Node // hard links to lower layers, including replaced ones
}

// Files visits the layer's regular files.
func (l *Layer) Files(visit func(path string, n *Node)) {
	l.root.walk("", func(path string, n *Node) {
		if n.Kind == Regular {
			visit(path, n)
		}
	})
}

// Nodes visits all files and directories of the layer, without whiteouts.
func (l *Layer) Nodes(visit func(path string, n *Node)) {
	l.root.walk("", func(path string, n *Node) {
		if n.Kind < removal {
			visit(path, n)
		}
	})
}

// Lookup returns the layer's node at a path; nil if there is none, or a whiteout.
func (l *Layer) Lookup(name string) *Node {
	tree := Tree{root: l.root}
	if n := tree.Lookup(name); n != nil && n.Kind < removal {
		return n
	}
	return nil
}

// Removals returns the paths that the layer removes, and the directories whose content in lower
// layers it hides.
func (l *Layer) Removals() (removed, opaque []string) {
	if !l.root.marked {
		return nil, nil
	}
	l.root.walk("", func(path string, n *Node) {
		switch {
		case n.Kind == removal:
			removed = append(removed, path)
		case n.opaque:
			opaque = append(opaque, path)
		}
	})
	slices.Sort(removed)
	slices.Sort(opaque)
	return removed, opaque
}

// LinksDown returns the paths of hard links to lower layers.
func (l *Layer) LinksDown() []string {
	var all []string
	if len(l.pending) > 0 {
		l.root.walk("", func(path string, n *Node) {
			if n.Kind == pending {
				all = append(all, path)
			}
		})
		slices.Sort(all)
	}
	return all
}

// Linked returns the files with several names, or another one than in their header.
func (l *Layer) Linked() []*File { return l.linked }

// Plain reports whether each header describes the file at its own name, so that headers can be read
// literally. Hard links have to be followed all the same.
func (l *Layer) Plain() bool { return !l.moved && !l.overwritten && len(l.pending) == 0 }

func errLayer(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "unpack layer", format, args...)
}

type unpacker struct {
	layer *Layer
	steps int
}

// unpack processes the entries of a layer in order, as a runtime does. If no runtime can unpack it,
// or if they do so differently, the error is Corrupt; if it takes too much work, it is Exhausted.
func unpack(diffID pratique.Digest, entries []Entry) (*Layer, error) {
	u := &unpacker{layer: &Layer{DiffID: diffID, Entries: entries,
		root: &Node{children: map[string]*Node{}, Entry: -1}}}
	for i, e := range entries {
		if err := u.add(i, e); err != nil {
			return nil, pratique.Wrap(pratique.Unknown, "unpack layer", quoteName(e.Name), err)
		}
	}
	u.name()
	return u.layer, nil
}

// quoteName bounds and quotes a name for messages.
func quoteName(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "…"
	}
	return strings.Trim(fmt.Sprintf("%+q", name), `"`)
}

func (u *unpacker) step() error {
	if u.steps++; u.steps > maxSteps {
		return pratique.Errorf(pratique.Exhausted, "unpack layer", "it takes more than %d steps",
			maxSteps)
	}
	return nil
}

func (u *unpacker) add(i int, e Entry) error {
	if e.Name == "" || e.Type == tar.TypeXGlobalHeader {
		return nil // the root exists
	}
	parts := strings.Split(e.Name, "/")
	dir, base := parts[:len(parts)-1], parts[len(parts)-1]
	for _, part := range dir {
		if strings.HasPrefix(part, whiteoutMeta) {
			u.layer.overwritten = true
			return nil
		}
		if strings.HasPrefix(part, whiteout) {
			return errLayer("it lies below a whiteout")
		}
	}
	if strings.HasPrefix(base, whiteoutMeta) && base != whiteoutOpaque {
		u.layer.overwritten = true
		return nil // internal files of AUFS
	}
	place, err := u.resolve(dir)
	if err != nil {
		return err
	}
	if e.Type == tar.TypeLink && !strings.HasPrefix(base, whiteout) {
		return u.link(i, e, place, base)
	}
	parent, err := u.make(place)
	if err != nil {
		return err
	}
	if base == whiteoutOpaque {
		parent.opaque = true
		u.mark(place)
		return nil
	}
	if name, ok := strings.CutPrefix(base, whiteout); ok {
		return u.remove(i, place, parent, name)
	}
	n := &Node{Entry: i, moved: place.moved}
	switch e.Type {
	case tar.TypeDir:
		n.Kind, n.children = Directory, map[string]*Node{}
	case tar.TypeSymlink:
		n.Kind, n.Link = Symlink, e.Link
	case tar.TypeReg:
		n.Kind, n.File = Regular, &File{Layer: u.layer, Entry: i, Mode: uint32(e.Mode)}
	default:
		n.Kind = Other
	}
	u.layer.moved = u.layer.moved || place.moved
	return u.put(parent, base, n)
}

// put gives a name to a node, and replaces what had it before.
func (u *unpacker) put(parent *Node, base string, n *Node) error {
	before := parent.children[base]
	switch {
	case before == nil:
	case before.Kind == Directory && n.Kind == Directory:
		before.Entry, before.moved = n.Entry, n.moved
		return nil
	case before.Kind == removal && n.Kind == Directory:
		// On overlayfs the content of a lower layer's directory would be visible.
		return errLayer("the layer removes it and makes it a directory, and runtimes differ in what is left")
	default:
		u.layer.overwritten = true
		n.replaced = n.Kind == Directory
	}
	parent.children[base] = n
	return nil
}

func (u *unpacker) remove(i int, at place, parent *Node, name string) error {
	if name == "" || name == "." || name == ".." {
		return errLayer("a whiteout that names nothing")
	}
	if before := parent.children[name]; before != nil && before.Kind != removal {
		return errLayer("the layer holds %s and removes it afterwards, and runtimes differ in what is left", quoteName(name))
	}
	u.layer.moved = u.layer.moved || at.moved
	parent.children[name] = &Node{Kind: removal, Entry: i, moved: at.moved}
	u.mark(at)
	return nil
}

// link adds a hard link: another name for a file, or for a symbolic link.
func (u *unpacker) link(i int, e Entry, at place, base string) error {
	parent, err := u.make(at)
	if err != nil {
		return err
	}
	if before := parent.children[base]; before != nil { // runtimes remove it before they make the link
		u.layer.overwritten = true
		delete(parent.children, base)
		if before.Kind == removal {
			parent.children[base] = before
		}
	}
	parts := clean(e.Link)
	if len(parts) == 0 {
		return errLayer("a hard link to nothing")
	}
	target, err := u.resolve(parts[:len(parts)-1])
	if err != nil {
		return err
	}
	target.names = append(slices.Clone(target.names), parts[len(parts)-1])
	goal := strings.Join(target.names, "/")
	if goal == strings.Join(append(slices.Clone(at.names), base), "/") {
		return errLayer("a hard link to itself: no runtime can make it")
	}
	n := &Node{Entry: i, moved: at.moved}
	var to *Node
	if dir := target.nodes[len(target.nodes)-1]; dir != nil {
		to = dir.children[parts[len(parts)-1]]
	}
	switch {
	case to == nil:
		n.Kind, n.Link = pending, goal
		u.layer.pending = append(u.layer.pending, n)
		u.mark(at)
		if err := u.showsThrough(target.names); err != nil {
			return err
		}
	case to.Kind == Directory || to.Kind == removal:
		return errLayer("a hard link to %s, which is a directory or was removed: no runtime can make it", quoteName(goal))
	default:
		n.Kind, n.File, n.Link = to.Kind, to.File, to.Link
		if to.Kind == pending {
			u.layer.pending = append(u.layer.pending, n)
			u.mark(at)
		}
	}
	if n.File != nil {
		n.File.Mode = uint32(e.Mode)
	}
	u.layer.moved = u.layer.moved || at.moved
	return u.put(parent, base, n)
}

// showsThrough is an error if this layer hides a path of a lower layer, so that no runtime could
// link to it.
func (u *unpacker) showsThrough(names []string) error {
	at := u.layer.root
	for _, name := range names {
		if at.Kind != Directory || at.opaque || at.replaced {
			return errLayer("a hard link to %s, which this layer hides",
				quoteName(strings.Join(names, "/")))
		}
		if at = at.children[name]; at == nil {
			return nil
		}
	}
	return errLayer("a hard link to %s, which this layer hides", quoteName(strings.Join(names, "/")))
}

// place is a directory: the real names that lead to it, and their nodes, beginning with the root; a
// node is nil if there is none yet. moved reports that the path led through a link.
type place struct {
	names []string
	nodes []*Node
	moved bool
}

// resolve follows the links of this layer in the path of a directory. Missing elements are kept as
// written.
func (u *unpacker) resolve(parts []string) (place, error) {
	at := place{nodes: []*Node{u.layer.root}}
	rest := slices.Clone(parts)
	for links := 0; len(rest) > 0; {
		if err := u.step(); err != nil {
			return place{}, err
		}
		head := rest[0]
		rest = rest[1:]
		if head == ".." {
			if n := len(at.names); n > 0 {
				if at.nodes[n] == nil {
					u.layer.upFrom = append(u.layer.upFrom, strings.Join(at.names, "/"))
				}
				at.names, at.nodes = at.names[:n-1], at.nodes[:n]
			}
			continue
		}
		var next *Node
		if dir := at.nodes[len(at.nodes)-1]; dir != nil {
			next = dir.children[head]
		}
		if next == nil || next.Kind == Directory {
			at.names, at.nodes = append(at.names, head), append(at.nodes, next)
			continue
		}
		if next.Kind != Symlink {
			return place{}, errLayer("%s is on its way and is no directory",
				quoteName(join(strings.Join(at.names, "/"), head)))
		}
		if links++; links > maxLinks {
			return place{}, errLayer("more than %d symbolic links lead to it", maxLinks)
		}
		at.moved = true
		if strings.HasPrefix(next.Link, "/") {
			at.names, at.nodes = nil, at.nodes[:1]
		}
		rest = append(split(next.Link), rest...)
	}
	return at, nil
}

// make adds the missing directories of a place.
func (u *unpacker) make(at place) (*Node, error) {
	for i, n := range at.nodes {
		if n != nil {
			continue
		}
		if err := u.step(); err != nil {
			return nil, err
		}
		dir := &Node{children: map[string]*Node{}, Entry: -1, implied: true}
		if err := u.put(at.nodes[i-1], at.names[i-1], dir); err != nil {
			return nil, err
		}
		at.nodes[i] = dir
	}
	return at.nodes[len(at.nodes)-1], nil
}

func (u *unpacker) mark(at place) {
	for _, n := range at.nodes {
		n.marked = true
	}
}

// name collects the names of files that have several, or another one than in their header.
func (u *unpacker) name() {
	l := u.layer
	names := map[*File][]Name{}
	hard := slices.ContainsFunc(l.Entries, func(e Entry) bool { return e.Type == tar.TypeLink })
	if !hard && !l.moved {
		return
	}
	l.Files(func(path string, n *Node) {
		names[n.File] = append(names[n.File], Name{Path: path, Entry: n.Entry})
	})
	for f, all := range names {
		if len(all) == 1 && all[0].Entry == f.Entry && all[0].Path == l.Entries[f.Entry].Name {
			continue
		}
		slices.SortFunc(all, func(a, b Name) int { return cmp.Compare(a.Entry, b.Entry) })
		f.Names = all
		l.linked = append(l.linked, f)
	}
	slices.SortFunc(l.linked, func(a, b *File) int { return cmp.Compare(a.Entry, b.Entry) })
}
