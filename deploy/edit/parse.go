package edit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what a file may have of YAML. It is compared with a count of bytes, before anything is parsed: a
// node takes a hundred times as much memory as the two bytes that can make one.
const maxNodes = 500_000

// weight counts the bytes that can begin a node.
func weight(content []byte) int {
	n := 0
	for _, c := range content {
		switch c {
		case '\n', '\r', ',', ':', '[', '{', '-', '?':
			n++
		}
	}
	return n
}

// yamlLine finds where the parser stopped.
var yamlLine = regexp.MustCompile(`line ([0-9]{1,9}):`)

func lineIn(err error) int {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 1
}

// parse reads all documents. The parser asks for a few hundred bytes at a time, so it ends soon after the context.
func parse(ctx context.Context, content []byte) ([]*yaml.Node, error) {
	var docs []*yaml.Node
	d := yaml.NewDecoder(&watched{ctx.Err, bytes.NewReader(content)})
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, &n)
	}
}

// watched is a reader that fails when its context has ended, of which ended tells.
type watched struct {
	ended func() error
	r     io.Reader
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ended(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// list fills nodes, keys and shared.
func (f *file) list() {
	f.keys, f.shared = map[*yaml.Node]bool{}, map[*yaml.Node]bool{}
	aliased := map[*yaml.Node]bool{}
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		f.nodes = append(f.nodes, n)
		if n.Kind == yaml.AliasNode {
			aliased[n.Alias] = true
		}
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				f.keys[child] = true
			}
			visit(child)
		}
	}
	for _, d := range f.docs {
		visit(d)
	}
	for _, n := range f.nodes { // parents come before their children
		if aliased[n] || f.shared[n] {
			f.shared[n] = true
			for _, child := range n.Content {
				f.shared[child] = true
			}
		}
	}
}

// duplicate returns a key that its mapping has twice, nil if there is none.
func (f *file) duplicate() *yaml.Node {
	const few = 16
	for _, n := range f.nodes {
		if n.Kind != yaml.MappingNode {
			continue
		}
		var seen map[string]bool
		if len(n.Content) > 2*few {
			seen = make(map[string]bool, len(n.Content)/2)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if seen != nil {
				if seen[key.Value] {
					return key
				}
				seen[key.Value] = true
				continue
			}
			for j := 0; j < i; j += 2 {
				if n.Content[j].Kind == yaml.ScalarNode && n.Content[j].Value == key.Value {
					return key
				}
			}
		}
	}
	return nil
}
