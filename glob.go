package pratique

import (
	"fmt"
	"path"
	"regexp"
	"strings"
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
	// A class such as [z-a] is one to path.Match, and no regular expression.
	if _, err := regexp.Compile(g.Expression()); err != nil {
		return fmt.Errorf("pattern %q: %w", Clip(string(g)), err)
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
	class := false
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\\' && i+1 < len(runes):
			i++
			b.WriteString(regexp.QuoteMeta(string(runes[i])))
		case class && r == ']':
			class = false
			b.WriteString("]")
		case class && r == '-', class && r == '^':
			b.WriteRune(r)
		case class:
			b.WriteString(regexp.QuoteMeta(string(r)))
		case r == '[':
			class = true
			b.WriteString("[")
		case r == '*':
			b.WriteString("[^/]*")
		case r == '?':
			b.WriteString("[^/]")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
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
