package pipeline_test

import (
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestAttestInOrder: an image is evaluated, signed once, and attested before it is handed on.
func TestAttestInOrder(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageAttest, "e1", "1.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("evaluate app", "fact evaluated app", "sign app", "attach app", "fact attested app",
		"enqueue deploy e1.deploy")
	w.never("withdraw")
	w.endsWith("enqueue deploy e1.deploy")
	same(t, "attached", allowedImage, w.attached("app"))
	for _, predicate := range []string{"spdx", "cyclonedx", "vuln"} {
		if n := w.lookups["upload "+predicate]; n != 1 {
			t.Errorf("%s was uploaded %d times ahead of the verdict", predicate, n)
		}
	}

	s := w.subject("app")
	evaluated, attested := pratique.As[pratique.Evaluated](w.newest(s, pratique.FactEvaluated)),
		pratique.As[pratique.Attested](w.newest(s, pratique.FactAttested))
	if attested.Verdict != evaluated.Digest ||
		attested.VSA != w.registry.held[s][pratique.PredicateVSA].Digest ||
		len(attested.Attestations) != 5 {
		t.Errorf("attested %+v of verdict %s", attested, evaluated.Digest)
	}
	var stored pratique.Verdict
	w.document(evaluated.Digest, &stored)
	same(t, "the stored verdict", evaluated.Verdict, stored)
	inspected, matched := pratique.As[pratique.Inspected](w.newest(s, pratique.FactInspected)),
		pratique.As[pratique.Scanned](w.newest(s, pratique.FactScanned))
	same(t, "verdict", pratique.Verdict{
		Subject: s, Outcome: pratique.Allow, Profile: w.policy, EvaluatedAt: w.now,
		Notes: []pratique.Reason{{Rule: "note", Message: "looked at"}},
		Inputs: []pratique.Input{
			{Kind: "report", Digest: matched.Report}, {Kind: "inventory", Digest: inspected.Inventory},
			{Kind: "spdx", Digest: inspected.SPDX}, {Kind: "cyclonedx", Digest: inspected.CycloneDX},
		},
	}, stored)
}

// summary is the verification summary that the registry holds about a subject.
func (w *world) summary(s pratique.Subject) verify.Summary {
	w.t.Helper()
	held, ok := w.registry.held[s][pratique.PredicateVSA]
	if !ok {
		w.t.Fatalf("no summary on %s", w.name(s))
	}
	var st pratique.Statement
	w.documents[held.Digest] = held.payload
	w.document(held.Digest, &st)
	vsa, err := verify.Parse(st)
	if err != nil {
		w.t.Fatal(err)
	}
	return vsa
}

// TestSummaryRestsOnWhatIsAttached: every input of the summary is a statement in the registry.
func TestSummaryRestsOnWhatIsAttached(t *testing.T) {
	w := newWorld(t)
	w.push("e1", "1.0")
	s := w.subject("app")
	vsa := w.summary(s)
	if vsa.Verdict != pratique.As[pratique.Evaluated](w.newest(s, pratique.FactEvaluated)).Digest ||
		vsa.Verifier != "https://pratique.test" || vsa.Profile.Digest != w.policy.Digest {
		t.Errorf("summary %+v", vsa)
	}
	if len(vsa.Inputs) != 3 {
		t.Errorf("inputs %+v", vsa.Inputs)
	}
	for _, in := range vsa.Inputs {
		if in.Digest != w.registry.held[s][in.URI].Digest {
			t.Errorf("input %s is %s, attached is %s", in.URI, in.Digest,
				w.registry.held[s][in.URI].Digest)
		}
	}
}

func TestDenial(t *testing.T) {
	w := newWorld(t)
	w.bad["app"] = true
	m := w.upTo(pratique.StageAttest, "e1", "1.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("evaluate app", "withdraw app", "fact evaluated app", "attach app",
		"fact attested app", "fact completed app")
	w.never("sign", "enqueue")
	same(t, "attached", deniedImage, w.attached("app"))
	same(t, "end", &pratique.Completed{State: pratique.StateDenied, Outcome: pratique.Deny,
		Verdict: pratique.As[pratique.Evaluated](w.newest(w.subject("app"),
			pratique.FactEvaluated)).Digest, Detail: "CVE-2026-1 in app", Ref: ref("1.0")},
		pratique.As[pratique.Completed](w.newest(w.subject("app"), pratique.FactCompleted)))
	if len(w.queue) != 2 {
		t.Errorf("%d messages, want none for the gate", len(w.queue))
	}
	if vsa := w.summary(w.subject("app")); vsa.Outcome != pratique.Deny || len(vsa.Reasons) != 1 {
		t.Errorf("summary %+v", vsa)
	}
}

