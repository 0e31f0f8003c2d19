package deploy

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestExcerpt: what a record names of a commit's files is bounded in number and in bytes.
func TestExcerpt(t *testing.T) {
	t.Parallel()
	change := func(path string) pratique.FileChange {
		return pratique.FileChange{Path: path, Line: 1, Old: "a", New: "b"}
	}
	for name, test := range map[string]struct {
		all  []pratique.FileChange
		want int
	}{
		"none": {nil, 0},
		"few":  {[]pratique.FileChange{change("x"), change("y")}, 2},
		"many": {make([]pratique.FileChange, 2*recordedFiles), recordedFiles},
		"long": {[]pratique.FileChange{change("x"), change(strings.Repeat("y", recordedBytes))}, 1},
		"long ones": {[]pratique.FileChange{change(strings.Repeat("x", recordedBytes/2)),
			change(strings.Repeat("y", recordedBytes/2))}, 1},
	} {
		if got := excerpt(test.all); len(got) != test.want {
			t.Errorf("%s: %d, want %d", name, len(got), test.want)
		}
	}
}
