package pratique

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// FuzzGlob: Rego excuses the very images that the pattern names.
func FuzzGlob(f *testing.F) {
	for _, glob := range []string{
		"r.example/team/app", "r.example/team/*", "r.example/**", "**/app", "**", "**/team/**",
		"r.example/**/app", "*/t?am/[a-c]pp", "r/[^x]\\*", "r.example/a+b/(c)",
		"r/[]-]", "r/[a-]x", "r/\\[x", "**/**", "*am/[a-#]", "r/[^z-a]",
		"r/app[^x]*", "r/[+-9]b", "[a\\-z]", "r/**/**", "[\\^a][^^]",
	} {
		for _, name := range []string{"r.example/team/app", "r.example", "r.example/team/deep/app",
			"rxexample/team/app", "r/y*", "app", "r/-", "r.example/a+b/(c)", "r/\x80", "",
			"r/app/evil", "r//b", "m", "-", "^a"} {
			f.Add(glob, name)
		}
	}
	f.Fuzz(func(t *testing.T, glob, name string) {
		g := Glob(glob)
		if g.Validate() != nil || strings.ContainsFunc(name, func(r rune) bool {
			return r > unicode.MaxASCII
		}) {
			t.Skip() // names of repositories are ASCII
		}
		re, err := regexp.Compile(g.Expression())
		if err != nil {
			t.Fatalf("%q becomes %q: %v", glob, g.Expression(), err)
		}
		if have, want := re.MatchString(name), g.Match(name); have != want {
			t.Errorf("%q of %q: %q says %v, the pattern %v", name, glob, re, have, want)
		}
	})
}
