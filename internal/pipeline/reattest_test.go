package pipeline_test

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer/signertest"
)

func TestAttestAgain(t *testing.T) {
	const fresh, attach, evaluate = 0, 1, 3 // who records another verdict attests it, too
	tests := []struct {
		name   string
		change func(w *world)
		want   int
	}{
		{"nothing changed", func(*world) {}, fresh},
		{"just young enough", func(w *world) { w.now = w.now.Add(w.refresh - time.Second) }, fresh},
		{"as old as refresh", func(w *world) { w.now = w.now.Add(w.refresh) }, evaluate},
		{"no refresh", func(w *world) { w.refresh = 0; w.now = w.now.Add(time.Second) }, evaluate},
		{"another policy digest", func(w *world) {
			w.policy.Digest = pratique.DigestOf([]byte("2"))
		}, evaluate},
		{"the registry lost all", func(w *world) { clear(w.registry.held) }, attach},
		{"the registry lost the signature", func(w *world) {
			delete(w.registry.held[w.subject("app")], "")
		}, attach},
		{"somebody replaced the summary", func(w *world) {
			w.registry.held[w.subject("app")][pratique.PredicateVSA] = held{Attestation: pratique.Attestation{Digest: w.digest("x")}}
		}, attach},
		{"attested was lost", func(w *world) { w.drop(pratique.FactAttested) }, attach},
		{"evaluated was lost", func(w *world) {
			w.drop(pratique.FactEvaluated)
			w.now = w.now.Add(time.Second)
		}, evaluate},
		{"our clock was a little ahead", func(w *world) { w.now = w.now.Add(-time.Minute) }, fresh},
		// Nobody would act on a summary from the future, for as long as the clock was wrong.
		{"our clock was a year ahead", func(w *world) {
			w.now = w.now.Add(-365 * 24 * time.Hour)
		}, evaluate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.mustHandle(w.upTo(pratique.StageAttest, "e1", "1.0"))
			before := w.registry.list(w.subject("app"))
			m := w.upTo(pratique.StageAttest, "e2", "1.0")
			tt.change(w)
			w.forget()
			w.mustHandle(m)
			if tt.want == evaluate {
				w.inOrder("evaluate app", "fact evaluated app", "attach app")
			} else {
				w.never("fact evaluated")
			}
			if tt.want == fresh {
				w.never("sign", "attach", "fact attested")
			} else {
				w.inOrder("sign app", "attach app", "fact attested app", "enqueue deploy e2.deploy")
			}
			w.endsWith("enqueue deploy e2.deploy")
			last := pratique.As[pratique.Attested](w.newest(w.subject("app"), pratique.FactAttested))
			same(t, "held and recorded", w.registry.list(w.subject("app")), last.Attestations)
			if len(before) != 5 || len(last.Attestations) != 5 {
				t.Errorf("%d attestations, then %d", len(before), len(last.Attestations))
			}
		})
	}
}

// TestPolicyChangesItsMind: rules may look at the clock, so the same policy says something else
// about the same evidence, a minute later. Then the young verdict does not stand.
func TestPolicyChangesItsMind(t *testing.T) {
	deny := func(d *pratique.Decision) { d.Outcome = pratique.Deny }
	say := func(text string) func(*pratique.Decision) {
		return func(d *pratique.Decision) {
			deny(d)
			d.Reasons = []pratique.Reason{{Rule: "database_age", Message: text}}
		}
	}
	note := func(d *pratique.Decision) { d.Notes = nil }
	for name, moods := range map[string][2]func(*pratique.Decision){
		"outcome": {nil, deny}, "back": {deny, nil}, "reasons": {say("3 days"), say("4 days")},
		"notes": {nil, note},
	} {
		w := newWorld(t)
		w.mood = moods[0]
		w.push("e1", "1.0")
		before := pratique.As[pratique.Evaluated](w.newest(w.subject("app"), pratique.FactEvaluated))
		w.now, w.mood = w.now.Add(time.Minute), moods[1]
		w.push("e2", "1.0")
		after := pratique.As[pratique.Evaluated](w.newest(w.subject("app"), pratique.FactEvaluated))
		attested := pratique.As[pratique.Attested](w.newest(w.subject("app"), pratique.FactAttested))
		if before.Digest == after.Digest || attested.Verdict != after.Digest {
			t.Errorf("%s: verdict %s, then %s; attested is %s", name, before.Digest, after.Digest,
				attested.Verdict)
		}
		_, signed := w.registry.held[w.subject("app")][""]
		if vsa := w.summary(w.subject("app")); vsa.Outcome != after.Verdict.Outcome ||
			signed != (vsa.Outcome == pratique.Allow) {
			t.Errorf("%s: the summary says %s, signed %v", name, vsa.Outcome, signed)
		}
	}
}

