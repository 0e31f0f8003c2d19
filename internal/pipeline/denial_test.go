package pipeline_test

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// denied pushes an image that is allowed, and returns the message that has it evaluated again when
// it is not any more.
func denied(t *testing.T) (*world, pratique.Subject, message) {
	t.Helper()
	w := newWorld(t)
	w.push("e1", "1.0")
	w.bad["app"] = true
	w.useDatabase("database 2")
	return w, w.subject("app"), w.upTo(pratique.StageAttest, "e2", "1.0")
}

// TestWithdrawnBeforeAnythingCanFail: whatever fails about a denial, the signature is gone by then.
func TestWithdrawnBeforeAnythingCanFail(t *testing.T) {
	for _, call := range []string{"fact evaluated app", "put", "last evaluated app", "attach app",
		"fact attested app"} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Exhausted} {
			w, s, m := denied(t)
			w.fail[call] = pratique.Errorf(kind, "do", "as told")
			if err, _ := w.handle(m); pratique.KindOf(err) != kind {
				t.Errorf("%s: %v", call, err)
			}
			if _, signed := w.registry.held[s][""]; signed {
				t.Errorf("%s fails with %s: the image is still signed", call, kind)
			}
		}
	}
}

// TestDeniedThoughTheSignatureStays: a registry that does not let go of the signature keeps neither
// the verdict from being recorded nor the other evidence from being attached, and the cause stands.
func TestDeniedThoughTheSignatureStays(t *testing.T) {
	w, s, m := denied(t)
	w.fail["withdraw app"] = pratique.Errorf(pratique.Invalid, "withdraw", "immutable")
	w.fail["attach app"] = w.fail["withdraw app"]
	err, _ := w.handle(m)
	isKind(t, err, pratique.Invalid, w.fail["withdraw app"])
	if got := pratique.As[pratique.Evaluated](w.newest(s,
		pratique.FactEvaluated)).Verdict.Outcome; got != pratique.Deny {
		t.Errorf("the newest verdict is %s", got)
	}
	// The event ends as what it is, and says what is in the way.
	if err := w.attest().RecordFailure(t.Context(), pipeline.Failure{Stage: m.stage, Body: m.body,
		Attempt: 1, Cause: err, Final: true}); err != nil {
		t.Fatal(err)
	}
	end := pratique.As[pratique.Completed](w.newest(s, pratique.FactCompleted))
	if end.State != pratique.StateDenied ||
		end.Verdict != pratique.As[pratique.Evaluated](w.newest(s,
			pratique.FactEvaluated)).Digest || !strings.Contains(end.Detail, "immutable") {
		t.Errorf("end %+v", end)
	}
	if f := pratique.As[pratique.Failed](w.newest(s, pratique.FactFailed)); !f.Final ||
		f.Kind != pratique.Invalid {
		t.Errorf("failed %+v", f)
	}
}

// TestPolicyThatFails: an image that was allowed, and that the policy cannot decide about any more,
// is denied.
func TestPolicyThatFails(t *testing.T) {
	for _, kind := range []pratique.Kind{pratique.Invalid, pratique.Exhausted} {
		w := newWorld(t)
		w.push("e1", "1.0")
		w.useDatabase("database 2")
		m := w.upTo(pratique.StageAttest, "e2", "1.0")
		w.fail["evaluate app"] = pratique.Errorf(kind, "evaluate", "as told")
		w.mustHandle(m)
		s := w.subject("app")
		if _, signed := w.registry.held[s][""]; signed {
			t.Errorf("%s: the image is still signed", kind)
		}
		end := pratique.As[pratique.Completed](w.newest(s, pratique.FactCompleted))
		if end.State != pratique.StateDenied || !strings.Contains(end.Detail, "as told") {
			t.Errorf("%s: end %+v", kind, end)
		}
	}
}

// TestPolicyThatIsSlowOnce: a busy machine alone denies nothing.
func TestPolicyThatIsSlowOnce(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageAttest, "e1", "1.0")
	w.fail["evaluate app"] = pratique.Errorf(pratique.Exhausted, "evaluate", "it takes too long")
	w.after = map[string]func(){"evaluate app": func() {
		w.journal.mu.Lock()
		defer w.journal.mu.Unlock()
		delete(w.fail, "evaluate app")
	}}
	w.mustHandle(m)
	if got := pratique.As[pratique.Evaluated](w.newest(w.subject("app"),
		pratique.FactEvaluated)).Verdict.Outcome; got != pratique.Allow {
		t.Errorf("the verdict is %s", got)
	}
}

// TestFailureOfAnAllowedImage ends as failed, as before.
func TestFailureOfAnAllowedImage(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageAttest, "e1", "1.0")
	call := "attach app"
	w.fail[call] = pratique.Errorf(pratique.Invalid, "attach", "no")
	err, _ := w.handle(m)
	if err := w.attest().RecordFailure(t.Context(), pipeline.Failure{Stage: m.stage, Body: m.body,
		Attempt: 1, Cause: err, Final: true}); err != nil {
		t.Fatal(err)
	}
	if end := pratique.As[pratique.Completed](w.newest(w.subject("app"),
		pratique.FactCompleted)); end.State != pratique.StateFailed {
		t.Errorf("end %+v", end)
	}
}

// TestDeniedIndexDoesNotWait: a platform that cannot be evaluated, or attested, keeps no denial of
// the index back.
func TestDeniedIndexDoesNotWait(t *testing.T) {
	for _, call := range []string{"evaluate amd", "attach amd"} {
		w := newWorld(t)
		w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
		w.push("e1", "2.0")
		index := w.subject("index")
		if _, signed := w.registry.held[index][""]; !signed {
			t.Fatal("the index is not signed")
		}
		w.bad["arm"] = true
		w.useDatabase("database 2")
		m := w.upTo(pratique.StageAttest, "e2", "2.0")
		w.fail[call] = pratique.Errorf(pratique.Exhausted, "do", "it takes too long")
		err, _ := w.handle(m)
		if wantErr := strings.HasPrefix(call, "attach"); (err != nil) != wantErr {
			t.Errorf("%s: %v", call, err)
		}
		if _, signed := w.registry.held[index][""]; signed {
			t.Errorf("%s fails: the index is still signed", call)
		}
		if vsa := w.summary(index); vsa.Outcome != pratique.Deny {
			t.Errorf("%s fails: the summary of the index says %s", call, vsa.Outcome)
		}
	}
}

// TestNewestVerdictStopsTheGate: while the registry still has a passing summary, a denial that is
// on record counts.
func TestNewestVerdictStopsTheGate(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageDeploy, "e1", "1.0")
	w.bad["app"] = true
	w.useDatabase("database 2")
	again := w.upTo(pratique.StageAttest, "e2", "1.0")
	w.fail["withdraw app"] = pratique.Errorf(pratique.Unavailable, "withdraw", "away")
	w.fail["attach app"] = w.fail["withdraw app"]
	if err, _ := w.handle(again); err == nil {
		t.Fatal("it was attested")
	}
	w.mustHandle(m)
	if len(w.changes) != 0 {
		t.Errorf("the gate was asked for %d changes", len(w.changes))
	}
	if end := pratique.As[pratique.Completed](w.newest(w.subject("app"),
		pratique.FactCompleted)); end.State != pratique.StateDenied {
		t.Errorf("end %+v", end)
	}
}
