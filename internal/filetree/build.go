package filetree

import (
	"errors"
	"maps"
	"path"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Tree is the file system of an image, or of its lowest layers.
type Tree struct{ root *Node }

// builder builds a tree by merging layers. It changes only nodes that it made: the others are
// shared with other trees.
type builder struct {
	tree  Tree
	steps int
	links map[*Node]*Node // the targets of the current layer's hard links to lower layers
}

// newBuilder starts from a tree, which does not change; nil is the empty tree.
func newBuilder(from *Tree) *builder {
	f := &builder{}
	if from == nil {
		f.tree.root = &Node{children: map[string]*Node{}, Entry: -1, owner: f}
		return f
	}
	f.tree.root = f.clone(from.root)
	return f
}

// done returns the tree, which must not be changed any more.
func (f *builder) done() *Tree { return &Tree{root: f.tree.root} }

func (f *builder) step(n int) error {
	if f.steps += n; f.steps > maxSteps {
		return pratique.Errorf(pratique.Exhausted, "merge layers", "it takes more than %d steps",
			maxSteps)
	}
	return nil
}

func errAmbiguous(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "merge layers", format, args...)
}

// add merges a layer into the tree.
func (f *builder) add(l *Layer) error {
	if err := f.resolveLinks(l); err != nil {
		return err
	}
	for _, name := range l.upFrom {
		if n := f.tree.Lookup(name); n != nil && n.Kind == Symlink {
			return errAmbiguous("a link goes up from %s, which is a link of a lower layer, and runtimes differ in where that leads", quoteName(name))
		}
	}
	if l.root.opaque && len(f.tree.root.children) > 0 {
		return errAmbiguous("a layer hides everything below it, and runtimes differ in whether it can")
	}
	for name, upper := range l.root.children {
		if err := f.set(f.tree.root, name, upper, name); err != nil {
			return err
		}
	}
	return nil
}

// set applies a layer's node to a directory that this builder may change.
func (f *builder) set(dir *Node, name string, upper *Node, at string) error {
	if upper.Kind == removal {
		delete(dir.children, name)
		return nil
	}
	merged, err := f.merge(dir.children[name], upper, at)
	if err != nil {
		return err
	}
	dir.children[name] = merged
	return nil
}

// merge returns the node at a path, given those of the lower layers and of the current one.
func (f *builder) merge(lower, upper *Node, at string) (*Node, error) {
	if err := f.step(1); err != nil {
		return nil, err
	}
	if upper.Kind == pending {
		return f.links[upper], nil
	}
	if upper.Kind != Directory {
		return upper, nil
	}
	if lower != nil && lower.Kind == Symlink && upper.implied {
		if err := f.throughLink(lower, upper, at); err != nil {
			return nil, err
		}
	}
	if lower == nil || lower.Kind != Directory || upper.opaque {
		return f.withoutMarks(upper, at)
	}
	if upper.replaced && len(lower.children) > 0 {
		return nil, errAmbiguous("%s is made a directory after something else in its layer, and runtimes differ in what is left of the lower layer's", quoteName(at))
	}
	out, err := f.writable(lower)
	if err != nil {
		return nil, err
	}
	out.Entry = upper.Entry
	for name, child := range upper.children {
		if err := f.set(out, name, child, join(at, name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// withoutMarks returns a layer's directory for a path where lower layers have none: there is
// nothing to remove or to hide.
func (f *builder) withoutMarks(upper *Node, at string) (*Node, error) {
	if !upper.marked {
		return upper, nil
	}
	out := *upper
	out.children, out.owner, out.marked, out.opaque = map[string]*Node{}, f, false, false
	for name, child := range upper.children {
		if err := f.set(&out, name, child, join(at, name)); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// writable returns the directory if this builder may change it, otherwise a copy.
func (f *builder) writable(n *Node) (*Node, error) {
	if n.owner == f {
		return n, nil
	}
	return f.clone(n), f.step(len(n.children))
}

func (f *builder) clone(n *Node) *Node {
	out := *n
	out.children, out.owner = maps.Clone(n.children), f
	return &out
}

// throughLink checks a directory that is only implied, at the path of a symbolic link in a lower
// layer. On overlayfs the directory replaces the link; runtimes that unpack all layers into one
// directory follow the link. That is an error if the difference affects package databases, or if
// the layer removes something.
func (f *builder) throughLink(link, upper *Node, at string) error {
	real, there, err := f.tree.resolve(at, f.step)
	if err != nil && !errors.Is(err, ErrLoop) {
		return err
	}
	if err != nil || there == nil { // a dangling link: only its text counts
		target := link.Link
		if !strings.HasPrefix(target, "/") {
			target = path.Join("/", path.Dir(at), target)
		}
		real = strings.Join(clean(target), "/")
	}
	var why error
	upper.walk(at, func(name string, n *Node) {
		f.steps++
		below := strings.TrimPrefix(strings.TrimPrefix(name, at), "/")
		switch {
		case why != nil:
		case n.Kind == removal, n.opaque:
			why = errAmbiguous("a layer removes %s through a link of a lower layer, and runtimes differ in what that is", quoteName(name))
		case IsSystemPath(name), IsSystemPath(join(real, below)):
			why = errAmbiguous("%s leads through a link of a lower layer, and runtimes differ in where it lies", quoteName(name))
		}
	})
	if why == nil {
		why = f.step(0)
	}
	return why
}

// resolveLinks finds the targets of a layer's hard links to lower layers.
func (f *builder) resolveLinks(l *Layer) error {
	f.links = map[*Node]*Node{}
	for _, n := range l.pending {
		dir, base := path.Split(n.Link)
		_, parent, err := f.tree.resolve(dir, f.step)
		if err != nil && !errors.Is(err, ErrLoop) {
			return err
		}
		var to *Node
		if err == nil && parent != nil {
			to = parent.children[base]
		}
		if to == nil || to.Kind == Directory {
			return errAmbiguous("%s is a hard link to %s, where there is no file: no runtime can make it", quoteName(l.Entries[n.Entry].Name), quoteName(n.Link))
		}
		linked := *to
		linked.Entry = n.Entry
		f.links[n] = &linked
	}
	return nil
}
