package pratique

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Glob is a pattern for slash-separated names such as "registry.example.com/team/app". A segment is
// a pattern of [path.Match]; the segment "**" matches any number of segments, also none. A pattern
// matches whole names only: "team" matches neither "team/app" nor "team-evil". Patterns are
// printable ASCII, as names are.
type Glob string

// Validate reports a malformed pattern.
func (g Glob) Validate() error {
	if g == "" {
		return fmt.Errorf("a pattern is empty")
	}
	if i := strings.IndexFunc(string(g), func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("pattern %q: no name has the character at byte %d", Clip(string(g)), i)
	}
	rests := 0
	for segment := range strings.SplitSeq(string(g), "/") {
		if _, err := path.Match(segment, ""); err != nil || segment == "" ||
			(strings.Contains(segment, "**") && segment != "**") {
			return fmt.Errorf("pattern %q: %q is not a name with * and ?, nor ** alone",
				Clip(string(g)), Clip(segment))
		}
		if segment == "**" {
			rests++
		}
		// A class such as [z-a] is one to path.Match, and no regular expression.
		if class := reversedClass(segment); class != "" {
			return fmt.Errorf("pattern %q: the range in %s is reversed", Clip(string(g)), Clip(class))
		}
	}
	if rests > 2 { // matching would become slow
		return fmt.Errorf("pattern %q: at most two **", Clip(string(g)))
	}
	return nil
}

// Match reports whether the whole name matches. A malformed pattern matches nothing.
func (g Glob) Match(name string) bool {
	return matchSegments(strings.Split(string(g), "/"), strings.Split(name, "/"))
}

func matchSegments(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for skip := range len(name) + 1 {
				if matchSegments(pattern[1:], name[skip:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); !ok || err != nil {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// Expression is a regular expression, for Go and Rego, that matches the same names as a valid glob.
func (g Glob) Expression() string {
	var b strings.Builder
	b.WriteString("^")
	segments := strings.Split(string(g), "/")
	for i, s := range segments {
		// A segment comes with the slash behind it, so that none at all needs none.
		last := i == len(segments)-1
		switch {
		case s == "**" && last && !strings.HasSuffix(b.String(), "/"):
			b.WriteString("(?s:.*)")
		case s == "**" && last:
			// The slash before it is needed only if something follows.
			before := strings.TrimSuffix(b.String(), "/")
			b.Reset()
			b.WriteString(before + "(?:/(?s:.*))?")
		case s == "**":
			b.WriteString("(?:[^/]*/)*")
		default:
			writeSegment(&b, s)
			if !last {
				b.WriteString("/")
			}
		}
	}
	return b.String() + "$"
}

// writeSegment writes a segment, a pattern of [path.Match].
func writeSegment(b *strings.Builder, s string) {
	for len(s) > 0 {
		length := 1
		switch {
		case s[0] == '[':
			length = classLength(s)
			writeClass(b, s[:length])
		case s[0] == '*':
			b.WriteString("[^/]*")
		case s[0] == '?':
			b.WriteString("[^/]")
		case s[0] == '\\' && len(s) > 1:
			length = 2
			b.WriteString(regexp.QuoteMeta(s[1:2]))
		default:
			b.WriteString(regexp.QuoteMeta(s[:1]))
		}
		s = s[length:]
	}
}

// writeClass writes a class as ranges without the slash, which a regular expression would find in
// [^x] and in [+-9]. Nothing in them is escaped by a backslash alone: \- would make a range.
func writeClass(b *strings.Builder, class string) {
	negated, ranges := classRanges(class)
	in := func(c byte) bool {
		return c != '/' && c <= unicode.MaxASCII && negated != slices.ContainsFunc(ranges,
			func(r [2]byte) bool { return r[0] <= c && c <= r[1] })
	}
	b.WriteString("[")
	for low := byte(0); low <= unicode.MaxASCII; low++ {
		if !in(low) {
			continue
		}
		high := low
		for in(high + 1) {
			high++
		}
		fmt.Fprintf(b, `\x%02x-\x%02x`, low, high)
		low = high
	}
	if negated {
		b.WriteString(`\x{80}-\x{10ffff}`)
	}
	b.WriteString("]")
}

// reversedClass returns the first class of a segment with a range that ends before it begins; empty
// if there is none.
func reversedClass(s string) string {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[':
			class := s[i : i+classLength(s[i:])]
			_, ranges := classRanges(class)
			if slices.ContainsFunc(ranges, func(r [2]byte) bool { return r[0] > r[1] }) {
				return class
			}
			i += len(class) - 1
		}
	}
	return ""
}

// classLength is the length of the class with which a valid segment begins.
func classLength(s string) int {
	i := 1
	for i < len(s) && s[i] != ']' {
		if s[i] == '\\' {
			i++
		}
		i++
	}
	return min(i+1, len(s))
}

// classRanges reads a class as [path.Match] does.
func classRanges(class string) (negated bool, ranges [][2]byte) {
	inner := strings.TrimSuffix(class[1:], "]")
	inner, negated = strings.CutPrefix(inner, "^")
	next := func() byte {
		inner = strings.TrimPrefix(inner, `\`)
		if inner == "" { // the pattern is malformed
			return 0
		}
		c := inner[0]
		inner = inner[1:]
		return c
	}
	for inner != "" {
		low := next()
		high := low
		if strings.HasPrefix(inner, "-") {
			inner = inner[1:]
			high = next()
		}
		ranges = append(ranges, [2]byte{low, high})
	}
	return negated, ranges
}

// MatchAny reports whether one of the globs matches the name.
func MatchAny(globs []Glob, name string) bool {
	for _, g := range globs {
		if g.Match(name) {
			return true
		}
	}
	return false
}
