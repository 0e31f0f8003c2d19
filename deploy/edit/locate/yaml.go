package locate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

// yamlSyntax reads YAML.
type yamlSyntax struct{}

// Parse implements [edit.Syntax].
func (yamlSyntax) Parse(ctx context.Context, content []byte) (edit.Source, error) {
	text, err := yamltext.Parse(ctx, content)
	var large *yamltext.TooLargeError
	switch {
	case errors.As(err, &large):
		return nil, &edit.Unreadable{Reason: "this file is too large to be edited: " + large.Error()}
	case err != nil:
		return nil, &edit.Unreadable{
			Line:     yamltext.LineIn(err),
			Reason:   fmt.Sprintf("this file names the image but is not YAML that can be read: %v", err),
			Template: bytes.Contains(content, []byte("{{")),
		}
	}
	return &yamlSource{text}, nil
}

// yamlSource is a file of YAML.
type yamlSource struct{ *yamltext.Text }

// Flaw implements [edit.Source].
func (s *yamlSource) Flaw() (int, string) {
	if yamltext.IsUTF16(s.Content) {
		return 0, "this file names the image and is written in UTF-16; write it in UTF-8"
	}
	if key := s.Duplicate(); key != nil {
		return key.Line, fmt.Sprintf("the key %.128q stands twice in one mapping, so readers differ on what this file says", key.Value)
	}
	return 0, ""
}

// Texts implements [edit.Source].
func (s *yamlSource) Texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, n := range s.Nodes {
			if n.Kind == yaml.ScalarNode && !yield(yamltext.Value(n)) {
				return
			}
		}
	}
}

// Difference implements [edit.Source].
func (s *yamlSource) Difference(after edit.Source) int {
	return s.Text.Difference(after.(*yamlSource).Text)
}

// value is what a scalar has for a site.
func (s *yamlSource) value(form edit.Form, n *yaml.Node) edit.Value {
	v := edit.Value{Form: form, Text: n.Value, Line: n.Line}
	inside, _, odd := s.Scalar(n)
	if odd != "" {
		v.Reason = odd + "; write it on one line, plain or in quotes"
		return v
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	v.Slot = edit.Slot{Start: inside.Start, End: inside.End,
		Encode: func(value string) (string, bool) {
			if quoted {
				return value, yamltext.Writable(value)
			}
			return yamltext.Encode(value), yamltext.Writable(value)
		},
		Set: func(value string) { n.Value, n.Tag = value, "!!str" },
	}
	return v
}

// behind is room for a new field, behind the last field of the mapping that stands on one line.
func (s *yamlSource) behind(form edit.Form, mapping *yaml.Node, key string) (edit.Value, bool) {
	flow := mapping.Style&yaml.FlowStyle != 0
	for i := len(mapping.Content) - 1; i > 0; i -= 2 {
		_, end, reason := s.Scalar(mapping.Content[i])
		if reason != "" {
			continue
		}
		before := ", "
		if !flow {
			end = s.LineEnd(end)
			before = s.LineBreak(end) + strings.Repeat(" ", mapping.Content[0].Column-1)
		}
		return edit.Value{Form: form, Line: s.LineOf(end), Slot: edit.Slot{Start: end, End: end,
			NewLine: !flow,
			Encode: func(value string) (string, bool) {
				return before + key + ": " + yamltext.Encode(value), yamltext.Writable(value)
			},
			Set: func(value string) {
				str := func(s string) *yaml.Node {
					return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
				}
				mapping.Content = slices.Insert(mapping.Content, i+1, str(key), str(value))
			},
		}}, true
	}
	return edit.Value{}, false
}
