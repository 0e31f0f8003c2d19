package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pratique-dev/pratique"
)

// file is one edit in the making: locators fill wanted, then apply splices and verifies.
type file struct {
	path    string
	content []byte
	change  pratique.Change

	lines  []int               // offset of each line
	docs   []*yaml.Node        // positions come from here
	nodes  []*yaml.Node        // all of them, in the order of the text
	keys   map[*yaml.Node]bool // keys of mappings
	shared map[*yaml.Node]bool // used through an alias too, or inside of such: a change there shows elsewhere
	wanted []want

	out     []byte
	changes []pratique.FileChange
}

// want is one value to write: in place of a scalar, or as a new last field of a mapping.
type want struct {
	node  *yaml.Node // the scalar to replace; nil for a new field
	span  span
	value string

	mapping *yaml.Node // where the new field goes, and behind which of its children
	after   int
	key     string
}

func (f *file) refuse(line int, format string, args ...any) error {
	return &Refusal{Path: f.path, Line: line, Reason: fmt.Sprintf(format, args...)}
}

func (f *file) apply() error {
	docs, err := parse(f.content)
	if err != nil {
		return f.refuse(1, "this file names the image but is not YAML that can be read: %v", err)
	}
	f.docs, f.lines = docs, lineStarts(f.content)
	f.list()
	if isKustomization(f.path) {
		if err := f.kustomization(); err != nil {
			return err
		}
	}
	if err := f.markers(); err != nil {
		return err
	}
	if err := f.settle(); err != nil {
		return err
	}
	return f.verify()
}

// settle orders the wanted values, drops what two locators agree on, and splices.
func (f *file) settle() error {
	slices.SortStableFunc(f.wanted, func(a, b want) int { return a.span.start - b.span.start })
	var edits []want
	for i, w := range f.wanted {
		if i > 0 && f.wanted[i-1].span.start == w.span.start {
			if f.wanted[i-1].value != w.value {
				return f.refuse(f.lineOf(w.span.start), "two markers want different values here")
			}
			continue
		}
		edits = append(edits, w)
	}
	var out bytes.Buffer
	last, added := 0, 0
	for _, w := range edits {
		line := f.lineOf(w.span.start) + added
		if w.node != nil {
			f.changes = append(f.changes, pratique.FileChange{Path: f.path, Line: line, Old: w.node.Value, New: w.value})
			if w.node.Value == w.value {
				continue
			}
		}
		text := w.text(f)
		if w.node == nil {
			if !w.flow() {
				added++
				line++
			}
			f.changes = append(f.changes, pratique.FileChange{Path: f.path, Line: line, New: w.value})
		}
		out.Write(f.content[last:w.span.start])
		out.WriteString(text)
		last = w.span.end
		w.note()
	}
	if last == 0 {
		f.out = f.content
		return nil
	}
	out.Write(f.content[last:])
	f.out = out.Bytes()
	return nil
}

func (w want) flow() bool { return w.mapping != nil && w.mapping.Style&yaml.FlowStyle != 0 }

// text is what goes between the span's ends.
func (w want) text(f *file) string {
	if w.node != nil {
		if w.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			return w.value
		}
		return scalar(w.value)
	}
	field := w.key + ": " + scalar(w.value)
	if w.flow() {
		return ", " + field
	}
	indent := strings.Repeat(" ", w.mapping.Content[0].Column-1)
	return f.lineBreak(w.span.start) + indent + field
}

// note makes the wanted change in the parsed tree too, for verify to compare with.
func (w want) note() {
	if w.node != nil {
		w.node.Value, w.node.Tag = w.value, "!!str"
		return
	}
	str := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	w.mapping.Content = slices.Insert(w.mapping.Content, w.after, str(w.key), str(w.value))
}

// verify parses the result and compares it with the tree that was meant.
func (f *file) verify() error {
	if len(f.out) == len(f.content) && bytes.Equal(f.out, f.content) {
		return nil
	}
	docs, err := parse(f.out)
	if err != nil {
		return f.refuse(1, "the edited file could not be read again: %v", err)
	}
	if len(docs) != len(f.docs) {
		return f.refuse(1, "editing would change the number of documents")
	}
	for i := range docs {
		if n := difference(f.docs[i], docs[i]); n != nil {
			return f.refuse(n.Line, "editing would change more than the image")
		}
	}
	return nil
}

// difference returns the first node of got that is not what was meant, or nil.
func difference(meant, got *yaml.Node) *yaml.Node {
	if meant.Kind != got.Kind || meant.Value != got.Value || meant.ShortTag() != got.ShortTag() ||
		meant.Anchor != got.Anchor || len(meant.Content) != len(got.Content) {
		return got
	}
	for i := range meant.Content {
		if n := difference(meant.Content[i], got.Content[i]); n != nil {
			return n
		}
	}
	return nil
}

func parse(content []byte) ([]*yaml.Node, error) {
	var docs []*yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(content))
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
