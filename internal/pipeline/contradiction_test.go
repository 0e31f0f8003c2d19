package pipeline_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pratique-dev/pratique"
)

// TestImageDeniedBesideItsIndex: while an index is evaluated and signed, one of its images gets a
// worse report and is evaluated by itself. That waits, and so has the last word: the image keeps no
// signature that its older report brought it.
func TestImageDeniedBesideItsIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.image("1.0", "arm")
		w.push("e1", "1.0")
		w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
		index := w.upTo(pratique.StageAttest, "e2", "2.0")
		stage := w.attest()
		ended := make(chan error, 1)
		w.after = map[string]func(){"evaluate arm": func() { // the index's worker has its report by now
			w.bad["arm"] = true
			w.useDatabase("database 2")
			own := w.upTo(pratique.StageAttest, "e3", "1.0")
			go func() { ended <- stage.Handle(t.Context(), own.body) }()
			synctest.Wait()
		}}
		if err := stage.Handle(t.Context(), index.body); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if _, signed := w.registry.held[w.subject("arm")][""]; signed {
			t.Error("the denied image is signed")
		}
		w.never("sign index")
		done := w.effects()
		slices.Reverse(done)
		if slices.Index(done, "evaluate arm") > slices.Index(done, "attach index") {
			t.Errorf("the image was evaluated before its index was attested: %q", w.effects())
		}
	})
}

// TestNewerReportWhileEvaluated: nothing is signed from a report that was replaced while it was
// evaluated.
func TestNewerReportWhileEvaluated(t *testing.T) {
	w := newWorld(t)
	w.image("1.0", "arm")
	w.push("e1", "1.0")
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	index := w.upTo(pratique.StageAttest, "e2", "2.0")
	w.after = map[string]func(){"evaluate arm": func() {
		w.bad["arm"] = true
		w.useDatabase("database 2")
		w.upTo(pratique.StageAttest, "e3", "1.0")
	}}
	w.forget()
	w.mustHandle(index)
	if end := pratique.As[pratique.Completed](w.newest(w.subject("index"),
		pratique.FactCompleted)); end.State != pratique.StateDenied {
		t.Errorf("it ended as %s", end.State)
	}
	w.never("sign index", "sign arm")
}

// TestIndexWhoseImageWasDenied: nothing is committed of an index that is allowed when one of its
// images is denied. It is evaluated again.
func TestIndexWhoseImageWasDenied(t *testing.T) {
	w := newWorld(t)
	w.image("2.0", "index", "linux/amd64 amd", "linux/arm64 arm")
	m := w.upTo(pratique.StageDeploy, "e1", "2.0")
	w.image("1.0", "arm")
	w.bad["arm"] = true
	w.useDatabase("database 2")
	w.push("e2", "1.0")
	w.forget()
	w.mustHandle(m)
	if back := w.last(); back.stage != pratique.StageAttest {
		t.Fatalf("it went on to %s", back.stage)
	}
	w.mustHandle(w.last())
	if end := pratique.As[pratique.Completed](w.newest(w.subject("index"),
		pratique.FactCompleted)); end.State != pratique.StateDenied {
		t.Errorf("it ended as %s", end.State)
	}
	w.never("commit")
	w.inOrder("withdraw index", "fact completed index")
}
