package queue_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// start opens a server on dir and a broker on it.
func start(t testing.TB, dir string, c queue.Config) (*queue.Embedded, *queue.Broker,
	jetstream.JetStream) {
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

func publish(t testing.TB, b *queue.Broker, priority pratique.Priority, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publish(t.Context(), pratique.StageInspect, priority, id, []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts the workers and returns what stops them and waits.
func run(t testing.TB, b *queue.Broker, works ...queue.Work) (stop func()) {
	t.Helper()
	drain, wait := runToDrain(t, b, works...)
	return func() { drain(); wait() }
}

// runToDrain starts the workers and returns what begins the drain, and what waits for its end.
func runToDrain(t testing.TB, b *queue.Broker, works ...queue.Work) (drain, wait func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, works) }()
	wait = sync.OnceFunc(func() {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(func() { cancel(); wait() })
	return cancel, wait
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
