package queue_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/natsserver"
	"github.com/pratique-dev/pratique/queue"
)

func TestMostUrgentPriorityFirst(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityRescan, "r1", "r2", "r3")
	publish(t, b, pratique.PriorityManual, "m1", "m2")
	publish(t, b, pratique.PriorityPush, "p1", "p2")
	started, proceed := make(chan string), make(chan bool)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			if job.ID != string(job.Body) || job.Attempt != 1 || job.EnqueuedAt.IsZero() ||
				job.Stage != pratique.StageInspect {
				t.Errorf("odd job %+v", job)
			}
			started <- string(job.Priority) + " " + job.ID
			<-proceed
			return nil
		}})
	var got []string
	for i := range 8 {
		got = append(got, receive(t, started))
		if i == 4 { // arrives while rescan r1 is worked on, and must overtake r2 and r3
			publish(t, b, pratique.PriorityPush, "p3")
		}
		proceed <- true
	}
	want := []string{"push p1", "push p2", "manual m1", "manual m2", "rescan r1", "push p3",
		"rescan r2", "rescan r3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}

// TestIdleWorkersPoll: a poll waits in every priority, so that the next message is delivered
// without delay.
func TestIdleWorkersPoll(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	started := make(chan bool)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Workers: 2, Failed: neverFails(t),
		Handle: func(context.Context, queue.Job) error {
			started <- true
			return nil
		}})
	for i := range 20 {
		priority := pratique.Priorities()[i%3]
		eventually(t, "a poll is open in every priority", func() bool { return polls(t, js) == 3 })
		publish(t, b, priority, fmt.Sprint("job", i))
		receive(t, started)
	}
}

// polls returns how many polls of the inspect stage are open.
func polls(t testing.TB, js jetstream.JetStream) (n int) {
	t.Helper()
	for _, priority := range pratique.Priorities() {
		consumer, err := js.Consumer(t.Context(), queue.Topology()[0].Name, string(priority))
		if err != nil {
			t.Fatal(err)
		}
		n += consumer.CachedInfo().NumWaiting
	}
	return n
}

func TestUnknownFailureComesBackThenEnds(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 3, MinDelay: time.Millisecond})
	publish(t, b, pratique.PriorityPush, "poison")
	type failure struct {
		Attempt int
		Kind    pratique.Kind
		Final   bool
	}
	failures := make(chan failure, 100)
	var runs atomic.Int32
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(context.Context, queue.Job) error {
			if runs.Add(1) == 2 {
				panic("second attempt panics")
			}
			return errors.New("who knows")
		},
		Failed: func(_ context.Context, job queue.Job, err error, final bool) error {
			failures <- failure{job.Attempt, pratique.KindOf(err), final}
			return nil
		},
	})
	for _, want := range []failure{{1, pratique.Unknown, false}, {2, pratique.Internal, false},
		{3, pratique.Unknown, true}} {
		if got := receive(t, failures); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
	if len(failures) > 0 || runs.Load() != 3 {
		t.Errorf("%d runs, then another failure was recorded", runs.Load())
	}
}

func TestPermanentFailureEndsAtOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityPush, "bad")
	finals := make(chan bool, 10)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(context.Context, queue.Job) error {
			return pratique.Errorf(pratique.Corrupt, "read", "not the bytes")
		},
		Failed: func(_ context.Context, _ queue.Job, _ error, final bool) error {
			finals <- final
			return nil
		},
	})
	if !receive(t, finals) {
		t.Error("a corrupt image is tried again")
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

func TestFailureThatCannotBeRecordedIsNotLost(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 2, MinDelay: time.Millisecond})
	publish(t, b, pratique.PriorityPush, "j")
	recorded := make(chan int, 1)
	var runs, records atomic.Int32
	run(t, b, queue.Work{
		Stage:  pratique.StageInspect,
		Handle: func(context.Context, queue.Job) error { runs.Add(1); return errors.New("who knows") },
		Failed: func(_ context.Context, job queue.Job, _ error, final bool) error {
			if records.Add(1) < 6 {
				return errors.New("ledger is away")
			}
			recorded <- job.Attempt
			return nil
		},
	})
	if got := receive(t, recorded); got != 2 {
		t.Errorf("recorded with %d attempts, want 2", got)
	}
	if runs.Load() != 2 {
		t.Errorf("the handler ran %d times, want 2", runs.Load())
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

func TestHeartbeatOverAckWait(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{AckWait: time.Second})
	beats, err := js.Conn().SubscribeSync("$JS.ACK.EVENTS.push.>")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, pratique.PriorityPush, "slow")
	run(t, b, queue.Work{Stage: pratique.StageInspect, Workers: 2, Failed: neverFails(t),
		Handle: func(ctx context.Context, job queue.Job) error {
			if job.Attempt > 1 {
				t.Error("redelivered in spite of heartbeats")
			}
			for range 4 { // one comes every third of AckWait
				beat, err := beats.NextMsgWithContext(ctx)
				if err != nil {
					return err
				}
				if string(beat.Data) != "+WPI" {
					t.Errorf("answered %s while it runs", beat.Data)
				}
			}
			return nil
		}})
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}

