package edit

import (
	"bytes"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// span is a range of bytes: the inside of a scalar, without its quotes.
type span struct{ start, end int }

var bom = []byte("\xef\xbb\xbf")

// breaks are what the YAML parser counts as the end of a line: LF, CR, CR LF, NEL, LS and PS.
const breaks = "\n\r\u0085\u2028\u2029"

// breakAt returns the length of the line break at offset i, zero if there is none.
func breakAt(b []byte, i int) int {
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
		if n := breakAt(b, i); n > 0 {
			i += n
			starts = append(starts, i)
			continue
		}
		i++
	}
	return starts
}

// lineOf returns the line, from 1, that holds the offset.
func (f *file) lineOf(offset int) int {
	return sort.Search(len(f.lines), func(i int) bool { return f.lines[i] > offset })
}

// lineEnd returns the offset of the line break after offset, or the end of the file.
func (f *file) lineEnd(offset int) int {
	for offset < len(f.content) && breakAt(f.content, offset) == 0 {
		offset++
	}
	return offset
}

// lineBreak returns the line break to use at offset: the one that is there, at the end of a file the first
// one of the file.
func (f *file) lineBreak(offset int) string {
	for _, i := range []int{offset, f.lineEnd(0)} {
		if n := breakAt(f.content, i); n > 0 {
			return string(f.content[i : i+n])
		}
	}
	return "\n"
}

// offset returns where a node begins; false if the position is not in the file.
func (f *file) offset(n *yaml.Node) (int, bool) {
	if n.Line < 1 || n.Line > len(f.lines) {
		return 0, false
	}
	i := f.lines[n.Line-1]
	for range n.Column - 1 {
		if i >= len(f.content) {
			return 0, false
		}
		_, size := utf8.DecodeRune(f.content[i:])
		i += size
	}
	return i, i <= len(f.content)
}

// scalarSpan finds the inside of a scalar that stands on one line; end is the offset behind it, with its
// quote. Reason says in words why the value cannot be replaced, empty if it can.
func (f *file) scalarSpan(n *yaml.Node) (inside span, end int, reason string) {
	if n.Kind == yaml.AliasNode {
		return span{}, 0, "the value is an alias"
	}
	if n.Kind != yaml.ScalarNode {
		return span{}, 0, "the value is not a scalar"
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return span{}, 0, "the value is a block scalar"
	}
	start, ok := f.offset(n)
	if !ok || start >= len(f.content) {
		return span{}, 0, "the value is empty"
	}
	const odd = "the value has an anchor or a tag, or goes over several lines"
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		inside, ok := f.quoted(start)
		if !ok {
			return span{}, 0, odd
		}
		return inside, inside.end + 1, ""
	}
	end = start + len(n.Value)
	switch {
	case n.Value == "":
		return span{}, 0, "the value is empty"
	case end > len(f.content) || string(f.content[start:end]) != n.Value || strings.ContainsAny(n.Value, "\r\n"):
		return span{}, 0, odd
	}
	return span{start, end}, end, ""
}

// quoted finds the inside of the quoted scalar that begins at start and ends on the same line.
func (f *file) quoted(start int) (span, bool) {
	quote := f.content[start]
	if quote != '"' && quote != '\'' {
		return span{}, false
	}
	for i := start + 1; i < len(f.content); i++ {
		switch c := f.content[i]; {
		case breakAt(f.content, i) > 0:
			return span{}, false
		case c == '\\' && quote == '"':
			i++
		case c == quote && quote == '\'' && i+1 < len(f.content) && f.content[i+1] == quote:
			i++
		case c == quote:
			return span{start + 1, i}, true
		}
	}
	return span{}, false
}

// Values that are safe inside either kind of quote, and those that are safe without quotes in block and in
// flow style.
var (
	quotable = regexp.MustCompile(`^[A-Za-z0-9\[\]._/:@=+-]+$`)
	plain    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/:@=+-]*[A-Za-z0-9]$`)
)

// The words that YAML 1.1 readers take for a boolean or null.
var words = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true,
	"true": true, "false": true, "null": true}

// scalar writes a value plainly if every YAML reader takes that for a string, and in double quotes otherwise.
func scalar(value string) string {
	if plain.MatchString(value) && !words[strings.ToLower(value)] {
		return value
	}
	return `"` + value + `"`
}
