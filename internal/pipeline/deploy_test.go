package pipeline_test

import (
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

func TestDeployInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pipeline.StageDeploy, "e1", "1.0")
	w.journal = nil
	w.mustHandle(m)
	same(t, "journal", []string{
		"last attested app", "last judged app",
		"edge deploy:before-commit", "commit app", "edge deploy:after-commit",
		"edge deploy:before-deployed", "fact deployed app", "edge deploy:after-deployed",
		"edge deploy:before-settled", "fact settled app", "edge deploy:after-settled",
	}, w.journal)
	attested := w.newest(w.subject("app"), pratique.FactAttested).Attested
	same(t, "change", []pratique.Change{{
		Subject: w.subject("app"), Tag: "1.0", Verdict: attested.Verdict, VSA: attested.VSA, Policy: w.policy.Digest, Event: "e1",
	}}, w.changes)
}

func TestDeployEnds(t *testing.T) {
	one := []pratique.Commit{{Target: "production", ID: "c0ffee"}}
	two := append(one, pratique.Commit{Target: "staging", ID: ""})
	tests := []struct {
		name    string
		outcome deploy.Outcome
		want    pratique.Settled
	}{
		{"one target", deploy.Outcome{Commits: one}, pratique.Settled{State: pratique.StateDeployed}},
		{"two targets, one in place already", deploy.Outcome{Commits: two}, pratique.Settled{State: pratique.StateDeployed}},
		{"no target", deploy.Outcome{NoTarget: true, Detail: "nobody asks"}, pratique.Settled{State: pratique.StateAllowed, Detail: "nobody asks"}},
		{"superseded", deploy.Outcome{Superseded: true, Detail: "moved on"}, pratique.Settled{State: pratique.StateSuperseded, Detail: "moved on"}},
		{"superseded after the first target", deploy.Outcome{Commits: one, Superseded: true, Detail: "moved on"}, pratique.Settled{State: pratique.StateSuperseded, Detail: "moved on"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.outcome = tt.outcome
			w.push("e1", "1.0")
			tt.want.Ref = ref("1.0")
			same(t, "end", &tt.want, w.newest(w.subject("app"), pratique.FactSettled).Settled)
			var commits []pratique.Commit
			for _, f := range w.facts {
				if f.Kind == pratique.FactDeployed {
					commits = append(commits, *f.Deployed)
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
	m := w.upTo(pipeline.StageDeploy, "e1", "1.0")
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
	for _, call := range []string{"last attested app", "last judged app", "commit app", "fact deployed app", "fact settled app"} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Stale, pratique.Unverified} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.upTo(pipeline.StageDeploy, "e1", "1.0")
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				if _, ok := w.lookUp(w.subject("app"), pratique.FactSettled); ok {
					t.Error("settled after an error")
				}
				delete(w.fail, call)
				w.mustHandle(m)
				w.newest(w.subject("app"), pratique.FactSettled)
			})
		}
	}
}

// TestDeployNeedsEvidence: the gate is not even asked about a subject without verdict and attestations.
func TestDeployNeedsEvidence(t *testing.T) {
	for _, kind := range []pratique.FactKind{pratique.FactJudged, pratique.FactAttested} {
		w := newWorld(t)
		m := w.upTo(pipeline.StageDeploy, "e1", "1.0")
		w.drop(kind)
		err, _ := w.handle(m)
		isKind(t, err, pratique.Internal, nil)
		if len(w.changes) != 0 {
			t.Errorf("without %s the gate was asked", kind)
		}
	}
}