// TestDenialWithdrawsTheSignature: an image that was allowed yesterday and is denied today is
// signed no more.
func TestDenialWithdrawsTheSignature(t *testing.T) {
	w := newWorld(t)
	s := w.subject("app")
	w.push("e1", "1.0")
	if _, ok := w.registry.held[s][""]; !ok {
		t.Fatal("the image is not signed")
	}
	w.bad["app"] = true
	w.useDatabase("database 2")
	w.push("e2", "1.0")
	if _, ok := w.registry.held[s][""]; ok {
		t.Error("the image is still signed")
	}
	if len(w.changes) != 1 {
		t.Errorf("the gate was asked %d times", len(w.changes))
	}
}

func TestAttestIndex(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	m := w.upTo(pratique.StageAttest, "e1", "2.0")
	w.forget()
	w.mustHandle(m)
	for _, child := range []string{"amd", "arm"} {
		w.inOrder("evaluate "+child, "fact evaluated "+child, "worst of 2", "fact evaluated index",
			"sign "+child, "attach "+child, "fact attested "+child,
			"sign index", "attach index", "fact attested index", "enqueue deploy e1.deploy")
		same(t, "attached to "+child, allowedImage, w.attached(child))
	}
	w.never("withdraw")
	same(t, "attached to the index", allowedIndex, w.attached("index"))
	index := pratique.As[pratique.Evaluated](w.newest(w.subject("index"), pratique.FactEvaluated)).Verdict
	same(t, "children", []pratique.ChildVerdict{
		{Child: pratique.Child{Digest: w.digest("amd"), Platform: "linux/amd64"},
			Outcome: pratique.Allow},
		{Child: pratique.Child{Digest: w.digest("arm"), Platform: "linux/arm64"},
			Outcome: pratique.Allow},
	}, index.Children)
	same(t, "inputs", []pratique.Input{
		{Kind: "verdict", Digest: pratique.As[pratique.Evaluated](w.newest(w.subject("amd"),
			pratique.FactEvaluated)).Digest},
		{Kind: "verdict", Digest: pratique.As[pratique.Evaluated](w.newest(w.subject("arm"),
			pratique.FactEvaluated)).Digest},
	}, index.Inputs)
	if vsa := w.summary(w.subject("index")); vsa.Outcome != pratique.Allow ||
		len(vsa.Inputs) != 2 || vsa.Inputs[0].Digest != index.Inputs[0].Digest {
		t.Errorf("summary of the index %+v", vsa)
	}
}

// TestDeniedChildDeniesTheIndex: the good platform is signed by itself, the index is not.
func TestDeniedChildDeniesTheIndex(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	w.bad["arm"] = true
	m := w.upTo(pratique.StageAttest, "e1", "2.0")
	w.forget()
	w.mustHandle(m)
	w.inOrder("fact evaluated amd", "sign amd", "attach amd", "fact attested amd", "attach index")
	w.inOrder("withdraw arm", "fact evaluated arm", "worst of 2", "withdraw index",
		"fact evaluated index", "attach arm", "fact attested arm",
		"attach index", "fact attested index", "fact completed index")
	w.never("withdraw amd", "sign arm", "sign index", "enqueue")
	same(t, "attached to amd", allowedImage, w.attached("amd"))
	same(t, "attached to arm", deniedImage, w.attached("arm"))
	same(t, "attached to the index", deniedIndex, w.attached("index"))
	index := pratique.As[pratique.Evaluated](w.newest(w.subject("index"), pratique.FactEvaluated)).Verdict
	same(t, "reasons", []pratique.Reason{
		{Rule: "severity", Message: "CVE-2026-1 in arm", Finding: "CVE-2026-1", Platform: "linux/arm64"},
	}, index.Reasons)
	if child := pratique.As[pratique.Evaluated](w.newest(w.subject("arm"),
		pratique.FactEvaluated)).Verdict; child.Reasons[0].Platform != "" {
		t.Errorf("the child's own reason names a platform: %+v", child.Reasons)
	}
	if index.Outcome != pratique.Deny || len(w.queue) != 2 {
		t.Errorf("outcome %s, %d messages", index.Outcome, len(w.queue))
	}
}

// TestAttestIndexFailsAsAWhole: nothing is attested while one child cannot be evaluated, and the
// index is not while one child cannot be attested.
func TestAttestIndexFailsAsAWhole(t *testing.T) {
	for call, before := range map[string][]string{
		"evaluate arm": {"evaluate amd", "fact evaluated amd"},
		"worst of 2":   {"fact evaluated amd", "fact evaluated arm"},
		"attach arm":   {"fact evaluated arm", "fact evaluated index", "attach amd", "fact attested amd"},
	} {
		w := newWorld(t)
		w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
		m := w.upTo(pratique.StageAttest, "e1", "2.0")
		w.forget()
		w.fail[call] = pratique.Errorf(pratique.RateLimited, "do", "as told")
		err, _ := w.handle(m)
		isKind(t, err, pratique.RateLimited, w.fail[call])
		w.inOrder(append(before, call)...)
		same(t, "done after it failed: "+call, []string{}, w.afterFailure())
		if call != "attach arm" {
			w.never("attach", "sign")
		}
		delete(w.fail, call)
		w.mustHandle(m)
		if len(w.queue) != 3 {
			t.Errorf("%s: the redelivery did not complete", call)
		}
	}
}

