package pipeline_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestDrop: one fact for a request says why, and which document has the body. Both are bounded.
func TestDrop(t *testing.T) {
	w := newWorld(t)
	intake := &pipeline.Intake{Recorder: w.recorder(pratique.RoleReceive), Dropped: documents{w}}
	drop := func(reasons []string, body []byte) {
		t.Helper()
		if err := intake.Drop(t.Context(), "team", reasons, body); err != nil {
			t.Fatal(err)
		}
	}
	drop(nil, []byte("body")) // nothing to record
	if len(w.facts) != 0 || len(w.documents) != 0 {
		t.Fatalf("%d facts, %d documents", len(w.facts), len(w.documents))
	}
	drop([]string{"digest: none", "tag: odd"}, []byte("body"))
	w.inOrder("fact failed ")
	f := w.facts[0]
	kept := pratique.DigestOf([]byte("body"))
	same(t, "failed", &pratique.Failed{Stage: "receive", Kind: pratique.Invalid, Attempts: 1,
		Final: true, Message: "digest: none; tag: odd; body " + kept.String()},
		pratique.As[pratique.Failed](f))
	if f.By != "receive@host" || f.Event == "" || !f.Subject.IsZero() || len(w.documents) != 1 {
		t.Errorf("%+v, %d documents", f, len(w.documents))
	}
	drop([]string{"digest: none", "tag: odd"}, []byte("body"))
	if again := w.facts[1]; again.Event != f.Event {
		t.Error("the same request again is another event")
	}

	var many []string
	for n := range 30 {
		many = append(many, fmt.Sprintf("reason: %d", n))
	}
	drop(many, bytes.Repeat([]byte("x"), 257<<10))
	message := pratique.As[pratique.Failed](w.facts[2]).Message
	if !strings.HasSuffix(message, "reason: 19; and 10 more; no body") || len(w.documents) != 1 {
		t.Errorf("%q, %d documents", message, len(w.documents))
	}

	w.fail["fact failed "] = pratique.Errorf(pratique.Unavailable, "append", "as told")
	isKind(t, intake.Drop(t.Context(), "team", many, nil), pratique.Unavailable,
		w.fail["fact failed "])
}
