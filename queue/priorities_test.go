package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// many are ids of jobs.
func many(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint(prefix, i)
	}
	return ids
}

// busy counts the jobs of each priority that run at once.
type busy struct {
	mu        sync.Mutex
	now, most map[pratique.Priority]int
}

func newBusy() *busy {
	return &busy{now: map[pratique.Priority]int{}, most: map[pratique.Priority]int{}}
}

func (b *busy) enter(priority pratique.Priority) (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now[priority]++
	b.most[priority] = max(b.most[priority], b.now[priority])
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now[priority]--
	}
}

func (b *busy) running(priority pratique.Priority) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now[priority]
}

// TestFloodLeavesWorkersToPushes: rescans and submissions that never end must not keep a push
// waiting, and a drain in the midst of it loses nothing.
func TestFloodLeavesWorkersToPushes(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityRescan, many("r", 50)...)
	publish(t, b, pratique.PriorityManual, many("m", 50)...)
	priorities, hold, pushed := newBusy(), make(chan struct{}), make(chan string)
	var started atomic.Int64
	stop := run(t, b, queue.Work{Stage: pratique.StageInspect, Workers: 4, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			started.Add(1)
			defer priorities.enter(job.Priority)()
			if job.Priority == pratique.PriorityPush {
				pushed <- job.ID
				return nil
			}
			<-hold
			return nil
		}})
	// Submissions alone take all workers but one.
	eventually(t, "three submissions run", func() bool {
		return priorities.running(pratique.PriorityManual) == 3
	})
	eventually(t, "a rescan runs", func() bool {
		return priorities.running(pratique.PriorityRescan) == 1
	})
	// All four workers are busy, so the next that becomes free is the push's.
	publish(t, b, pratique.PriorityPush, "p0")
	hold <- struct{}{}
	if got := receive(t, pushed); got != "p0" {
		t.Errorf("%s was pushed", got)
	}
	for i := range 20 {
		publish(t, b, pratique.PriorityPush, fmt.Sprint("q", i))
		select {
		case hold <- struct{}{}: // or the worker that the last push left takes it
			receive(t, pushed)
		case <-pushed:
		}
	}
	priorities.mu.Lock()
	if priorities.most[pratique.PriorityManual] > 3 || priorities.most[pratique.PriorityRescan] > 2 {
		t.Errorf("too many at once: %v", priorities.most)
	}
	priorities.mu.Unlock()
	time.AfterFunc(100*time.Millisecond, func() { close(hold) })
	stop()
	if done, after := started.Load(), left(t, b); done+int64(after) != 121 {
		t.Errorf("%d were done and %d are left of 121", done, after)
	}
}

// TestRescansAloneTakeHalf: also when nothing else wants the workers, so that the next push finds
// one at once.
func TestRescansAloneTakeHalf(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityRescan, many("r", 30)...)
	priorities, hold, pushed := newBusy(), make(chan struct{}), make(chan string, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageAttest, Handle: func(context.Context, queue.Job) error {
			return nil
		}, Failed: neverFails(t),
	}, queue.Work{Stage: pratique.StageInspect, Workers: 5, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			defer priorities.enter(job.Priority)()
			if job.Priority == pratique.PriorityPush {
				pushed <- job.ID
				return nil
			}
			<-hold
			return nil
		}})
	eventually(t, "two rescans run", func() bool {
		return priorities.running(pratique.PriorityRescan) == 2
	})
	for i := range 10 {
		publish(t, b, pratique.PriorityPush, fmt.Sprint("p", i))
		receive(t, pushed) // although no rescan ends
	}
	close(hold)
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
	if most := priorities.most[pratique.PriorityRescan]; most != 2 {
		t.Errorf("%d rescans ran at once, want 2 of 5", most)
	}
}

// TestNoPriorityWaitsForEver: the push priority is never empty.
func TestNoPriorityWaitsForEver(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityPush, many("p", 60)...)
	publish(t, b, pratique.PriorityManual, "m")
	publish(t, b, pratique.PriorityRescan, "r")
	order := make(chan string, 100)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			order <- job.ID
			return nil
		}})
	at := map[string]int{}
	for i := range 62 {
		at[receive(t, order)] = i
	}
	if at["m"] != 15 || at["r"] != 31 {
		t.Errorf("manual came at place %d and rescan at %d, want 15 and 31", at["m"], at["r"])
	}
}

// told is an error of somebody who says when to come again.
type told struct{ wait time.Duration }

func (told) Error() string               { return "not now" }
func (t told) RetryAfter() time.Duration { return t.wait }
func limited(wait time.Duration) error {
	return pratique.Wrap(pratique.RateLimited, "ask", "", told{wait})
}

// TestJobsThatWaitBlockNobody: the jobs of a registry that asked for patience are in the same
// priority as others.
func TestJobsThatWaitBlockNobody(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	consumer, err := js.Consumer(t.Context(), "EVENTS", string(pratique.PriorityPush))
	if err != nil {
		t.Fatal(err)
	}
	if n := consumer.CachedInfo().Config.MaxAckPending; n != -1 {
		t.Errorf("at most %d jobs may wait, then the priority stands still", n)
	}
	publish(t, b, pratique.PriorityPush, many("limited", 100)...)
	publish(t, b, pratique.PriorityPush, "free")
	var waits atomic.Int32
	done := make(chan string, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Workers: 2, Failed: func(context.Context, queue.Job, error,
			bool) error {
			return nil
		},
		Handle: func(_ context.Context, job queue.Job) error {
			if strings.HasPrefix(job.ID, "limited") {
				waits.Add(1)
				return limited(time.Hour)
			}
			done <- job.ID
			return nil
		},
	})
	receive(t, done)
	eventually(t, "all were tried once", func() bool { return waits.Load() == 100 })
	eventually(t, "they are all that is left, and have an age", func() bool {
		pending, err := b.Pending(t.Context())
		// Those that wait for another attempt are waiting, and not running.
		return err == nil && pending[0].Total == 100 && pending[0].Waiting == 100 &&
			!pending[0].Oldest.IsZero()
	})
}

