package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestDeployInOrder: a commit is recorded, then the answer of the target, then the end, each once.
func TestDeployInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageDeploy, "e1", "1.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("commit app", "fact deployed app", "fact answered app", "fact completed app")
	w.endsWith("fact completed app")
	// What the commit says of verdict and policy is the gate's business: it reads the signed
	// summary.
	same(t, "change", []pratique.Change{{Subject: w.subject("app"), Tag: "1.0", Event: "e1",
		PushedAt: w.now}}, w.changes)
}

func TestDeployEnds(t *testing.T) {
	moved := deploy.Outcome{State: pratique.StateSuperseded, Detail: "moved on"}
	tests := []struct {
		name    string
		targets map[string]deploy.Outcome
		want    pratique.Completed
	}{
		{"one target", map[string]deploy.Outcome{"a": committed("a")},
			pratique.Completed{State: pratique.StateDeployed}},
		{"two targets", map[string]deploy.Outcome{"a": committed("a"), "b": committed("b")},
			pratique.Completed{State: pratique.StateDeployed}},
		{"one has no place", map[string]deploy.Outcome{"a": {State: pratique.StateAllowed,
			Detail: "no place"}, "b": committed("b")},
			pratique.Completed{State: pratique.StateDeployed, Detail: "no place"}},
		{"no target", nil, pratique.Completed{State: pratique.StateAllowed, Detail: "nobody asks"}},
		{"superseded", map[string]deploy.Outcome{"a": moved},
			pratique.Completed{State: pratique.StateSuperseded, Detail: "moved on"}},
		{"superseded in one", map[string]deploy.Outcome{"a": committed("a"), "b": moved},
			pratique.Completed{State: pratique.StateSuperseded, Detail: "moved on"}},
		{"reverted in one", map[string]deploy.Outcome{"a": moved,
			"b": {State: pratique.StateReverted, Detail: "taken away"}},
			pratique.Completed{State: pratique.StateReverted, Detail: "taken away; moved on"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.targets = tt.targets
			w.push("e1", "1.0")
			tt.want.Ref, tt.want.Outcome = ref("1.0"), pratique.Allow
			tt.want.Verdict = pratique.As[pratique.Evaluated](w.newest(w.subject("app"),
				pratique.FactEvaluated)).Digest
			same(t, "end", &tt.want,
				pratique.As[pratique.Completed](w.newest(w.subject("app"), pratique.FactCompleted)))
			for name, out := range tt.targets {
				onRecord := slices.ContainsFunc(w.facts, func(f pratique.Fact) bool {
					return f.Kind() == pratique.FactDeployed && f.Target() == name
				})
				if onRecord != (out.Commit != nil) {
					t.Errorf("a commit to %s is on record: %v", name, onRecord)
				}
			}
		})
	}
}

// TestCommitsBesideAnError: the first target has its commit when the second fails. The commit
// exists, so it is on record, even if no later attempt succeeds; and the event is not over.
func TestCommitsBesideAnError(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageDeploy, "e1", "1.0")
	w.forget()
	w.fail["commit app"] = pratique.Errorf(pratique.Denied, "push", "staging is protected")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Denied, w.fail["commit app"])
	w.inOrder("commit app", "fact deployed app")
	w.never("fact answered", "fact completed")

	// If it cannot be recorded, that is worth another try, whatever the gate says.
	w.fail["fact deployed app"] = pratique.Errorf(pratique.Unavailable, "append", "as told")
	err, _ = w.handle(m)
	isKind(t, err, pratique.Unavailable, w.fail["fact deployed app"])
	isKind(t, err, pratique.Unavailable, w.fail["commit app"])
}

