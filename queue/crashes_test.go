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

// outcome is what Failed was called with.
type outcome struct {
	number, crashes int
	kind            pratique.Kind
	final           bool
}

func TestCrashesEndBeforeTheThirdAttempt(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Millisecond})
	publish(t, b, pratique.PriorityPush, "deadly")
	var runs atomic.Int32
	failures := make(chan outcome, 100)
	last := make(chan error, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxCrashes: 2,
		Handle: func(_ context.Context, job queue.Job) error {
			if n := int(runs.Add(1)); job.Crashes != n-1 {
				t.Errorf("attempt %d knows of %d crashes", n, job.Crashes)
			}
			return pratique.Errorf(pratique.Died, "run inspector",
				"it used too much memory: number %d %s", job.Attempt, strings.Repeat("é", 2000))
		},
		Failed: func(_ context.Context, job queue.Job, err error, final bool) error {
			failures <- outcome{job.Attempt, job.Crashes, pratique.KindOf(err), final}
			if final {
				last <- err
			}
			return nil
		},
	})
	for _, want := range []outcome{{1, 0, pratique.Died, false}, {2, 1, pratique.Died, false},
		{2, 0, pratique.Died, true}} {
		if got := receive(t, failures); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if err := receive(t, last); !strings.Contains(err.Error(),
		"it used too much memory: number 2") || len(err.Error()) > 1200 {
		t.Errorf("the last word is %.300v", err)
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
	if runs.Load() != 2 {
		t.Errorf("%d runs", runs.Load())
	}
}

// Other failures are no crashes, and waiting for something else is not counted.
func TestOtherFailuresAreNoCrashes(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Millisecond, MaxAttempts: 5})
	publish(t, b, pratique.PriorityPush, "odd")
	errs := []error{
		pratique.Errorf(pratique.Unavailable, "x", "away"), errors.New("a bug"),
		pratique.Errorf(pratique.Died, "x", "first crash"),
		pratique.Errorf(pratique.Unavailable, "x", "away"), pratique.Errorf(pratique.Internal, "x",
			"a bug"), nil,
	}
	var runs atomic.Int32
	crashes := make(chan string, 100)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxCrashes: 2,
		Handle: func(_ context.Context, job queue.Job) error {
			crashes <- fmt.Sprint(job.Crashes)
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
		if got := receive(t, crashes); got != want {
			t.Errorf("attempt %d knows of %s crashes, want %s", i+1, got, want)
		}
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

// TestCrashesOfTheService kills the process once with a child's crash on record, and once without.
func TestCrashesOfTheService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, b, _ := start(t, dir, crashConfig)
	publish(t, b, pratique.PriorityPush, "deadly")
	e.Close()
	if lines := kill(t, "die-after-word", dir, func([]string) bool {
		return false
	}); strings.Join(lines, ", ") != "deadly 1, deadly 2" {
		t.Fatalf("before the kill: %q", lines)
	}
	_, b, _ = start(t, dir, crashConfig)
	last := make(chan error, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, MaxCrashes: 2,
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
	if err := receive(t, last); pratique.KindOf(err) != pratique.Died ||
		!strings.Contains(err.Error(), "the child died") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}
