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

// Node is what lies at one path. It does not change once its tree is made.
type Node struct {
	Kind Kind
	// File is the content of a regular file, Link where a symbolic link leads.
	File *File
	Link string
	// Entry is the index of the header that made the node in its layer, -1 if a directory is only implied.
	Entry int

	children map[string]*Node
	owner    *builder // who may change the children
	opaque   bool
	implied  bool // a directory that its content implied before a header named it, if one ever did
	replaced bool // a directory that took the place of something else in the same layer
	marked   bool // a directory with removals, pending links or opaque directories in it
	moved    bool // its header has another name: it led through a link
}

// File is the content of a regular file, which may have several names.
type File struct {
	Layer *Layer
	Entry int // of the header with the content
	// Mode is what the last header that named it says.
	Mode uint32
	// Names are its paths in the layer, if it has several or another one than its header says, in the order of the headers.
	Names []Name
}

// Name is one path of a file, and the header that gave it.
type Name struct {
	Path  string
	Entry int
}

// Head is the header with the content.
func (f *File) Head() Entry { return f.Layer.Entries[f.Entry] }

// Children are what a directory holds, in no order.
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
