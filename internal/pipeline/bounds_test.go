package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
)

// maxFact is the limit of the ledger.
const maxFact = 512 << 10

// checkFacts fails if a fact would not be taken by the ledger.
func (w *world) checkFacts() {
	w.t.Helper()
	for _, f := range w.facts {
		raw, err := json.Marshal(f)
		if err != nil || len(raw) > maxFact {
			w.t.Errorf("a fact %s of %d bytes, %v", f.Kind(), len(raw), err)
		}
	}
}

// TestManyLabels: a fact has an excerpt of them, the policy sees all.
func TestManyLabels(t *testing.T) {
	w := newWorld(t)
	w.labels = map[string]string{"approved": "yes"}
	for i := range 500 {
		w.labels[fmt.Sprintf("label-%03d", i)] = strings.Repeat("<", 500)
	}
	seen := 0
	w.evaluated = func(e attesting.Evidence) { seen = len(e.Inspected.Image.Labels) }
	w.push("e1", "1.0")
	w.checkFacts()
	kept := pratique.As[pratique.Inspected](w.newest(w.subject("app"), pratique.FactInspected)).Image
	if len(kept.Labels) == 0 || len(kept.Labels) > 50 || kept.AllLabels.IsZero() ||
		kept.Labels["approved"] != "yes" {
		t.Errorf("%d labels, document %s", len(kept.Labels), kept.AllLabels)
	}
	if seen != 501 {
		t.Errorf("the policy saw %d labels", seen)
	}
	// Usual ones stay where they are.
	few := newWorld(t)
	few.labels = map[string]string{"a": "b"}
	few.push("e1", "1.0")
	if kept := pratique.As[pratique.Inspected](few.newest(few.subject("app"),
		pratique.FactInspected)).Image; kept.Labels["a"] != "b" || !kept.AllLabels.IsZero() {
		t.Errorf("labels %v, document %s", kept.Labels, kept.AllLabels)
	}
}

// TestLongTexts: whatever a registry, a config repository or a stage says, its facts stay small.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("<x>", 1<<20)
	w := newWorld(t)
	out := committed(production)
	w.targets[production] = out
	for i := range 5000 {
		out.Commit.Files = append(out.Commit.Files,
			pratique.FileChange{Path: fmt.Sprint(i, ".yaml"), Old: long[:2000], New: "b"})
	}
	w.push("e1", "1.0")
	deployed := pratique.As[pratique.Commit](w.newest(w.subject("app"), pratique.FactDeployed))
	if len(deployed.Files) != 100 || deployed.MoreFiles != 4900 {
		t.Errorf("%d files and %d more", len(deployed.Files), deployed.MoreFiles)
	}
	m := w.publish(w.event("e2", "1.0"))
	if err := w.inspect().RecordFailure(t.Context(), pipeline.Failure{Stage: m.stage, Body: m.body,
		Attempt: 1, Cause: pratique.Errorf(pratique.Corrupt, "read", "%s", long),
		Final: true}); err != nil {
		t.Fatal(err)
	}
	if err := func() error {
		b := w.recorder(pratique.RoleOperate)
		return b.Cancel(t.Context(), w.event("e3", "1.0"), w.subject("app"), "somebody", long)
	}(); err != nil {
		t.Fatal(err)
	}
	w.checkFacts()
}

// TestDocumentHasAllReasons: the fact and the summary carry what the policy chose, the document
// everything.
func TestDocumentHasAllReasons(t *testing.T) {
	w := newWorld(t)
	w.bad["app"] = true
	w.mood = func(d *pratique.Decision) {
		d.AllReasons = append(d.AllReasons, d.Reasons...)
		for i := range 500 {
			d.AllReasons = append(d.AllReasons, pratique.Reason{Rule: "severity",
				Message: fmt.Sprint("another ", i)})
		}
		d.Reasons = append(d.Reasons, pratique.Reason{Rule: "more", Message: "and 500 more"})
	}
	w.push("e1", "1.0")
	evaluated := pratique.As[pratique.Evaluated](w.newest(w.subject("app"), pratique.FactEvaluated))
	var whole pratique.Verdict
	w.document(evaluated.Digest, &whole)
	if len(evaluated.Verdict.Reasons) != 2 || len(whole.Reasons) != 501 {
		t.Errorf("%d reasons in the fact, %d in the document", len(evaluated.Verdict.Reasons),
			len(whole.Reasons))
	}
	// The same verdict again is the same.
	w.push("e2", "1.0")
	if again := pratique.As[pratique.Evaluated](w.newest(w.subject("app"),
		pratique.FactEvaluated)); again.Digest != evaluated.Digest {
		t.Error("the same verdict was recorded twice")
	}
}
