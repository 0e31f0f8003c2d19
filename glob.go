package pratique

import (
	"fmt"
	"path"
	"regexp"
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
	}
	if rests > 2 { // matching would become slow
		return fmt.Errorf("pattern %q: at most two **", Clip(string(g)))
	}
	if strings.Contains(g.Expression(), noCharacter) {
		return fmt.Errorf("pattern %q: no character is in one of its classes", Clip(string(g)))
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
		case s == "**" && !last && segments[i+1] == "**": // two match what one does
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

// noCharacter is the class that matches nothing, such as [z-a].
const noCharacter = `[^\x00-\x{10ffff}]`

// writeClass writes the characters of a class as ranges. The class as it is would match a slash
// ([^x], [+-9]), and would need other escapes.
func writeClass(b *strings.Builder, class string) {
	in := func(c rune) bool {
		ok, _ := path.Match(class, string(c))
		return ok && c != '/'
	}
	var ranges strings.Builder
	for low := rune(0); low <= unicode.MaxASCII; low++ {
		high := low
		for high <= unicode.MaxASCII && in(high) {
			high++
		}
		if high > low {
			fmt.Fprintf(&ranges, `\x%02x-\x%02x`, low, high-1)
			low = high
		}
	}
	if in(unicode.MaxASCII + 1) { // then all characters are that are not ASCII
		ranges.WriteString(`\x{80}-\x{10ffff}`)
	}
	if ranges.Len() == 0 {
		b.WriteString(noCharacter)
		return
	}
	b.WriteString("[" + ranges.String() + "]")
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

// MatchAny reports whether one of the globs matches the name.
func MatchAny(globs []Glob, name string) bool {
	for _, g := range globs {
		if g.Match(name) {
			return true
		}
	}
	return false
}
