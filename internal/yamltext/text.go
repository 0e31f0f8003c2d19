// Package yamltext parses YAML and knows which bytes of the text each value has, so that a value
// can be replaced without writing the rest again. What a file may cost is bounded before it is
// parsed.
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

// MaxNodes bounds what a file may have of YAML. It is compared with a count of bytes, before
// anything is parsed: a node takes a hundred times as much memory as the two bytes that can make
// one.
const MaxNodes = 500_000

// Text is a file that has been parsed.
type Text struct {
	Content []byte
	// Docs are its documents, and Nodes all nodes in the order of the text. Nodes know their lines
	// and columns.
	Docs, Nodes []*yaml.Node

	lines  []int               // offset of each line
	keys   map[*yaml.Node]bool // keys of mappings
	shared map[*yaml.Node]bool // used through an alias too, or inside of such
}

// Parse reads all documents. The parser asks for a few hundred bytes at a time, so it ends soon
// after the context.
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

// TooLargeError says that a file may hold more values than are parsed.
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

// LineIn returns the line that an error of the parser names, the first if it names none.
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

// Shared reports whether a node is used through an alias too, or stands inside of such: a change
// there shows elsewhere.
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

// Said is the text of a scalar as a reader sees it, who decodes what is tagged as binary.
func Said(n *yaml.Node) string {
	if Hidden(n) {
		if text, err := base64.StdEncoding.DecodeString(n.Value); err == nil {
			return string(text)
		}
	}
	return n.Value
}

// Hidden reports whether a scalar is tagged as binary, so that its text is not what the file shows.
func Hidden(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!binary"
}

// Wide reports whether a file begins as UTF-16 does, which parsers read, too.
func Wide(content []byte) bool {
	return bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff"))
}
