package filetree

import (
	"errors"
	"strings"
)

// ErrLoop is the error of a path with more symbolic links than Linux follows.
var ErrLoop = errors.New("too many symbolic links")

// Lookup returns the node at a path without following links; nil if nothing exists there.
func (t *Tree) Lookup(name string) *Node {
	at := t.root
	for name != "" && at != nil {
		var head string
		head, name, _ = strings.Cut(name, "/")
		at = at.children[head]
	}
	return at
}

// resolve follows all links in a path, as Linux does for a process whose root is the tree, and
// returns the path without links and its node; the node is nil if nothing exists there. Each name
// costs a step.
func (t *Tree) resolve(name string, step func(n int) error) (real string, n *Node, err error) {
	names, nodes := []string{}, []*Node{t.root}
	rest := split(name)
	for links := 0; len(rest) > 0; {
		if err := step(1); err != nil {
			return "", nil, err
		}
		head := rest[0]
		rest = rest[1:]
		at := nodes[len(nodes)-1]
		if at.Kind != Directory {
			return "", nil, nil
		}
		if head == ".." {
			if n := len(names); n > 0 {
				names, nodes = names[:n-1], nodes[:n]
			}
			continue
		}
		next := at.children[head]
		if next == nil {
			return "", nil, nil
		}
		if next.Kind != Symlink {
			names, nodes = append(names, head), append(nodes, next)
			continue
		}
		if links++; links > maxLinks {
			return "", nil, ErrLoop
		}
		if strings.HasPrefix(next.Link, "/") {
			names, nodes = names[:0], nodes[:1]
		}
		rest = append(split(next.Link), rest...)
	}
	return strings.Join(names, "/"), nodes[len(nodes)-1], nil
}
