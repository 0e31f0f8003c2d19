package pipeline_test

import (
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// end is how the event ended by the rule that the first end in the ledger counts, unless a commit
// was written after a cancellation.
func end(w *world, event string) (state pratique.State, by string) {
	for _, f := range w.facts {
		if pratique.As[pratique.Completed](f) == nil || f.Event != event {
			continue
		}
		if state == "" || state == pratique.StateCanceled &&
			pratique.As[pratique.Completed](f).State == pratique.StateDeployed {
			state, by = pratique.As[pratique.Completed](f).State, pratique.As[pratique.Completed](f).By
		}
	}
	return state, by
}

// TestCancelBeforeAStage: the message leaves the queue when its turn comes, and nothing is done for
// it.
func TestCancelBeforeAStage(t *testing.T) {
	for stage, subject := range map[string]bool{pratique.StageInspect: false,
		pratique.StageAttest: true, pratique.StageDeploy: true} {
		w := newWorld(t)
		m := w.upTo(stage, "e1", "1.0")
		s := pratique.Subject{}
		want := []string{"received ", "completed "}
		if subject {
			s, want = w.subject("app"), []string{"completed ", "completed app"}
		}
		recorded := len(w.facts)
		operator := w.recorder(pratique.RoleOperate)
		if err := operator.Cancel(t.Context(), w.event("e1", "1.0"), s, "alice",
			"wrong tag"); err != nil {
			t.Fatal(err)
		}
		same(t, stage, want, w.recorded()[recorded:])
		queued := len(w.queue)
		w.forget()
		w.mustHandle(m)
		w.mustHandle(m)
		if done := w.effects(); len(done) > 0 || len(w.queue) != queued {
			t.Errorf("%s: after the cancellation %q was done", stage, done)
		}
		if state, by := end(w, "e1"); state != pratique.StateCanceled || by != "alice" {
			t.Errorf("%s: ended as %q by %q", stage, state, by)
		}
		if f := w.facts[len(w.facts)-1]; pratique.As[pratique.Completed](f).Detail != "canceled by alice: wrong tag" || f.By != "operate@host" {
			t.Errorf("%s: %+v", stage, f)
		}
	}
}

// TestCancelAtEveryEdge cancels at each point of a push that goes well, with and without knowing
// the subject, and with the process dying there, too. The event ends once: as canceled with no
// commit, or as deployed with one.
func TestCancelAtEveryEdge(t *testing.T) {
	reference := newWorld(t)
	reference.push("e1", "1.0")
	points := reference.passed()
	ends := map[pratique.State]int{}
	for i := range points {
		for _, known := range []bool{true, false} {
			for _, dies := range []bool{false, true} {
				w := newWorld(t)
				seen, canceled := 0, 0
				operator := w.recorder(pratique.RoleOperate)
				operator.Edge = nil
				w.at = func(point string) {
					if seen++; seen != i+1 {
						return
					}
					if point != points[i] {
						t.Fatalf("edge %d is %s, want %s", i, point, points[i])
					}
					s := pratique.Subject{}
					if known {
						s = w.subject("app")
					}
					if err := operator.Cancel(t.Context(), w.event("e1", "1.0"), s, "alice",
						""); err != nil {
						t.Fatal(err)
					}
					canceled = len(w.facts)
					if dies {
						panic(died(point))
					}
				}
				w.publish(w.event("e1", "1.0"))
				for n := 0; n < len(w.queue); n++ {
					for alive := false; !alive; {
						var err error
						if err, alive = w.handle(w.queue[n]); err != nil {
							t.Fatalf("%s: %v", points[i], err)
						}
					}
				}
				state, _ := end(w, "e1")
				ends[state]++
				if canceled == 0 {
					t.Fatalf("%s: never canceled", points[i])
				}
				committing := slices.Contains([]string{"deploy:before-commit",
					"deploy:after-commit", "deploy:before-deployed", "deploy:after-deployed",
					"deploy:before-answered", "deploy:after-answered", "deploy:before-completed",
					"deploy:after-completed"}, points[i])
				switch {
				case state == pratique.StateDeployed &&
					len(w.changes) == 0, state == pratique.StateCanceled && len(w.changes) > 0 && !dies:
					t.Errorf("%s: ended as %s with %d commits", points[i], state, len(w.changes))
				case state != pratique.StateDeployed && state != pratique.StateCanceled:
					t.Errorf("%s: ended as %q", points[i], state)
				case !committing && len(w.changes) > 0:
					t.Errorf("%s: a commit after the cancellation", points[i])
				}
				if last, ok := w.lookUp(w.subject("app"), pratique.FactCompleted); !known &&
					i > 1 && (!ok || last.Event != "e1") && state == pratique.StateCanceled && !dies {
					t.Errorf("%s: the image has no end on record", points[i])
				}
			}
		}
	}
	if ends[pratique.StateCanceled] == 0 || ends[pratique.StateDeployed] == 0 {
		t.Errorf("ends %v", ends)
	}
}

func TestRequeue(t *testing.T) {
	w := newWorld(t)
	intake := &pipeline.Intake{Recorder: w.recorder(pratique.RoleQuery), Batches: queue{w}}
	old := w.event("e1", "1.0")
	old.OccurredAt, old.RefreshOnly, old.AllowOlder = w.now.Add(-1), true, true
	first, err := intake.Requeue(t.Context(), old, "alice")
	if err != nil {
		t.Fatal(err)
	}
	again, err := intake.Requeue(t.Context(), old, "alice")
	if err != nil || again != first || len(w.queue) != 1 {
		t.Errorf("twice: %+v and %+v, %d messages, %v", first, again, len(w.queue), err)
	}
	want := old
	want.ID, want.Requeues, want.Priority, want.RequeuedBy = first.ID, "e1",
		pratique.PriorityManual, "alice"
	if first != want || first.ID == old.ID {
		t.Errorf("%+v, want %+v", first, want)
	}
	next, err := intake.Requeue(t.Context(), first, "alice")
	if err != nil || next.ID == first.ID || next.Requeues != first.ID {
		t.Errorf("requeued anew: %+v, %v", next, err)
	}
}
