package edittest

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
)

// Fuzz runs the laws of the suite on whatever comes, under each of the names: nothing makes the
// table panic, and when it edits, the result reads as what went in but for as many values as the
// changes name. The archives are where it begins.
func Fuzz(f *testing.F, table edit.Table, archives fs.FS, names ...string) {
	f.Helper()
	for _, a := range read(f, archives) {
		f.Add(uint8(max(0, slices.Index(names, path.Base(a.file)))), a.in) //nolint:gosec // a few names
	}
	c := Change()
	f.Fuzz(func(t *testing.T, which uint8, in []byte) {
		name := names[int(which)%len(names)]
		r := apply(t, table, name, in, c)
		real := 0
		for _, m := range r.Changes {
			if m.Old != m.New {
				real++
			}
		}
		if real == 0 {
			return
		}
		for _, l := range table {
			if !l.Relevant(name) {
				continue
			}
			before, after := texts(t, l.Syntax(), in), texts(t, l.Syntax(), r.Content)
			if n := distance(before, after, c); n > real {
				t.Fatalf("%d values differ, %d changes\n%q\n%q", n, real, in, r.Content)
			}
		}
	})
}

// texts are all values in the order of the text.
func texts(t testing.TB, syntax edit.Syntax, content []byte) []string {
	t.Helper()
	source, err := syntax.Parse(context.Background(), content)
	if err != nil {
		t.Fatalf("edited what cannot be read, or made it so: %v\n%q", err, content)
	}
	return slices.Collect(source.Texts())
}

// distance is the least number of edits of the allowed kinds that turn one list of values into the
// other: a value replaced by what may be written, or a field inserted with a digest or a tag. It is
// huge if there is no way.
func distance(before, after []string, c pratique.Change) int {
	const no = 1 << 20
	digest := c.Subject.Digest.String()
	ref := c.Subject.Repository.String() + ":" + c.Tag + "@" + digest
	// costs of the values of before seen so far against each start of after
	row := make([]int, len(after)+1)
	for i := range len(before) + 1 {
		next := make([]int, len(after)+1)
		for j := range next {
			next[j] = no
			if i == 0 && j == 0 {
				next[j] = 0
			}
			if j >= 2 && (after[j-1] == digest || after[j-1] == c.Tag) {
				next[j] = min(next[j], next[j-2]+1)
			}
			if i == 0 || j == 0 {
				continue
			}
			if before[i-1] == after[j-1] {
				next[j] = min(next[j], row[j-1])
			}
			if after[j-1] == c.Tag || after[j-1] == digest || strings.HasSuffix(after[j-1], ref) {
				next[j] = min(next[j], row[j-1]+1)
			}
		}
		row = next
	}
	return row[len(after)]
}
