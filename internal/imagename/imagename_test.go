package imagename

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

var app = pratique.Repository{Registry: "registry.example.com", Path: "team/app"}

// TestMentions: a name is found wherever the reader's parts begin and end, and a part of a longer
// name is not.
func TestMentions(t *testing.T) {
	t.Parallel()
	const part = 256 << 10
	for _, text := range []string{" registry.example.com/team/app ",
		"\"registry.example.com/team/app:1\"", "xregistry.example.com/team/app ",
		" registry.example.com/team/app-x",
		" registry.example.com/team/ap ", "registry.example.com/team/app"} {
		for at := part - 40; at < part+40; at++ {
			for _, rest := range []string{"", "\n", strings.Repeat(" ", 100)} {
				content := []byte(strings.Repeat(" ", at) + text + rest)
				got, err := Mentions(t.Context(), bytes.NewReader(content), app)
				if want := Contains(content, Spellings(app)); err != nil || got != want {
					t.Fatalf("%q at %d with %d more: %v, %v; want %v", text, at, len(rest), got,
						err, want)
				}
			}
		}
	}
}