// TestJobComesBackWhenTold, neither before nor at the queue's own guess, which is eight seconds
// here.
func TestJobComesBackWhenTold(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MinDelay: time.Second})
	publish(t, b, pratique.PriorityPush, "j")
	starts := make(chan time.Time, 10)
	const wait = 300 * time.Millisecond
	var runs atomic.Int32
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Failed: func(context.Context, queue.Job, error, bool) error {
			return nil
		},
		Handle: func(context.Context, queue.Job) error {
			starts <- time.Now()
			if runs.Add(1) == 1 {
				return limited(wait)
			}
			return nil
		},
	})
	first := receive(t, starts)
	if waited := receive(t, starts).Sub(first); waited < wait {
		t.Errorf("it came back after %s, it was told %s", waited, wait)
	}
}

func TestJobs(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityRescan, "r")
	publish(t, b, pratique.PriorityPush, "waits", "p")
	hold, started := make(chan struct{}), make(chan string, 10)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Failed: func(context.Context, queue.Job, error, bool) error {
			return nil
		},
		Handle: func(_ context.Context, job queue.Job) error {
			started <- job.ID
			if job.ID == "waits" {
				return limited(time.Hour)
			}
			<-hold
			return nil
		},
	})
	receive(t, started)
	receive(t, started)
	type line struct {
		id       string
		priority pratique.Priority
		running  bool
		attempts int
	}
	var got []line
	for q, err := range b.Jobs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		attempts, err := b.Attempts(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if string(q.Body) != q.ID || time.Since(q.EnqueuedAt) > time.Minute {
			t.Errorf("odd job %+v", q)
		}
		got = append(got, line{q.ID, q.Priority, q.Running, attempts})
	}
	for q, err := range b.Running() {
		if err != nil || !q.Running || q.ID != "p" || q.Attempt != 1 {
			t.Errorf("running is %+v, %v", q, err)
		}
	}
	want := []line{{"waits", pratique.PriorityPush, false, 1}, {"p", pratique.PriorityPush, true,
		1}, {"r", pratique.PriorityRescan, false, 0}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	close(hold)
}

// TestHeldJobs stay in the queue without being started, and nobody waits behind them.
func TestHeldJobs(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityPush, many("held", 50)...)
	publish(t, b, pratique.PriorityPush, "free")
	var paused atomic.Bool
	paused.Store(true)
	done, held := make(chan queue.Job, 100), make(chan string, 10_000)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Failed: neverFails(t),
		Hold: func(job queue.Job) time.Duration {
			if paused.Load() && strings.HasPrefix(job.ID, "held") {
				held <- job.ID
				return 100 * time.Millisecond
			}
			return 0
		},
		Handle: func(_ context.Context, job queue.Job) error { done <- job; return nil },
	})
	if job := receive(t, done); job.ID != "free" {
		t.Errorf("%s was started", job.ID)
	}
	for range 100 { // each comes, and is held, about twice
		receive(t, held)
	}
	if len(done) > 0 {
		t.Error("a held job was started")
	}
	paused.Store(false)
	for range 50 {
		if job := receive(t, done); job.Attempt != 1 {
			t.Errorf("attempt %d: being held is no start", job.Attempt)
		}
	}
}

// TestOldJobsAreNotHeld: whatever they wait for, they have to end.
func TestOldJobsAreNotHeld(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAge: time.Hour, Now: func() time.Time {
		return time.Now().Add(2 * time.Hour)
	}})
	publish(t, b, pratique.PriorityPush, "old")
	done := make(chan string, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Failed: neverFails(t), Hold: func(queue.Job) time.Duration {
			return time.Hour
		},
		Handle: func(_ context.Context, job queue.Job) error { done <- job.ID; return nil },
	})
	receive(t, done)
}

// TestInterrupt: the handler is told to stop, the job comes back at once, and the start does not
// count.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 1, MinDelay: time.Hour})
	publish(t, b, pratique.PriorityPush, "j", "other")
	started, done := make(chan string, 10), make(chan int, 2)
	hold := make(chan struct{})
	var canceled atomic.Bool
	run(t, b, queue.Work{Stage: pratique.StageInspect, Workers: 2, Failed: neverFails(t),
		Handle: func(ctx context.Context, job queue.Job) error {
			if canceled.Load() && job.ID == "j" {
				done <- job.Attempt
				return nil
			}
			started <- job.ID
			select {
			case <-ctx.Done():
				// whatever it makes of that
				return pratique.Wrap(pratique.Corrupt, "parse", "", ctx.Err())
			case <-hold:
				return nil
			}
		}})
	receive(t, started)
	receive(t, started)
	canceled.Store(true)
	b.Interrupt(pratique.StageAttest, func(queue.Job) bool { return true }) // another stage
	b.Interrupt(pratique.StageInspect, func(job queue.Job) bool { return job.ID == "j" })
	if attempt := receive(t, done); attempt != 2 {
		t.Errorf("attempt %d", attempt)
	}
	if n := left(t, b); n < 1 {
		t.Error("the other job was interrupted, too")
	}
	close(hold)
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}