func TestDrain(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{AckWait: 2 * time.Second})
	publish(t, b, pratique.PriorityPush, "running", "waiting")
	started, proceed := make(chan bool, 2), make(chan bool)
	drain, wait := runToDrain(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(ctx context.Context, _ queue.Job) error {
			started <- true
			<-proceed
			return ctx.Err() // must not be canceled within the grace period
		}})
	receive(t, started)
	drain()
	close(proceed)
	wait()
	if len(started) > 0 {
		t.Error("a job was started after the drain began")
	}
	if n := left(t, b); n != 1 {
		t.Errorf("%d messages left, want the waiting one", n)
	}
}

// TestStopBeforeStart: a service that is told to stop while it starts has nothing to drain, and
// nothing failed.
func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	work := queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(context.Context, queue.Job) error {
			return nil
		}}
	if err := b.Run(ctx, []queue.Work{work}); err != nil {
		t.Error(err)
	}
}

func TestDrainCancelsAfterGrace(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{Grace: 100 * time.Millisecond})
	publish(t, b, pratique.PriorityPush, "stubborn")
	started := make(chan bool)
	stop := run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(ctx context.Context, _ queue.Job) error {
			started <- true
			<-ctx.Done()
			return ctx.Err()
		}})
	receive(t, started)
	stop()
	// It went back at once and without a recorded failure, and runs again.
	again := make(chan int)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			again <- job.Attempt
			return nil
		}})
	if got := receive(t, again); got != 2 {
		t.Errorf("attempt %d, want 2", got)
	}
}

func TestManyWorkersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	const jobs = 300
	done := make(chan string, 2*jobs)
	var busy, most atomic.Int32
	stages := []queue.Work{}
	for _, stage := range pratique.Stages() {
		stages = append(stages, queue.Work{Stage: stage, Workers: 4, Failed: neverFails(t),
			Handle: func(_ context.Context, job queue.Job) error {
				if n := busy.Add(1); n > most.Load() {
					most.Store(n)
				}
				runtime.Gosched()
				busy.Add(-1)
				done <- string(job.Stage) + job.ID
				return nil
			}})
	}
	run(t, b, stages...)
	for i := range jobs {
		stage, priority := pratique.Stages()[i%3], pratique.Priorities()[i/3%3]
		if err := b.Publish(t.Context(), stage, priority, fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for range jobs {
		id := receive(t, done)
		if seen[id] {
			t.Errorf("%s twice", id)
		}
		seen[id] = true
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
	if most.Load() > 12 {
		t.Errorf("%d jobs at once, want at most 12", most.Load())
	}
}

// With all workers busy, a message that an open poll caught must survive, also over a drain.
func TestHeldMessageGoesBackAtDrain(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	started, proceed := make(chan string, 3), make(chan bool)
	drain, wait := runToDrain(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			started <- job.ID
			<-proceed
			return nil
		}})
	eventually(t, "a poll is open in every priority", func() bool { return polls(t, js) == 3 })
	publish(t, b, pratique.PriorityPush, "p")
	receive(t, started)
	publish(t, b, pratique.PriorityRescan, "r") // goes to the poll of its priority and is held
	eventually(t, "the rescan was delivered", func() bool {
		consumer, err := js.Consumer(t.Context(), queue.Topology()[0].Name,
			string(pratique.PriorityRescan))
		return err == nil && consumer.CachedInfo().NumAckPending == 1
	})
	drain()
	close(proceed)
	wait()
	again := make(chan int)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			again <- job.Attempt
			return nil
		}})
	if attempt := receive(t, again); attempt != 1 {
		t.Errorf("attempt %d: a job that never started was counted", attempt)
	}
}

func TestPoolOutlivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	options := server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 16 << 30}
	first := natsserver.Start(t, options)
	options.Port = natsserver.Port(first)
	conn, err := nats.Connect(first.ClientURL(), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	b := queue.New(js, queue.Config{AckWait: 2 * time.Second})
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 10)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			done <- job.ID
			return nil
		}})
	publish(t, b, pratique.PriorityPush, "before")
	receive(t, done)
	eventually(t, "it is acknowledged", func() bool { return left(t, b) == 0 })
	natsserver.Stop(first)
	natsserver.Start(t, options)
	eventually(t, "publishing works again", func() bool {
		return b.Publish(t.Context(), pratique.StageInspect, pratique.PriorityPush, "after", nil) == nil
	})
	if id := receive(t, done); id != "after" {
		t.Errorf("got %s", id)
	}
}

// BenchmarkJob is publish, start, handle and confirmed acknowledgement of one job after another.
func BenchmarkJob(b *testing.B) {
	broker := benchmarkBroker(b, true)
	done := make(chan bool)
	run(b, broker, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(b),
		Handle: func(context.Context, queue.Job) error {
			done <- true
			return nil
		}})
	i := 0
	for b.Loop() {
		i++
		publish(b, broker, pratique.PriorityPush, fmt.Sprint(i))
		<-done
	}
}
