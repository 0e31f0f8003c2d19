package pipeline_test

import (
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

func TestDeployInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageDeploy, "e1", "1.0")
	w.journal = nil
	w.mustHandle(m)
	same(t, "journal", []string{
		"last completed ", "last completed app", "last evaluated app", "last resolved app",
		"edge deploy:before-commit", "commit app", "edge deploy:after-commit",
		"edge deploy:before-deployed", "fact deployed app", "edge deploy:after-deployed",
		"edge deploy:before-completed", "fact completed app", "edge deploy:after-completed",
	}, w.journal)
	// What the commit says of verdict and policy is the gate's business: it reads the signed summary.
	same(t, "change", []pratique.Change{{Subject: w.subject("app"), Tag: "1.0", Event: "e1", PushedAt: w.now}}, w.changes)
}

func TestDeployEnds(t *testing.T) {
	one := []pratique.Commit{{Target: "production", ID: "c0ffee"}}
	two := append(one, pratique.Commit{Target: "staging", ID: ""})
	tests := []struct {
		name    string
		outcome deploy.Outcome
		want    pratique.Completed
	}{
		{"one target", deploy.Outcome{Commits: one}, pratique.Completed{State: pratique.StateDeployed}},
		{"two targets, one in place already", deploy.Outcome{Commits: two}, pratique.Completed{State: pratique.StateDeployed}},
		{"no target", deploy.Outcome{NoTarget: true, Detail: "nobody asks"}, pratique.Completed{State: pratique.StateAllowed, Detail: "nobody asks"}},
		{"superseded", deploy.Outcome{Superseded: true, Detail: "moved on"}, pratique.Completed{State: pratique.StateSuperseded, Detail: "moved on"}},
		{"superseded after the first target", deploy.Outcome{Commits: one, Superseded: true, Detail: "moved on"}, pratique.Completed{State: pratique.StateSuperseded, Detail: "moved on"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.outcome = tt.outcome
			w.push("e1", "1.0")
			tt.want.Ref, tt.want.Outcome = ref("1.0"), pratique.Allow
			tt.want.Verdict = pratique.As[pratique.Evaluated](w.newest(w.subject("app"), pratique.FactEvaluated)).Digest
			same(t, "end", &tt.want, pratique.As[pratique.Completed](w.newest(w.subject("app"), pratique.FactCompleted)))
			var commits []pratique.Commit
			for _, f := range w.facts {
				if f.Kind() == pratique.FactDeployed {
					commits = append(commits, *pratique.As[pratique.Commit](f))
				}
			}
			same(t, "commits on record", tt.outcome.Commits, commits)
		})
	}
}

// TestCommitsBesideAnError: the first target has its commit when the second fails. The commit exists, so it is on
// record, even if no later attempt succeeds; and the event is not settled.
func TestCommitsBesideAnError(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageDeploy, "e1", "1.0")
	w.forget()
	w.fail["commit app"] = pratique.Errorf(pratique.Denied, "push", "staging is protected")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Denied, w.fail["commit app"])
	same(t, "work", []string{"commit app", "fact deployed app"}, w.forget())

	// If it cannot be recorded, that is worth another try, whatever the gate says.
	w.fail["fact deployed app"] = pratique.Errorf(pratique.Unavailable, "append", "as told")
	err, _ = w.handle(m)
	isKind(t, err, pratique.Unavailable, w.fail["fact deployed app"])
	isKind(t, err, pratique.Unavailable, w.fail["commit app"])
}

func TestDeployErrors(t *testing.T) {
	for _, call := range []string{"commit app", "fact deployed app", "fact completed app"} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Denied, pratique.Conflict} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.upTo(pratique.StageDeploy, "e1", "1.0")
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				if _, ok := w.lookUp(w.subject("app"), pratique.FactCompleted); ok {
					t.Error("settled after an error")
				}
				delete(w.fail, call)
				w.mustHandle(m)
				w.newest(w.subject("app"), pratique.FactCompleted)
			})
		}
	}
}

// TestRefusedSummaryIsMadeAnew: the gate refuses the summary, because it is too old by now or not what this
// service would write. The attest stage signs another one, once; then the gate's word stands.
func TestRefusedSummaryIsMadeAnew(t *testing.T) {
	for _, kind := range []pratique.Kind{pratique.Stale, pratique.Unverified} {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t)
			m := w.upTo(pratique.StageDeploy, "e1", "1.0")
			refused := pratique.Errorf(kind, "check summary", "as told")
			w.fail["commit app"] = refused
			w.forget()
			w.mustHandle(m)
			back := w.last()
			if back.stage != pratique.StageAttest || back.id == "e1.attest" {
				t.Fatalf("sent back as %s to %s", back.id, back.stage)
			}
			w.mustHandle(back)
			if work := w.forget(); !slices.Contains(work, "attach app signed spdx cyclonedx vuln vsa") {
				t.Errorf("nothing was signed anew: %v", work)
			}
			again := w.last()
			err, _ := w.handle(again)
			isKind(t, err, kind, refused)
			delete(w.fail, "commit app")
			w.mustHandle(again)
			w.newest(w.subject("app"), pratique.FactCompleted)
		})
	}
}

// TestOtherVerifierSignsAnew: an unchanged verdict is stated again when the verifier's id has changed.
func TestOtherVerifierSignsAnew(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	w.verifier = "https://renamed.example"
	w.forget()
	w.push("e2", "1.0")
	if work := w.forget(); !slices.Contains(work, "attach app signed spdx cyclonedx vuln vsa") {
		t.Errorf("the old summary stands: %v", work)
	}
}

// TestLostDocumentsAreMadeAgain: the evidence store lost what the facts name.
func TestLostDocumentsAreMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	clear(w.documents)
	w.push("e2", "1.0")
	inspected := pratique.As[pratique.Inspected](w.newest(w.subject("app"), pratique.FactInspected))
	for _, d := range []pratique.Digest{inspected.Inventory, inspected.SPDX, inspected.CycloneDX} {
		if _, ok := w.documents[d]; !ok {
			t.Errorf("%s is still missing", d)
		}
	}
}
