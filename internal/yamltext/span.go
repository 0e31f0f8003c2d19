package yamltext

import (
	"bytes"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Span is a range of bytes: the inside of a scalar, without its quotes.
type Span struct{ Start, End int }

// bom may stand at the beginning of a file.
var bom = []byte("\xef\xbb\xbf")

// Breaks are what the parser counts as the end of a line: LF, CR, CR LF, NEL, LS and PS.
const Breaks = "\n\r\u0085\u2028\u2029"

// BreakAt returns the length of the line break at offset i, zero if there is none.
func BreakAt(b []byte, i int) int {
	if i >= len(b) {
		return 0
	}
	switch b[i] {
	case '\n':
		return 1
	case '\r':
		if i+1 < len(b) && b[i+1] == '\n' {
			return 2
		}
		return 1
	case 0xc2:
		if i+1 < len(b) && b[i+1] == 0x85 {
			return 2
		}
	case 0xe2:
		if i+2 < len(b) && b[i+1] == 0x80 && (b[i+2] == 0xa8 || b[i+2] == 0xa9) {
			return 3
		}
	}
	return 0
}

// lineStarts returns the offset of each line. A byte order mark is no part of the first.
func lineStarts(b []byte) []int {
	i := 0
	if bytes.HasPrefix(b, bom) {
		i = len(bom)
	}
	starts := []int{i}
	for i < len(b) {
		if n := BreakAt(b, i); n > 0 {
			i += n
			starts = append(starts, i)
			continue
		}
		i++
	}
	return starts
}

// LineOf returns the line, from 1, that holds the offset.
func (t *Text) LineOf(offset int) int {
	return sort.Search(len(t.lines), func(i int) bool { return t.lines[i] > offset })
}

// LineEnd returns the offset of the line break after offset, or the end of the file.
func (t *Text) LineEnd(offset int) int {
	for offset < len(t.Content) && BreakAt(t.Content, offset) == 0 {
		offset++
	}
	return offset
}

// LineBreak returns the line break to use at offset: the one that is there, at the end of a file
// the first one of the file.
func (t *Text) LineBreak(offset int) string {
	for _, i := range []int{offset, t.LineEnd(0)} {
		if n := BreakAt(t.Content, i); n > 0 {
			return string(t.Content[i : i+n])
		}
	}
	return "\n"
}

// offset returns where a node begins; false if the position is not in the file.
func (t *Text) offset(n *yaml.Node) (int, bool) {
	if n.Line < 1 || n.Line > len(t.lines) {
		return 0, false
	}
	i := t.lines[n.Line-1]
	for range n.Column - 1 {
		if i >= len(t.Content) {
			return 0, false
		}
		_, size := utf8.DecodeRune(t.Content[i:])
		i += size
	}
	return i, i <= len(t.Content)
}

// Scalar finds the inside of a scalar on one line. End is the offset after it and its quote. If the
// value cannot be replaced, reason says why.
func (t *Text) Scalar(n *yaml.Node) (inside Span, end int, reason string) {
	if n.Kind == yaml.AliasNode {
		return Span{}, 0, "the value is an alias"
	}
	if n.Kind != yaml.ScalarNode {
		return Span{}, 0, "the value is not a scalar"
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return Span{}, 0, "the value is a block scalar"
	}
	start, ok := t.offset(n)
	if !ok || start >= len(t.Content) {
		return Span{}, 0, "the value is empty"
	}
	const notPlain = "the value has an anchor or a tag, or goes over several lines"
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		inside, ok := t.quoted(start)
		if !ok {
			return Span{}, 0, notPlain
		}
		return inside, inside.End + 1, ""
	}
	end = start + len(n.Value)
	switch {
	case n.Value == "":
		return Span{}, 0, "the value is empty"
	case end > len(t.Content) || string(t.Content[start:end]) != n.Value ||
		strings.ContainsAny(n.Value, "\r\n"):
		return Span{}, 0, notPlain
	}
	return Span{start, end}, end, ""
}

// quoted finds the inside of the quoted scalar that begins at start and ends on the same line.
func (t *Text) quoted(start int) (Span, bool) {
	quote := t.Content[start]
	if quote != '"' && quote != '\'' {
		return Span{}, false
	}
	for i := start + 1; i < len(t.Content); i++ {
		switch c := t.Content[i]; {
		case BreakAt(t.Content, i) > 0:
			return Span{}, false
		case c == '\\' && quote == '"':
			i++
		case c == quote && quote == '\'' && i+1 < len(t.Content) && t.Content[i+1] == quote:
			i++
		case c == quote:
			return Span{start + 1, i}, true
		}
	}
	return Span{}, false
}

// Last returns the last node that begins on the line or before, nil if there is none.
func (t *Text) Last(line int) *yaml.Node {
	i := sort.Search(len(t.Nodes), func(i int) bool { return t.Nodes[i].Line > line })
	if i == 0 {
		return nil
	}
	return t.Nodes[i-1]
}

// quotable are values that are safe inside either kind of quote, and plain those that are safe
// without quotes in block and in flow style.
var (
	quotable = regexp.MustCompile(`^[A-Za-z0-9\[\]._/:@=+-]+$`)
	plain    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/:@=+-]*[A-Za-z0-9]$`)
)

// words are those that readers of YAML 1.1 take for a boolean or null.
var words = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true,
	"true": true, "false": true, "null": true}

// Writable reports whether a value can be written as it is, with or without quotes.
func Writable(value string) bool { return quotable.MatchString(value) }

// Encode writes a value without quotes if every reader takes it for a string, and in double quotes
// otherwise.
func Encode(value string) string {
	if plain.MatchString(value) && !words[strings.ToLower(value)] {
		return value
	}
	return `"` + value + `"`
}
