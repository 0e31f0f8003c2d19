package pratique

import (
	"fmt"
	"path"
	"strings"
)

// Glob is a pattern over slash-separated names such as "registry.example.com/team/app". Within a segment it
// is that of [path.Match]; a segment that is "**" stands for any number of segments, also none. Nothing
// matches by prefix: "team" does not match "team/app", nor "team-evil". Patterns are printable ASCII, as the names are.
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
		if _, err := path.Match(segment, ""); err != nil || segment == "" || (strings.Contains(segment, "**") && segment != "**") {
			return fmt.Errorf("pattern %q: %q is not a name with * and ?, nor ** alone", Clip(string(g)), Clip(segment))
		}
		if segment == "**" {
			rests++
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

// MatchAny reports whether one of the globs matches the name. No globs match nothing.
func MatchAny(globs []Glob, name string) bool {
	for _, g := range globs {
		if g.Match(name) {
			return true
		}
	}
	return false
}
