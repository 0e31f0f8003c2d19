package deploy_test

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// TestLargeFiles: a file that is too large to be edited is nobody's business but that of the images
// it names; when people have made it smaller, the push that waits is served.
func TestLargeFiles(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("# dashboards of all sorts\n", 17<<20/26)
	w := newWorld(t)
	w.put(map[string]string{"prod/dashboards.yaml": "a: registry.example.com/team/application\n" +
		filler, "prod/other.bin": filler})
	o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
	if err != nil || len(o.Commits) != 1 || len(o.Problems) != 0 || w.commits() != "2" {
		t.Fatalf("%+v, %v", o, err)
	}
	w.put(map[string]string{"prod/dashboards.yaml": filler +
		"image: registry.example.com/team/app:1 # {\"$pratique\": \"registry.example.com/team/app\"}\n"})
	w.tag("v1", two)
	o, err = deployAll(t.Context(), w.gate, change(two, "event-2"))
	if pratique.KindOf(err) != pratique.Denied || pratique.KindOf(err).Permanent() ||
		!strings.Contains(err.Error(),
			"prod/dashboards.yaml: this file names the image and is too large to be edited") {
		t.Fatal(err)
	}
	if len(o.Commits) != 1 || len(o.Problems) != 1 || !o.Problems[0].Waits || w.commits() != "4" {
		t.Errorf("the other places were not written: %+v, %s commits", o, w.commits())
	}
}

// TestEnvironments: a target without a path that writes to several environments at once says so,
// and one with a path does not.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, deploy.Target{Name: "all"}, prod())
	o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
	if err != nil || len(o.Commits) != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	if len(o.Problems) != 1 || o.Problems[0].Target != "all" || o.Problems[0].Waits ||
		!strings.Contains(o.Problems[0].Reason, "several environments (prod, test)") {
		t.Errorf("problems: %+v", o.Problems)
	}
}
