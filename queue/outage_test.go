package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

var errAway = pratique.Errorf(pratique.Unavailable, "fetch", "no route")

// An outage that is longer than MaxAttempts attempts must not cost the job, and must not use up
// what it has for failures of another kind.
func TestOutageCostsNoAttempts(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 3, MinDelay: time.Millisecond,
		MaxDelay: 2 * time.Millisecond})
	publish(t, b, pratique.PriorityPush, "patient")
	const outage = 12
	type failure struct {
		attempt int
		final   bool
	}
	failures := make(chan failure, 100)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error {
			if job.Attempt == 2 || job.Attempt > outage {
				return errors.New("who knows")
			}
			return errAway
		},
		Failed: func(_ context.Context, job queue.Job, _ error, final bool) error {
			failures <- failure{job.Attempt, final}
			return nil
		},
	})
	// Three attempts failed for no known reason: the 2nd, and two after the outage.
	for i := 1; i <= outage+2; i++ {
		if got, want := receive(t, failures), (failure{i, i == outage+2}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

// Waiting for something else is bounded by the age of the job.
func TestOutageEndsByAge(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	_, b, _ := start(t, t.TempDir(), queue.Config{
		MaxAttempts: 3, MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond,
		MaxAge: time.Hour, Now: clock,
	})
	publish(t, b, pratique.PriorityPush, "patient")
	finals, runs := make(chan error, 10), make(chan int, 10_000)
	var lost atomic.Bool
	run(t, b, queue.Work{
		Stage:  pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error { runs <- job.Attempt; return errAway },
		Failed: func(_ context.Context, _ queue.Job, err error, final bool) error {
			if final && !lost.Swap(true) {
				return errors.New("ledger is away")
			}
			if final {
				finals <- err
			}
			return nil
		},
	})
	for range 10 {
		receive(t, runs)
	}
	if len(finals) > 0 {
		t.Fatal("given up before it was old")
	}
	ahead.Store(int64(time.Hour))
	if err := receive(t, finals); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("recorded %v, want what it waited for", err)
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
	if len(finals) > 0 {
		t.Error("recorded as final twice")
	}
}

// A job whose worker is told to stop every time has not failed once.
func TestDrainsCostNoAttempts(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{Grace: time.Millisecond, MaxAttempts: 2})
	publish(t, b, pratique.PriorityPush, "long")
	attempts := make(chan int)
	for want := 1; want <= 4; want++ {
		stop := run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
			Handle: func(ctx context.Context, job queue.Job) error {
				attempts <- job.Attempt
				<-ctx.Done()
				return ctx.Err()
			}})
		if got := receive(t, attempts); got != want {
			t.Errorf("attempt %d, want %d", got, want)
		}
		stop()
	}
}

// However many jobs of a priority wait for a registry that is down, the next one is done.
func TestWaitingJobsDoNotFillThePriority(t *testing.T) {
	t.Parallel()
	const waiting = 1010 // JetStream's own default is 1000
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	conn, err := e.Conn()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	b := queue.New(js, queue.Config{MinDelay: time.Hour, MaxDelay: time.Hour})
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range waiting {
		publish(t, b, pratique.PriorityPush, fmt.Sprint("w", i))
	}
	publish(t, b, pratique.PriorityPush, "fine")
	done := make(chan string, 1)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect, Workers: 8,
		Handle: func(_ context.Context, job queue.Job) error {
			if job.ID != "fine" {
				return errAway
			}
			done <- job.ID
			return nil
		},
		Failed: func(context.Context, queue.Job, error, bool) error { return nil },
	})
	receive(t, done)
}

// The counts must be there for as long as the job may be tried.
func TestCountsOutliveTheJob(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{0, time.Hour, 100 * time.Hour} {
		_, _, js := start(t, t.TempDir(), queue.Config{MaxAge: age})
		s, err := js.Stream(t.Context(), "ATTEMPTS")
		if err != nil {
			t.Fatal(err)
		}
		least := age
		if age == 0 {
			least = 24 * time.Hour
		}
		if kept := s.CachedInfo().Config.MaxAge; kept <= least {
			t.Errorf("counts are kept for %s, jobs for %s", kept, least)
		}
		c, err := js.Consumer(t.Context(), "EVENTS", "push")
		if err != nil {
			t.Fatal(err)
		}
		if most := c.CachedInfo().Config.MaxDeliver; most != -1 {
			t.Errorf("after %d deliveries the server forgets a message", most)
		}
	}
}
