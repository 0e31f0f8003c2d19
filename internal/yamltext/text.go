// Package yamltext parses YAML and knows the bytes of each value in the text, so that a value can be
// replaced without rewriting the rest. It bounds the cost of a file before it parses it.
package yamltext

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// MaxNodes bounds the nodes of a file. It is compared with a count of bytes before parsing, because
// a node takes a hundred times as much memory as the two bytes that can make one.
const MaxNodes = 500_000

// Text is a parsed file.
type Text struct {
	Content []byte
	// Docs are its documents. Nodes are all nodes in the order of the text, with their lines and
	// columns.
	Docs, Nodes []*yaml.Node

	lines  []int               // offset of each line
	keys   map[*yaml.Node]bool // keys of mappings
	shared map[*yaml.Node]bool // also used through an alias, or inside such a node
}

// Parse reads all documents. It stops soon after ctx ends, because the parser reads a few hundred
// bytes at a time.
func Parse(ctx context.Context, content []byte) (*Text, error) {
	if n := weight(content); n > MaxNodes {
		return nil, &TooLargeError{Nodes: n}
	}
	t := &Text{Content: content, lines: lineStarts(content)}
	d := yaml.NewDecoder(&watched{ctx.Err, bytes.NewReader(content)})
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		t.Docs = append(t.Docs, &n)
	}
	t.list()
	return t, nil
}

// TooLargeError says that a file may have more than [MaxNodes] nodes.
type TooLargeError struct{ Nodes int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("it may hold %d values, more than %d", e.Nodes, MaxNodes)
}

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

// LineIn returns the line in an error of the parser, the first line if there is none.
func LineIn(err error) int {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 1
}

// watched is a reader that fails when its context has ended.
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

// list fills Nodes, keys and shared.
func (t *Text) list() {
	t.keys, t.shared = map[*yaml.Node]bool{}, map[*yaml.Node]bool{}
	aliased := map[*yaml.Node]bool{}
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		t.Nodes = append(t.Nodes, n)
		if n.Kind == yaml.AliasNode {
			aliased[n.Alias] = true
		}
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				t.keys[child] = true
			}
			visit(child)
		}
	}
	for _, d := range t.Docs {
		visit(d)
	}
	for _, n := range t.Nodes { // parents come before their children
		if aliased[n] || t.shared[n] {
			t.shared[n] = true
			for _, child := range n.Content {
				t.shared[child] = true
			}
		}
	}
}

// IsKey reports whether a node is the key of a mapping.
func (t *Text) IsKey(n *yaml.Node) bool { return t.keys[n] }

// Shared reports whether a node is also used through an alias, or inside such a node. A change there
// has an effect elsewhere.
func (t *Text) Shared(n *yaml.Node) bool { return t.shared[n] }

// Roots are the values of the documents.
func (t *Text) Roots() []*yaml.Node {
	var roots []*yaml.Node
	for _, d := range t.Docs {
		if d.Kind == yaml.DocumentNode && len(d.Content) == 1 {
			roots = append(roots, d.Content[0])
		}
	}
	return roots
}

// Resolve follows an alias.
func Resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// Value is the value of a scalar. Values that are tagged as binary are decoded.
func Value(n *yaml.Node) string {
	if IsBinary(n) {
		if text, err := base64.StdEncoding.DecodeString(n.Value); err == nil {
			return string(text)
		}
	}
	return n.Value
}

// IsBinary reports whether a scalar is tagged as binary, so that its value is not the text in the
// file.
func IsBinary(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!binary"
}

// IsUTF16 reports whether a file begins as UTF-16 does. Parsers read that, too.
func IsUTF16(content []byte) bool {
	return bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff"))
}
