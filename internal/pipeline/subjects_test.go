package pipeline_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestOneInspectionForTwoTags: CI pushes a digest under two tags at once, and two workers get them.
// It is fetched, parsed and attested once, and both events end.
func TestOneInspectionForTwoTags(t *testing.T) {
	w := newWorld(t)
	w.image("latest", "app")
	first, second := w.publish(w.event("e1", "1.0")), w.publish(w.event("e2", "latest"))
	stage := w.inspect() // one stage, as all workers of a process have
	var beside sync.WaitGroup
	w.after = map[string]func(){"fetch app": func() {
		beside.Go(func() {
			if err := stage.Handle(t.Context(), second.body); err != nil {
				t.Error(err)
			}
		})
		for w.count("fact resolved app") < 2 { // then the other is at the image, too
			runtime.Gosched()
		}
	}}
	if err := stage.Handle(t.Context(), first.body); err != nil {
		t.Fatal(err)
	}
	beside.Wait()
	for _, line := range []string{"fetch app", "parse app", "match app", "fact inspected app",
		"fact scanned app"} {
		if n := w.count(line); n != 1 {
			t.Errorf("%q happened %d times", line, n)
		}
	}
	attest := w.attest()
	before := len(w.queue)
	next, err := pipeline.DecodeWork(w.queue[before-1].body)
	if err != nil {
		t.Fatal(err)
	}
	busy := func(want bool) {
		t.Helper()
		if wait := attest.Busy(next); (wait > 0) != want || wait > time.Minute {
			t.Errorf("a job for the same image waits in the queue for %s", wait)
		}
	}
	busy(false)
	w.after = map[string]func(){"evaluate app": func() {
		busy(true)
		beside.Go(func() {
			if err := attest.Handle(t.Context(), w.queue[before-1].body); err != nil {
				t.Error(err)
			}
		})
	}}
	if err := attest.Handle(t.Context(), w.queue[before-2].body); err != nil {
		t.Fatal(err)
	}
	beside.Wait()
	busy(false)
	if n := w.count("attach app"); n != 1 {
		t.Errorf("attached %d times", n)
	}
	if w.queue[before].stage != pratique.StageDeploy || len(w.queue) != before+2 {
		t.Errorf("%d messages for the gate", len(w.queue)-before)
	}
}
