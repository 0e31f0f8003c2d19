package filetree

import "iter"

// Kind is the type of a node.
type Kind uint8

// The kinds of nodes.
const (
	Directory Kind = iota
	Regular
	Symlink
	Other   // devices, pipes, and types that no runtime knows
	removal // in a layer: a whiteout
	pending // in a layer: a hard link to a file of a lower layer
)

// Node is a file or directory in a tree. It does not change once its tree is built.
type Node struct {
	Kind Kind
	// File is the content of a regular file, Link the target of a symbolic link.
	File *File
	Link string
	// Entry is the index of the node's header in its layer, -1 for a directory that is only
	// implied.
	Entry int

	children map[string]*Node
	owner    *builder // may change the children
	opaque   bool
	implied  bool // a directory that its content implied before it had a header, if it ever had one
	replaced bool // a directory that replaced something else in its layer
	marked   bool // a directory that contains removals, pending links or opaque directories
	moved    bool // its header has another name, which leads through a link
}

// File is the content of a regular file, which may have several names.
type File struct {
	Layer *Layer
	Entry int // of the header with the content
	// Mode is that of the last header that names the file.
	Mode uint32
	// Names are its paths in the layer, in the order of the headers; nil if it only has the name in
	// its header.
	Names []Name
}

// Name is a path of a file, with the index of its header.
type Name struct {
	Path  string
	Entry int
}

// Head returns the header with the content.
func (f *File) Head() Entry { return f.Layer.Entries[f.Entry] }

// Children returns the content of a directory, in no order.
func (n *Node) Children() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		for name, c := range n.children {
			if !yield(name, c) {
				return
			}
		}
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// walk visits everything below n, and n itself unless it is the root.
func (n *Node) walk(at string, visit func(path string, n *Node)) {
	if at != "" {
		visit(at, n)
	}
	for name, c := range n.children {
		c.walk(join(at, name), visit)
	}
}