// TestOtherKeySignsAnew: what an old key signed is not what verifiers look for after a rotation.
func TestOtherKeySignsAnew(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	old := pratique.As[pratique.Attested](w.newest(w.subject("app"), pratique.FactAttested))
	w.registry.key = signertest.NewKey(2)
	for s := range w.registry.held {
		// the real store keeps only what its own key signed
		for predicate, h := range w.registry.held[s] {
			h.payload = nil
			w.registry.held[s][predicate] = h
		}
	}
	w.forget()
	w.push("e2", "1.0")
	w.inOrder("sign app", "attach app")
	for _, a := range pratique.As[pratique.Attested](w.newest(w.subject("app"),
		pratique.FactAttested)).Attestations {
		if a.Signer != w.registry.key.Identity() || a.Signer == old.Attestations[0].Signer {
			t.Errorf("%s is still by %s", a.PredicateType, a.Signer)
		}
	}
}

// TestAttestAgainAfterANewReport: other evidence is another verdict, even if it says the same.
func TestAttestAgainAfterANewReport(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	w.useDatabase("database 2")
	m := w.upTo(pratique.StageAttest, "e2", "1.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("evaluate app", "fact evaluated app", "sign app", "attach app", "fact attested app",
		"enqueue deploy e2.deploy")
}

// TestAttestIndexAgain: only the index and the child that changed are attested again.
func TestAttestIndexAgain(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	w.push("e1", "2.0")
	m := w.upTo(pratique.StageAttest, "e2", "2.0")
	w.forget()
	w.mustHandle(m)
	w.never("fact", "sign", "attach", "withdraw")
	w.endsWith("enqueue deploy e2.deploy")

	w.useDatabase("database 2") // makes new reports
	w.now = w.now.Add(time.Minute)
	w.image("arm", "arm")
	w.push("e3", "arm") // this child is evaluated by itself
	m = w.upTo(pratique.StageAttest, "e4", "2.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("evaluate amd", "fact evaluated amd", "fact evaluated index", "sign amd",
		"attach amd", "fact attested amd",
		"sign index", "attach index", "fact attested index", "enqueue deploy e4.deploy")
	w.never("fact evaluated arm", "sign arm", "attach arm", "fact attested arm")
}

// TestRedeliveredAfterTheEnd: an acknowledgement was lost, and the message comes again when nobody
// remembers message ids any more. The event has its end, and gets no other.
func TestRedeliveredAfterTheEnd(t *testing.T) {
	for _, stage := range []string{pratique.StageInspect, pratique.StageAttest, pratique.StageDeploy} {
		w := newWorld(t)
		m := w.upTo(stage, "e1", "1.0")
		for next := m; ; next = w.last() {
			before := len(w.queue)
			if w.mustHandle(next); len(w.queue) == before {
				break
			}
		}
		if _, over := w.lookUp(w.subject("app"), pratique.FactCompleted); !over {
			t.Fatalf("%s: no end", stage)
		}
		facts := len(w.facts)
		if w.mustHandle(m); len(w.facts) != facts {
			t.Errorf("%s: %d facts became %d", stage, facts, len(w.facts))
		}
	}
}
