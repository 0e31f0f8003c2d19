package policy

import (
	"regexp"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Exceptions are patterns of registry/path: the images in them that could not be matched wholly pass with a note, where
// the shipped policy denies others. Policies see each pattern as a regular expression.
type Exceptions struct {
	// UnknownOS (allow_unknown_os) excuses packages of an operating system that is not known, or for which the database
	// has no advisories.
	UnknownOS []pratique.Glob `json:"allow_unknown_os,omitempty" yaml:"allow_unknown_os,omitempty"`
	// EndOfLife (allow_end_of_life) excuses releases whose vendor's support has ended.
	EndOfLife []pratique.Glob `json:"allow_end_of_life,omitempty" yaml:"allow_end_of_life,omitempty"`
	// NoPackages (allow_no_packages) excuses images without any package, and operating systems without packages.
	NoPackages []pratique.Glob `json:"allow_no_packages,omitempty" yaml:"allow_no_packages,omitempty"`
	// MixedPackages (allow_mixed_packages) excuses packages of another package manager than the operating system's, and
	// those of another root directory.
	MixedPackages []pratique.Glob `json:"allow_mixed_packages,omitempty" yaml:"allow_mixed_packages,omitempty"`
	// OddPackages (allow_odd_packages) excuses packages whose version cannot be compared with the advisories about their name,
	// and packages that somebody else patched and renamed.
	OddPackages []pratique.Glob `json:"allow_odd_packages,omitempty" yaml:"allow_odd_packages,omitempty"`
}

func (e Exceptions) lists() map[string][]pratique.Glob {
	return map[string][]pratique.Glob{
		"allow_unknown_os": e.UnknownOS, "allow_end_of_life": e.EndOfLife,
		"allow_no_packages": e.NoPackages, "allow_mixed_packages": e.MixedPackages,
		"allow_odd_packages": e.OddPackages,
	}
}

// expressions are globs as Rego's regex.match takes them.
func expressions(globs []pratique.Glob) []string {
	out := make([]string, len(globs))
	for i, g := range globs {
		out[i] = expression(g)
	}
	return out
}

// expression is a regular expression that matches the names that a valid glob does.
func expression(g pratique.Glob) string {
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
			segment(&b, s)
			if !last {
				b.WriteString("/")
			}
		}
	}
	return b.String() + "$"
}

// segment writes a pattern of [path.Match].
func segment(b *strings.Builder, s string) {
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
