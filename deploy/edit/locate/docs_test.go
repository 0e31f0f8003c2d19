package locate

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs: what docs/editing.md shows is what happens. An example is a block that begins with "#
// before: FILE", and the one after it, which begins with "# after".
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/editing.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```[a-z]+\n# before: ([^\n]+)\n(.*?)```\n\n```[a-z]+\n# after\n(.*?)```\n")
	examples := block.FindAllStringSubmatch(string(page), -1)
	if len(examples) < 5 || len(examples) != strings.Count(string(page), "# before:") {
		t.Fatalf("%d examples, %d that begin", len(examples), strings.Count(string(page), "# before:"))
	}
	for _, e := range examples {
		r := apply(t, e[1], []byte(e[2]), change)
		want := strings.ReplaceAll(e[3], "DIGEST", digest.String())
		if diff := cmp.Diff(want, string(r.Content)); diff != "" || len(r.Problems) > 0 {
			t.Errorf("%s (-want +got):\n%s%v", e[1], diff, r.Problems)
		}
		for _, c := range r.Changes {
			t.Logf("%s:%d %s", c.Path, c.Line, c.Object.At(c.Field))
		}
	}
}
