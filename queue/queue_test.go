package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// start opens a server on dir and a broker on it.
func start(t testing.TB, dir string, c queue.Config) (*queue.Embedded, *queue.Broker, jetstream.JetStream) {
	t.Helper()
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: dir, SyncAlways: true})
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
	b := queue.New(js, c)
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e, b, js
}

func publish(t testing.TB, b *queue.Broker, lane pratique.Lane, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publish(t.Context(), queue.StageInspect, lane, id, []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts the workers and returns what stops them and waits.
func run(t testing.TB, b *queue.Broker, works ...queue.Work) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, works) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("Run did not return")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func neverFails(t testing.TB) func(context.Context, queue.Job, error, bool) error {
	return func(_ context.Context, job queue.Job, err error, final bool) error {
		t.Errorf("job %s failed (final %v): %v", job.ID, final, err)
		return nil
	}
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("nothing arrived within 15 s")
		panic("unreachable")
	}
}

func left(t testing.TB, b *queue.Broker) uint64 {
	t.Helper()
	all, err := b.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, l := range all {
		n += l.Total
	}
	return n
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestSetupTwice(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	ledger, err := js.Stream(t.Context(), queue.LedgerStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "ledger.none.failed.x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if ledger.DeleteMsg(t.Context(), 1) == nil || ledger.Purge(t.Context()) == nil {
		t.Error("the ledger let a fact be deleted")
	}
}

func TestMostUrgentLaneFirst(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.LaneRescan, "r1", "r2", "r3")
	publish(t, b, pratique.LaneManual, "m1", "m2")
	publish(t, b, pratique.LanePush, "p1", "p2")
	started, proceed := make(chan string), make(chan bool)
	run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
		if job.ID != string(job.Body) || job.Attempt != 1 || job.EnqueuedAt.IsZero() || job.Stage != queue.StageInspect {
			t.Errorf("odd job %+v", job)
		}
		started <- string(job.Lane) + " " + job.ID
		<-proceed
		return nil
	}})
	var got []string
	for i := range 8 {
		got = append(got, receive(t, started))
		if i == 4 { // arrives while rescan r1 is worked on, and must overtake r2 and r3
			publish(t, b, pratique.LanePush, "p3")
		}
		proceed <- true
	}
	want := []string{"push p1", "push p2", "manual m1", "manual m2", "rescan r1", "push p3", "rescan r2", "rescan r3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}

func TestSameIDIsStoredOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.LanePush, "a", "a", "b", "a")
	if n := left(t, b); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestIdleWorkerStartsAtOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	started := make(chan time.Time)
	run(t, b, queue.Work{Stage: queue.StageInspect, Workers: 2, Failed: neverFails(t), Handle: func(context.Context, queue.Job) error {
		started <- time.Now()
		return nil
	}})
	var least time.Duration = time.Hour
	for i := range 20 {
		time.Sleep(10 * time.Millisecond) // let it become idle
		lane := pratique.Lanes()[i%3]
		publish(t, b, lane, fmt.Sprint("job", i))
		acknowledged := time.Now()
		least = min(least, receive(t, started).Sub(acknowledged))
	}
	t.Logf("best of 20, acknowledgement to start of work: %s", least)
	if least > 20*time.Millisecond {
		t.Errorf("an idle worker needs %s", least)
	}
}

func TestTransientFailureComesBackThenEnds(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 3, MinDelay: time.Millisecond})
	publish(t, b, pratique.LanePush, "poison")
	type failure struct {
		Attempt int
		Kind    pratique.Kind
		Final   bool
	}
	failures := make(chan failure, 100)
	var runs atomic.Int32
	run(t, b, queue.Work{
		Stage: queue.StageInspect,
		Handle: func(context.Context, queue.Job) error {
			if runs.Add(1) == 2 {
				panic("second attempt panics")
			}
			return pratique.Errorf(pratique.Unavailable, "fetch", "no route")
		},
		Failed: func(_ context.Context, job queue.Job, err error, final bool) error {
			failures <- failure{job.Attempt, pratique.KindOf(err), final}
			return nil
		},
	})
	for _, want := range []failure{{1, pratique.Unavailable, false}, {2, pratique.Internal, false}, {3, pratique.Unavailable, true}} {
		if got := receive(t, failures); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
	time.Sleep(100 * time.Millisecond)
	if len(failures) > 0 || runs.Load() != 3 {
		t.Errorf("%d runs, then another failure was recorded", runs.Load())
	}
}

func TestPermanentFailureEndsAtOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.LanePush, "bad")
	finals := make(chan bool, 10)
	run(t, b, queue.Work{
		Stage: queue.StageInspect,
		Handle: func(context.Context, queue.Job) error {
			return pratique.Errorf(pratique.Corrupt, "read", "not the bytes")
		},
		Failed: func(_ context.Context, _ queue.Job, _ error, final bool) error { finals <- final; return nil },
	})
	if !receive(t, finals) {
		t.Error("a corrupt image is tried again")
	}
	eventually(t, "the message is gone", func() bool { return left(t, b) == 0 })
}

func TestFailureThatCannotBeRecordedIsNotLost(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{MaxAttempts: 2, MinDelay: time.Millisecond})
	publish(t, b, pratique.LanePush, "j")
	recorded := make(chan int, 1)
	var runs, records atomic.Int32
	run(t, b, queue.Work{
		Stage:  queue.StageInspect,
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
	_, b, _ := start(t, t.TempDir(), queue.Config{AckWait: 300 * time.Millisecond})
	publish(t, b, pratique.LanePush, "slow")
	var runs atomic.Int32
	done := make(chan bool)
	run(t, b, queue.Work{Stage: queue.StageInspect, Workers: 2, Failed: neverFails(t), Handle: func(context.Context, queue.Job) error {
		runs.Add(1)
		time.Sleep(1200 * time.Millisecond)
		done <- true
		return nil
	}})
	receive(t, done)
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
	if runs.Load() != 1 {
		t.Errorf("a job four times as long as AckWait ran %d times", runs.Load())
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{AckWait: 2 * time.Second})
	publish(t, b, pratique.LanePush, "running", "waiting")
	started, proceed := make(chan bool, 2), make(chan bool)
	stop := run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(ctx context.Context, _ queue.Job) error {
		started <- true
		<-proceed
		return ctx.Err() // must not be cancelled within the grace period
	}})
	receive(t, started)
	time.AfterFunc(200*time.Millisecond, func() { close(proceed) })
	stop()
	if len(started) > 0 {
		t.Error("a job was started after the drain began")
	}
	if n := left(t, b); n != 1 {
		t.Errorf("%d messages left, want the waiting one", n)
	}
}

func TestDrainCancelsAfterGrace(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{Grace: 100 * time.Millisecond})
	publish(t, b, pratique.LanePush, "stubborn")
	started := make(chan bool)
	stop := run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(ctx context.Context, _ queue.Job) error {
		started <- true
		<-ctx.Done()
		return ctx.Err()
	}})
	receive(t, started)
	stop()
	// It went back at once and without a recorded failure, and runs again.
	again := make(chan int)
	run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
		again <- job.Attempt
		return nil
	}})
	if got := receive(t, again); got != 2 {
		t.Errorf("attempt %d, want 2", got)
	}
}

func TestPublishWithoutServerIsUnavailable(t *testing.T) {
	t.Parallel()
	e, b, _ := start(t, t.TempDir(), queue.Config{})
	e.Close()
	begin := time.Now()
	err := b.Publish(t.Context(), queue.StageInspect, pratique.LanePush, "x", nil)
	if pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %s, too long for a webhook", took)
	}
}

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	for name, c := range map[string]struct {
		stage queue.Stage
		lane  pratique.Lane
		id    string
		size  int
		want  pratique.Kind
	}{
		"no such stage": {"", pratique.LanePush, "x", 1, pratique.Internal},
		"no such lane":  {queue.StageInspect, "x.y", "x", 1, pratique.Internal},
		"no id":         {queue.StageInspect, pratique.LanePush, "", 1, pratique.Internal},
		"too large":     {queue.StageInspect, pratique.LanePush, "x", 70 << 10, pratique.Exhausted},
		"far too large": {queue.StageInspect, pratique.LanePush, "x", 2 << 20, pratique.Exhausted},
	} {
		err := b.Publish(t.Context(), c.stage, c.lane, c.id, make([]byte, c.size))
		if pratique.KindOf(err) != c.want || err == nil {
			t.Errorf("%s: got %v, want kind %s", name, err, c.want)
		}
	}
}

func TestFullQueueRefusesAndKeepsTheOld(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	small := queue.Topology()[0]
	small.MaxBytes = 4 << 10
	if _, err := js.UpdateStream(t.Context(), small.Config(1)); err != nil {
		t.Fatal(err)
	}
	var err error
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		err = b.Publish(t.Context(), queue.StageInspect, pratique.LanePush, fmt.Sprint(stored), make([]byte, 500))
	}
	if pratique.KindOf(err) != pratique.Unavailable {
		t.Fatalf("after %d messages: %v", stored, err)
	}
	if n := left(t, b); n != uint64(stored-1) {
		t.Errorf("%d messages kept, want %d", n, stored-1)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, queue.Config{})
	if _, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: dir}); pratique.KindOf(err) != pratique.Conflict {
		t.Errorf("got %v", err)
	}
}

