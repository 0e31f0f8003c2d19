package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// attempt is what a handler or Failed saw.
type attempt struct {
	attempt, deaths int
	kind            pratique.Kind
	final           bool
}

func TestDeathsEndBeforeTheThirdStart(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Millisecond})
	publish(t, b, pratique.PriorityPush, "deadly")
	var runs atomic.Int32
	failures := make(chan attempt, 100)
	last := make(chan error, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxDeaths: 2,
		Handle: func(_ context.Context, job queue.Job) error {
			if n := int(runs.Add(1)); job.Deaths != n-1 {
				t.Errorf("start %d knows of %d deaths", n, job.Deaths)
			}
			return pratique.Errorf(pratique.Died, "run inspector", "it used too much memory: number %d %s", job.Attempt, strings.Repeat("é", 2000))
		},
		Failed: func(_ context.Context, job queue.Job, err error, final bool) error {
			failures <- attempt{job.Attempt, job.Deaths, pratique.KindOf(err), final}
			if final {
				last <- err
			}
			return nil
		},
	})
	for _, want := range []attempt{{1, 0, pratique.Died, false}, {2, 1, pratique.Died, false}, {2, 0, pratique.Died, true}} {
		if got := receive(t, failures); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if err := receive(t, last); !strings.Contains(err.Error(), "it used too much memory: number 2") || len(err.Error()) > 1200 {
		t.Errorf("the last word is %.300v", err)
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
	if runs.Load() != 2 {
		t.Errorf("%d runs", runs.Load())
	}
}

// What is no death does not count as one, and what waits counts as nothing.
func TestOtherFailuresAreNoDeaths(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Millisecond, MaxAttempts: 5})
	publish(t, b, pratique.PriorityPush, "odd")
	errs := []error{
		pratique.Errorf(pratique.Unavailable, "x", "away"), errors.New("a bug"), pratique.Errorf(pratique.Died, "x", "first death"),
		pratique.Errorf(pratique.Unavailable, "x", "away"), pratique.Errorf(pratique.Internal, "x", "a bug"), nil,
	}
	var runs atomic.Int32
	deaths := make(chan string, 100)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxDeaths: 2,
		Handle: func(_ context.Context, job queue.Job) error {
			deaths <- fmt.Sprint(job.Deaths)
			return errs[runs.Add(1)-1]
		},
		Failed: func(_ context.Context, _ queue.Job, err error, final bool) error {
			if final {
				t.Errorf("ended with %v", err)
			}
			return nil
		},
	})
	for i, want := range []string{"0", "0", "0", "1", "1", "1"} {
		if got := receive(t, deaths); got != want {
			t.Errorf("start %d knows of %s deaths, want %s", i+1, got, want)
		}
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

// TestDeathsOfTheWholeService kills the process once with a child's death on record, and once without a word.
func TestDeathsOfTheWholeService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, b, _ := start(t, dir, crashConfig)
	publish(t, b, pratique.PriorityPush, "deadly")
	e.Close()
	if lines := kill(t, "die-after-word", dir, func([]string) bool { return false }); strings.Join(lines, ", ") != "deadly 1, deadly 2" {
		t.Fatalf("before the kill: %q", lines)
	}
	_, b, _ = start(t, dir, crashConfig)
	last := make(chan error, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxDeaths: 2,
		Handle: func(_ context.Context, job queue.Job) error {
			t.Errorf("started again, attempt %d", job.Attempt)
			return nil
		},
		Failed: func(_ context.Context, _ queue.Job, err error, final bool) error {
			if !final {
				t.Errorf("not the end: %v", err)
			}
			last <- err
			return nil
		},
	})
	if err := receive(t, last); pratique.KindOf(err) != pratique.Died || !strings.Contains(err.Error(), "the child died") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}
