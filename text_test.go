package pratique_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pratique-dev/pratique"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 10, ""},
		{"short", 5, "short"},
		{"longer", 5, "lo…"},
		{"äöü", 6, "äöü"},
		{"äöüß", 6, "ä…"},
		{"a\xffb", 10, "a\uFFFDb"},
		{strings.Repeat("x", 100), 1, "…"},
	} {
		if got := pratique.Excerpt(c.text, c.most); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%q to %d: %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