func TestStoreTooSmallForStreams(t *testing.T) {
	t.Parallel()
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: t.TempDir(), MaxStoreBytes: 1 << 30})
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
	if err := queue.New(js, queue.Config{}).Setup(t.Context()); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("got %v", err)
	}
	if err := queue.New(js, queue.Config{LedgerBytes: 128 << 20}).Setup(t.Context()); err != nil {
		t.Errorf("with a smaller ledger: %v", err)
	}
}

func TestPendingAge(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Now().Add(time.Hour) }
	_, b, _ := start(t, t.TempDir(), queue.Config{Now: now})
	publish(t, b, pratique.LaneManual, "a", "b")
	all, err := b.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 9 {
		t.Fatalf("%d backlogs, want 9", len(all))
	}
	for _, l := range all {
		busy := l.Stage == queue.StageInspect && l.Lane == pratique.LaneManual
		switch {
		case busy && (l.Total != 2 || l.Waiting != 2 || l.OldestAge.Round(time.Minute) != time.Hour):
			t.Errorf("busy lane: %+v", l)
		case !busy && (l.Total != 0 || l.OldestAge != 0):
			t.Errorf("empty lane: %+v", l)
		}
	}
}

func TestManyWorkersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	const jobs = 300
	done := make(chan string, 2*jobs)
	var busy, most atomic.Int32
	stages := []queue.Work{}
	for _, stage := range queue.Stages() {
		stages = append(stages, queue.Work{Stage: stage, Workers: 4, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
			if n := busy.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Millisecond)
			busy.Add(-1)
			done <- string(job.Stage) + job.ID
			return nil
		}})
	}
	run(t, b, stages...)
	for i := range jobs {
		stage, lane := queue.Stages()[i%3], pratique.Lanes()[i/3%3]
		if err := b.Publish(t.Context(), stage, lane, fmt.Sprint(i), nil); err != nil {
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
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	started, proceed := make(chan string, 3), make(chan bool)
	stop := run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
		started <- job.ID
		<-proceed
		return nil
	}})
	time.Sleep(100 * time.Millisecond) // idle: a poll is open in every lane
	publish(t, b, pratique.LanePush, "p")
	receive(t, started)
	publish(t, b, pratique.LaneRescan, "r") // goes to the poll of its lane and is held
	eventually(t, "the rescan was delivered", func() bool {
		all, err := b.Pending(t.Context())
		return err == nil && all[2].Running == 1
	})
	time.AfterFunc(100*time.Millisecond, func() { close(proceed) })
	stop()
	begin := time.Now()
	again := make(chan int)
	run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
		again <- job.Attempt
		return nil
	}})
	if attempt := receive(t, again); attempt != 1 {
		t.Errorf("attempt %d: a job that never started was counted", attempt)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("came back after %s, so it was not given back", took)
	}
}

func TestPoolOutlivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	options := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 16 << 30,
	}
	launch := func() *server.Server {
		s, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("the server did not start")
		}
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		return s
	}
	first := launch()
	options.Port = first.Addr().(*net.TCPAddr).Port
	conn, err := nats.Connect(first.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
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
	run(t, b, queue.Work{Stage: queue.StageInspect, Failed: neverFails(t), Handle: func(_ context.Context, job queue.Job) error {
		done <- job.ID
		return nil
	}})
	publish(t, b, pratique.LanePush, "before")
	receive(t, done)
	first.Shutdown()
	first.WaitForShutdown()
	launch()
	eventually(t, "publishing works again", func() bool {
		return b.Publish(t.Context(), queue.StageInspect, pratique.LanePush, "after", nil) == nil
	})
	if id := receive(t, done); id != "after" {
		t.Errorf("got %s", id)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			broker := benchmarkBroker(b, sync)
			i := 0
			for b.Loop() {
				i++
				if err := broker.Publish(b.Context(), queue.StageInspect, pratique.LanePush, fmt.Sprint(i), make([]byte, 400)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJob is publish, start, handle and confirmed acknowledgement of one job after another.
func BenchmarkJob(b *testing.B) {
	broker := benchmarkBroker(b, true)
	done := make(chan bool)
	run(b, broker, queue.Work{Stage: queue.StageInspect, Failed: neverFails(b), Handle: func(context.Context, queue.Job) error {
		done <- true
		return nil
	}})
	i := 0
	for b.Loop() {
		i++
		publish(b, broker, pratique.LanePush, fmt.Sprint(i))
		<-done
	}
}

func benchmarkBroker(b *testing.B, sync bool) *queue.Broker {
	b.Helper()
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: b.TempDir(), SyncAlways: sync})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(e.Close)
	conn, err := e.Conn()
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	broker := queue.New(js, queue.Config{})
	if err := broker.Setup(b.Context()); err != nil {
		b.Fatal(err)
	}
	return broker
}
