package pipeline_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
)

// TestDenialsAreTriedAgain: while work goes on it is not in the way, then it asks, the more seldom
// the longer it takes, and an index is asked for once, however many of its platforms are denied.
func TestDenialsAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	index := w.subject("index")
	push := w.event("e1", "2.0")
	pending := []pratique.PendingDenial{
		{Subject: w.subject("arm"), Since: w.now, Pushed: index, Push: push, Idle: false},
		{Subject: index, Since: w.now, Pushed: index, Push: push, Idle: false},
	}
	d := &attesting.Denials{
		Now: func() time.Time { return w.now }, Batches: queue{w}, Log: slog.New(slog.DiscardHandler),
		Pending: func(pratique.Subject, int) ([]pratique.PendingDenial, pratique.Subject, error) {
			return pending, pratique.Subject{}, nil
		},
	}
	look := func(after time.Duration) int {
		t.Helper()
		w.now = w.now.Add(after)
		before := len(w.queue)
		if err := d.Retry(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(w.queue) - before
	}
	if n := look(time.Hour); n != 0 {
		t.Errorf("%d jobs beside the work that goes on", n)
	}
	pending[0].Idle, pending[1].Idle = true, true
	if n := look(0); n != 1 {
		t.Fatalf("%d jobs, want one for the index", n)
	}
	var job pipeline.Work
	if err := json.Unmarshal(w.last().body, &job); err != nil {
		t.Fatal(err)
	}
	if w.last().stage != pratique.StageAttest || job.Subject != index ||
		job.Event.Ref.Tag != "2.0" || job.Event.Priority != pratique.PriorityRescan ||
		!job.Event.OccurredAt.Equal(push.ReceivedAt) {
		t.Errorf("job %+v", job)
	}
	asked := 0
	for range 48 {
		asked += look(30 * time.Minute)
	}
	if asked < 4 || asked > 20 {
		t.Errorf("%d attempts in a day", asked)
	}
	pending = nil
	if n := look(time.Hour); n != 0 {
		t.Errorf("%d jobs for nothing", n)
	}
}

// TestContradictedIndex is evaluated again at once, and not over and over.
func TestContradictedIndex(t *testing.T) {
	w := newWorld(t)
	index := w.subject("index")
	d := &attesting.Denials{
		Now: func() time.Time { return w.now }, Batches: queue{w}, Log: slog.New(slog.DiscardHandler),
		Pending: func(pratique.Subject, int) ([]pratique.PendingDenial, pratique.Subject, error) {
			return []pratique.PendingDenial{{
				Subject: index, Since: w.now, Contradicted: true, Pushed: index,
				Push: w.event("e1", "2.0"), Idle: true,
			}}, pratique.Subject{}, nil
		},
	}
	for range 3 {
		if err := d.Retry(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.queue); n != 1 {
		t.Errorf("%d jobs, want one", n)
	}
}

// TestManyDenials: those at the front, which are not due, keep none behind them from being tried
// again.
func TestManyDenials(t *testing.T) {
	w := newWorld(t)
	push := w.event("e1", "2.0")
	var all []pratique.PendingDenial
	for i := range 1200 {
		s := w.subject(fmt.Sprint("app ", i))
		all = append(all, pratique.PendingDenial{Subject: s, Since: w.now, Pushed: s, Push: push,
			Idle: i > 1100})
	}
	d := &attesting.Denials{Now: func() time.Time {
		return w.now
	}, Batches: queue{w}, Log: slog.New(slog.DiscardHandler)}
	d.Pending = func(after pratique.Subject, limit int) ([]pratique.PendingDenial,
		pratique.Subject, error) {
		from := 1 + slices.IndexFunc(all, func(p pratique.PendingDenial) bool {
			return p.Subject == after
		})
		to := min(from+limit, len(all))
		if to == len(all) {
			return all[from:], pratique.Subject{}, nil
		}
		return all[from:to], all[to-1].Subject, nil
	}
	w.now = w.now.Add(time.Hour)
	for range 6 { // twice around
		if err := d.Retry(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.queue); n != 99 {
		t.Errorf("%d jobs, want one for each that is idle", n)
	}
}
