package deploy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// put commits files of other people.
func (w *world) put(files map[string]string) {
	w.t.Helper()
	if _, err := w.server.Advance(w.t.Context(), "config", "other", files); err != nil {
		w.t.Fatal(err)
	}
}

// TestBrokenPlaces: what is broken stops only the places in it, and only the image that it is about
// waits.
func TestBrokenPlaces(t *testing.T) {
	t.Parallel()
	const ours, theirs = `# {"$pratique": "registry.example.com/team/app", "writes": "tag"}`,
		`# {"$pratique": "registry.example.com/team/other", "writes": "tag"}`
	for name, test := range map[string]struct {
		file, content string
		waits         bool
		problem       pratique.Problem // its reason is a part of the whole
	}{
		"marker of others": {"prod/a.yaml", "a: b " + theirs + "\n", false,
			pratique.Problem{Path: "prod/a.yaml", Line: 1, Reason: "not JSON"}},
		"marker of nobody": {"prod/a.yaml", "\na: b # {\"$pratique\": 1}\n", false,
			pratique.Problem{Path: "prod/a.yaml", Line: 2, Reason: "not JSON"}},
		"marker of ours": {"prod/a.yaml", "a: b " + ours + "\n", true,
			pratique.Problem{Path: "prod/a.yaml", Line: 1, Reason: "not JSON"}},
		"template of ours": {"prod/a.yaml",
			"{{ if .x }}\nimage: registry.example.com/team/app:1\n", false, pratique.Problem{}},
		"marked template": {"prod/a.yaml",
			"{{ if .x }}\nimage: x # {\"$pratique\": \"registry.example.com/team/app\"}\n", true,
			pratique.Problem{Path: "prod/a.yaml", Line: 1, Reason: "not YAML"}},
		"template of others": {"prod/a.yaml",
			"{{ if .x }}\nimage: x # {\"$pratique\": \"registry.example.com/team/other\"}\n", false,
			pratique.Problem{}},
		"conflict of ours": {"prod/x/kustomization.yaml",
			"images:\n<<<<<<< HEAD\n- name: registry.example.com/team/app\n", true,
			pratique.Problem{Path: "prod/x/kustomization.yaml", Line: 2, Reason: "not YAML"}},
		"conflict of others": {"prod/x/kustomization.yaml",
			"images:\n<<<<<<< HEAD\n- name: registry.example.com/team/other\n", false,
			pratique.Problem{}},
		"another image": {"prod/a.yaml",
			"image: registry.example.com/team/other:1 # {\"$pratique\": \"registry.example.com/team/app\"}\n", true, pratique.Problem{Path: "prod/a.yaml", Line: 1, Reason: "is no reference of"}},
		"too large for YAML": {"prod/a.yaml",
			"a: registry.example.com/team/app # {\"$pratique\": \"registry.example.com/team/app\"}\n" + strings.Repeat("- a\n", 400_000), true, pratique.Problem{Path: "prod/a.yaml", Reason: "too large to be edited"}},
		"large, and of others": {"prod/a.yaml",
			"a: registry.example.com/team/other # {\"$pratique\": \"registry.example.com/team/other\"}\n" + strings.Repeat("- a\n", 400_000), false, pratique.Problem{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.put(map[string]string{test.file: test.content})
			o, err := deployAll(t.Context(), w.gate, change(one, "event-1"))
			if test.waits {
				if pratique.KindOf(err) != pratique.Denied ||
					!strings.Contains(err.Error(), "target prod: edit: "+test.problem.Path) ||
					!strings.Contains(err.Error(), test.problem.Reason) {
					t.Errorf("%v, want kind Denied with %v", err, test.problem)
				}
			} else if err != nil {
				t.Error(err)
			}
			// The other places are written.
			if len(o.Commits) != 1 || len(o.Commits[0].Files) != 3 || w.commits() != "2" ||
				w.git("show", "main:"+test.file)+"\n" != test.content {
				t.Errorf("%+v, %s commits", o, w.commits())
			}
			var want []deploy.TargetProblem
			if test.problem.Path != "" {
				want = []deploy.TargetProblem{{Target: "prod", Problem: test.problem, Waits: test.waits}}
			}
			for i := range o.Problems {
				if i < len(want) && strings.Contains(o.Problems[i].Reason, want[i].Reason) {
					o.Problems[i].Reason = want[i].Reason
				}
			}
			if diff := cmp.Diff(want, o.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