// TestAttestErrors fails each call in turn.
func TestAttestErrors(t *testing.T) {
	for _, call := range []string{
		"last resolved app", "last inspected app", "last scanned app", "get", "evaluate app",
		"last evaluated app", "put", "fact evaluated app",
		"last attested app", "attach app", "fact attested app", "enqueue deploy e1.deploy",
	} {
		for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Denied, pratique.Unverified} {
			t.Run(call+"/"+kind.String(), func(t *testing.T) {
				w := newWorld(t)
				m := w.upTo(pratique.StageAttest, "e1", "1.0")
				w.fail[call] = pratique.Errorf(kind, "do", "as told")
				err, _ := w.handle(m)
				isKind(t, err, kind, w.fail[call])
				if _, ok := w.lookUp(w.subject("app"), pratique.FactCompleted); ok || len(w.queue) != 2 {
					t.Errorf("completed or enqueued after an error: %q", w.effects())
				}
				delete(w.fail, call)
				w.mustHandle(m)
				if len(w.queue) != 3 {
					t.Error("the redelivery did not complete")
				}
			})
		}
	}
}

// TestHoldsThatFails: a registry that cannot be asked is not one that has lost something.
func TestHoldsThatFails(t *testing.T) {
	w := newWorld(t)
	m := w.upTo(pratique.StageAttest, "e1", "1.0")
	w.mustHandle(m)
	w.forget()
	w.fail["holds app"] = pratique.Errorf(pratique.Unavailable, "read", "as told")
	err, _ := w.handle(m)
	isKind(t, err, pratique.Unavailable, w.fail["holds app"])
	w.never("fact", "sign", "attach", "enqueue")
}

// TestAttestWithoutEvidence: a message alone brings nothing to a verdict.
func TestAttestWithoutEvidence(t *testing.T) {
	const sentBack = pratique.Kind(-1)
	tests := []struct {
		name   string
		change func(w *world)
		want   pratique.Kind
	}{
		{"never resolved", func(w *world) { w.drop(pratique.FactResolved) }, pratique.Internal},
		{"never inspected", func(w *world) { w.drop(pratique.FactInspected) }, pratique.Internal},
		{"never scanned", func(w *world) { w.drop(pratique.FactScanned) }, pratique.Internal},
		{"scanned with another inventory", func(w *world) {
			f := w.newest(w.subject("app"), pratique.FactInspected)
			other := *pratique.As[pratique.Inspected](f)
			other.Inventory = w.digest("other")
			f.Body = &other
			w.facts = append(w.facts, f)
		}, pratique.Internal},
		{"no report", func(w *world) {
			delete(w.documents,
				pratique.As[pratique.Scanned](w.newest(w.subject("app"), pratique.FactScanned)).Report)
		}, sentBack},
		{"report is damaged", func(w *world) {
			w.documents[pratique.As[pratique.Scanned](w.newest(w.subject("app"),
				pratique.FactScanned)).Report] = []byte("{")
		}, sentBack},
		{"no SPDX", func(w *world) {
			delete(w.documents,
				pratique.As[pratique.Inspected](w.newest(w.subject("app"), pratique.FactInspected)).SPDX)
		}, sentBack},
		{"CycloneDX is something else", func(w *world) {
			w.documents[pratique.As[pratique.Inspected](w.newest(w.subject("app"),
				pratique.FactInspected)).CycloneDX] = []byte("{}")
		}, pratique.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.upTo(pratique.StageAttest, "e1", "1.0")
			tt.change(w)
			err, _ := w.handle(m)
			if tt.want == sentBack {
				// What a fact names is gone: the inspect stage has to make it again.
				if err != nil || w.last().stage != pratique.StageInspect {
					t.Errorf("error %v, then %s", err, w.last().stage)
				}
			} else if isKind(t, err, tt.want, nil); len(w.queue) != 2 {
				t.Error("something was passed on")
			}
			if len(w.registry.held) != 0 {
				t.Error("something was attached")
			}
		})
	}
}

// TestNotImageIsNeverAttested: a message that should not exist.
func TestNotImageIsNeverAttested(t *testing.T) {
	w := newWorld(t)
	manifest := w.manifests[ref("1.0").String()]
	manifest.NotImage = "it is a chart"
	w.manifests[ref("1.0").String()] = manifest
	w.mustHandle(w.publish(w.event("e1", "1.0")))
	m := message{stage: pratique.StageAttest,
		body: w.encode(pipeline.Work{Event: w.event("e2", "1.0"), Subject: w.subject("app")})}
	err, _ := w.handle(m)
	isKind(t, err, pratique.Internal, nil)
	if len(w.registry.held) != 0 {
		t.Error("it was attested")
	}
}
