package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

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

// TestOtherFormat: data of another version is refused with what to do, and an empty stream is taken
// over.
func TestOtherFormat(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	for _, stream := range []string{queue.LedgerStream, "EVENTS"} {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.Metadata = map[string]string{}
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := b.Setup(t.Context()); err != nil {
			t.Errorf("an empty %s: %v", stream, err)
		}
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), strings.NewReplacer(">", "x", "*",
			"x").Replace(c.Subjects[0]), []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := b.Setup(t.Context()); pratique.KindOf(err) != pratique.Invalid ||
			!strings.Contains(err.Error(), "dataDir") {
			t.Errorf("%s of another version: %v", stream, err)
		}
		c.Metadata = map[string]string{"pratique-format": queue.Format}
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSameIDIsStoredOnce(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	publish(t, b, pratique.PriorityPush, "a", "a", "b", "a")
	// which knows at once; its consumers hear of a message later
	stream, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestPublishWithoutServerIsUnavailable(t *testing.T) {
	t.Parallel()
	e, b, _ := start(t, t.TempDir(), queue.Config{})
	e.Close()
	err := b.Publish(t.Context(), pratique.StageInspect, pratique.PriorityPush, "x", nil)
	if pratique.KindOf(err) != pratique.Unavailable || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err) // a webhook waits for it, so it must not wait itself
	}
}

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	for name, c := range map[string]struct {
		stage    pratique.Stage
		priority pratique.Priority
		id       string
		size     int
		want     pratique.Kind
	}{
		"no such stage":    {"", pratique.PriorityPush, "x", 1, pratique.Internal},
		"no such priority": {pratique.StageInspect, "x.y", "x", 1, pratique.Internal},
		"no id":            {pratique.StageInspect, pratique.PriorityPush, "", 1, pratique.Internal},
		"too large": {pratique.StageInspect, pratique.PriorityPush, "x", 70 << 10,
			pratique.Exhausted},
		"far too large": {pratique.StageInspect, pratique.PriorityPush, "x", 2 << 20,
			pratique.Exhausted},
	} {
		err := b.Publish(t.Context(), c.stage, c.priority, c.id, make([]byte, c.size))
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
		err = b.Publish(t.Context(), pratique.StageInspect, pratique.PriorityPush,
			fmt.Sprint(stored), make([]byte, 500))
	}
	if pratique.KindOf(err) != pratique.Unavailable ||
		!strings.Contains(err.Error(), "the queue is full") {
		t.Fatalf("after %d messages: %v", stored, err)
	}
	stream, err := js.Stream(t.Context(), small.Name)
	if err != nil {
		t.Fatal(err)
	}
	// Not from the consumers, whose counts follow the stream at a distance.
	if n := stream.CachedInfo().State.Msgs; n != uint64(stored-1) {
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
	if err := queue.New(js,
		queue.Config{}).Setup(t.Context()); pratique.KindOf(err) != pratique.Exhausted {
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
	publish(t, b, pratique.PriorityManual, "a", "b")
	all, err := b.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 9 {
		t.Fatalf("%d backlogs, want 9", len(all))
	}
	for _, l := range all {
		busy := l.Stage == pratique.StageInspect && l.Priority == pratique.PriorityManual
		switch {
		case busy && (l.Total != 2 || l.Waiting != 2 ||
			now().Sub(l.Oldest).Round(time.Minute) != time.Hour):
			t.Errorf("busy priority: %+v", l)
		case !busy && (l.Total != 0 || !l.Oldest.IsZero()):
			t.Errorf("empty priority: %+v", l)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			broker := benchmarkBroker(b, sync)
			i := 0
			for b.Loop() {
				i++
				if err := broker.Publish(b.Context(), pratique.StageInspect, pratique.PriorityPush,
					fmt.Sprint(i), make([]byte, 400)); err != nil {
					b.Fatal(err)
				}
			}
		})
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
