package edit

import (
	"bytes"
	"sort"

	"go.yaml.in/yaml/v3"
)

// last returns the last node that begins on the line or before, nil if there is none.
func (f *file) last(line int) *yaml.Node {
	i := sort.Search(len(f.nodes), func(i int) bool { return f.nodes[i].Line > line })
	if i == 0 {
		return nil
	}
	return f.nodes[i-1]
}

// marked returns the scalar that ends right before the comment.
func (f *file) marked(s suspect) *yaml.Node {
	n := f.last(s.line)
	if n == nil || n.Kind != yaml.ScalarNode || n.Line != s.line || f.keys[n] {
		return nil
	}
	_, end, reason := f.scalarSpan(n)
	if reason != "" || end >= s.comment || !blank(f.content[end:s.comment]) {
		return nil
	}
	return n
}

// isText reports whether the number sign begins no marker: it stands on a line of its own, which is a comment
// about markers or a line of a block scalar, or inside a value.
func (f *file) isText(s suspect) bool {
	if blank(f.content[s.start:s.comment]) {
		return true
	}
	n := f.last(s.line)
	if n == nil || n.Kind != yaml.ScalarNode {
		return false
	}
	inside, _, reason := f.scalarSpan(n)
	if reason == "" {
		return inside.start <= s.comment && s.comment < inside.end
	}
	// The value goes on until the next node, which is below this line.
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	return block && n.Line < s.line || quoted
}

func blank(b []byte) bool { return len(bytes.Trim(b, " \t")) == 0 }