// TestTargetsWaitForNobody: each target has a message of its own. One that cannot be written delays
// no other, and the event ends with the last of them, whichever that is.
func TestTargetsWaitForNobody(t *testing.T) {
	w := newWorld(t)
	w.targets = map[string]deploy.Outcome{"a": {}, "b": committed("b"), "c": committed("c")}
	down := pratique.Errorf(pratique.Unavailable, "push", "the server is down")
	w.fail["commit a app"] = down
	w.mustHandle(w.upTo(pratique.StageDeploy, "e1", "1.0"))
	jobs := slices.DeleteFunc(slices.Clone(w.queue), func(m message) bool {
		return m.stage != pratique.StageDeploy
	})[1:]
	if len(jobs) != 3 {
		t.Fatalf("%d messages for three targets", len(jobs))
	}
	err, _ := w.handle(jobs[0])
	isKind(t, err, pratique.Unavailable, down)
	w.mustHandle(jobs[1])
	w.mustHandle(jobs[2])
	w.mustHandle(jobs[2]) // its acknowledgement was lost
	if _, ended := w.lookUp(w.subject("app"), pratique.FactCompleted); ended {
		t.Fatal("the event ended before all targets answered")
	}
	d := w.deploy()
	if err := d.RecordFailure(t.Context(), pipeline.Failure{Stage: string(pratique.StageDeploy),
		Body: jobs[0].body, Attempt: 9, Cause: down, Final: true}); err != nil {
		t.Fatal(err)
	}
	end := pratique.As[pratique.Completed](w.newest(w.subject("app"), pratique.FactCompleted))
	if end.State != pratique.StateFailed || !strings.Contains(end.Detail, "the server is down") {
		t.Errorf("%+v", end)
	}
	for _, name := range []string{"b", "c"} {
		if !slices.ContainsFunc(w.facts, func(f pratique.Fact) bool {
			return f.Kind() == pratique.FactDeployed && f.Target() == name
		}) {
			t.Errorf("%s has no commit on record", name)
		}
	}
}

// TestOtherTargetsAfterADeath: the process died after it had enqueued the work for the first of two
// targets, and came back with other targets. Whichever answers last, the event ends.
func TestOtherTargetsAfterADeath(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		w := newWorld(t)
		w.targets = map[string]deploy.Outcome{"a": committed("a"), "b": committed("b")}
		m := w.upTo(pratique.StageDeploy, "e1", "1.0")
		first := len(w.queue)
		w.mustHandle(m)
		w.queue = w.queue[:first+1]
		w.targets = map[string]deploy.Outcome{"a": committed("a"), "c": committed("c")}
		w.mustHandle(m)
		jobs := w.queue[first:]
		if len(jobs) != 3 {
			t.Fatalf("%d messages, want one of the first targets and two of the others", len(jobs))
		}
		for _, n := range order {
			w.mustHandle(jobs[n])
		}
		w.newest(w.subject("app"), pratique.FactCompleted)
	}
}

// TestOneSummaryForAllTargets: two targets whose gate refuses the summary have it made again once.
func TestOneSummaryForAllTargets(t *testing.T) {
	w := newWorld(t)
	w.targets = map[string]deploy.Outcome{"a": committed("a"), "b": committed("b")}
	old := pratique.Errorf(pratique.Stale, "check summary", "too old")
	w.fail["commit a app"], w.fail["commit b app"] = old, old
	w.mustHandle(w.upTo(pratique.StageDeploy, "e1", "1.0"))
	first := len(w.queue)
	w.mustHandle(w.queue[first-2])
	w.mustHandle(w.queue[first-1])
	if back := w.queue[first:]; len(back) != 1 || back[0].stage != pratique.StageAttest {
		t.Fatalf("sent back as %+v", back)
	}
	clear(w.fail)
	for ; first < len(w.queue); first++ {
		w.mustHandle(w.queue[first])
	}
	if end := pratique.As[pratique.Completed](w.newest(w.subject("app"),
		pratique.FactCompleted)); end.State != pratique.StateDeployed {
		t.Errorf("%+v", end)
	}
}

func TestDeployErrors(t *testing.T) {
	for _, call := range []string{"commit app", "fact deployed app", "fact answered app",
		"last answered app", "fact completed app"} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Denied, pratique.Conflict} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.upTo(pratique.StageDeploy, "e1", "1.0")
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				if _, ok := w.lookUp(w.subject("app"), pratique.FactCompleted); ok {
					t.Error("completed after an error")
				}
				delete(w.fail, call)
				w.mustHandle(m)
				w.newest(w.subject("app"), pratique.FactCompleted)
			})
		}
	}
}

// TestRefusedSummaryIsMadeAnew: the gate refuses the summary, because it is too old by now or not
// what this service would write. The attest stage signs another one, once; then the gate's word
// stands.
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
			w.inOrder("sign app", "attach app")
			again := w.last()
			err, _ := w.handle(again)
			isKind(t, err, kind, refused)
			delete(w.fail, "commit app")
			w.mustHandle(again)
			w.newest(w.subject("app"), pratique.FactCompleted)
		})
	}
}

// TestOtherVerifierSignsAnew: an unchanged verdict is stated again when the verifier's id has
// changed.
func TestOtherVerifierSignsAnew(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	w.verifier = "https://renamed.example"
	w.forget()
	w.push("e2", "1.0")
	w.inOrder("sign app", "attach app")
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
