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

func TestClip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"v1.2":                          "v1.2",
		"two\r\nlines\ttabs\x7f\x1b[0m": "two  lines tabs  [0m",
		"C1 \u009b":                     "C1  ",
		"a\xffb":                        "a\uFFFDb",
		strings.Repeat("x", 200):        strings.Repeat("x", 200),
		strings.Repeat("x", 201):        strings.Repeat("x", 197) + "…",
	} {
		if got := pratique.Clip(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
