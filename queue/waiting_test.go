package queue_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// What makes a stage possible brings back those who wait for it, whatever the pause that they were
// given.
func TestWakeBringsWaitingJobsBack(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Hour, MaxDelay: time.Hour})
	publish(t, b, pratique.PriorityPush, "database-1", "database-2")
	publish(t, b, pratique.PriorityRescan, "registry")
	var there atomic.Bool
	failed, done := make(chan string, 10), make(chan string, 10)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error {
			if !there.Load() {
				return errAway
			}
			if job.Attempt != 2 {
				t.Errorf("attempt %d at %s", job.Attempt, job.ID)
			}
			done <- job.ID
			return nil
		},
		Failed: func(_ context.Context, job queue.Job, _ error, _ bool) error {
			failed <- job.ID
			return nil
		},
	})
	for range 3 {
		receive(t, failed)
	}
	database := func(job queue.Job) bool { return strings.HasPrefix(job.ID, "database") }
	eventually(t, "all wait, and it is known for how long", func() bool {
		known := 0
		for q, err := range b.Jobs(t.Context()) {
			if err == nil && q.Due.After(time.Now().Add(20*time.Minute)) {
				known++
			}
		}
		return known == 3
	})
	if next, last := b.Due(pratique.StageInspect, database); last.Before(next) ||
		next.Before(time.Now().Add(20*time.Minute)) {
		t.Errorf("the next attempt is at %s", next)
	}
	if next, _ := b.Due(pratique.StageDeploy, database); !next.IsZero() {
		t.Errorf("no job of that stage waits, and the next attempt is at %s", next)
	}
	there.Store(true)
	b.Wake(pratique.StageDeploy, nil)
	b.Wake(pratique.StageInspect, database)
	for range 2 {
		if id := receive(t, done); !strings.HasPrefix(id, "database") {
			t.Errorf("%s was woken", id)
		}
	}
	eventually(t, "one is left", func() bool { return left(t, b) == 1 })
	b.Wake(pratique.StageInspect, nil)
	if id := receive(t, done); id != "registry" {
		t.Errorf("%s was woken", id)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}

// Who looked before what it waits for was there, and gives up after, must not sleep through it.
func TestWakeIsNotMissedByARunningJob(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Hour, MaxDelay: time.Hour})
	publish(t, b, pratique.PriorityPush, "one")
	looked, woken, done := make(chan bool), make(chan bool), make(chan bool)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error {
			if job.Attempt == 1 {
				looked <- true
				<-woken
				return errAway
			}
			done <- true
			return nil
		},
		Failed: func(context.Context, queue.Job, error, bool) error { return nil },
	})
	receive(t, looked)
	b.Wake(pratique.StageInspect, nil)
	woken <- true
	receive(t, done)
}

// A job that is held back, and was not started, is woken as well, and is asked for again before it
// starts.
func TestWakeOfAHeldJob(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityPush, "held")
	var free atomic.Bool
	held, done := make(chan bool, 10), make(chan int, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Hold: func(queue.Job) time.Duration {
			if free.Load() {
				return 0
			}
			held <- true
			return time.Hour
		},
		Handle: func(_ context.Context, job queue.Job) error { done <- job.Attempt; return nil },
		Failed: neverFails(t),
	})
	due := func() time.Time {
		first, _ := b.Due(pratique.StageInspect, func(queue.Job) bool { return true })
		return first
	}
	receive(t, held)
	eventually(t, "it waits", func() bool { return !due().IsZero() })
	b.Wake(pratique.StageInspect, nil)
	receive(t, held)
	eventually(t, "it waits again", func() bool { return time.Until(due()) > time.Minute })
	free.Store(true)
	b.Wake(pratique.StageInspect, nil)
	if attempt := receive(t, done); attempt != 1 {
		t.Errorf("holding cost %d attempts", attempt-1)
	}
}
