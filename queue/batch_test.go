package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// batch makes n messages for the push priority whose bodies are their ids.
func batch(prefix string, n int) []pratique.Message {
	all := make([]pratique.Message, n)
	for i := range all {
		id := fmt.Sprint(prefix, i)
		all[i] = pratique.Message{Priority: pratique.PriorityPush, ID: id, Body: []byte(id)}
	}
	return all
}

// stored reads the ids of the inspect stage in their order, and how many batches they came in; a
// message that came alone counts for none.
func stored(t testing.TB, js jetstream.JetStream) (ids []string, batches int) {
	t.Helper()
	stream, err := js.Stream(t.Context(), queue.Topology()[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	state := stream.CachedInfo().State
	for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, msg.Header.Get(jetstream.MsgIDHeader))
		if id := msg.Header.Get("Nats-Batch-Id"); id != "" && !seen[id] {
			seen[id] = true
			batches++
		}
	}
	return ids, batches
}

func idsOf(all []pratique.Message) []string {
	var ids []string
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestBatchIsStoredOnceInOrder(t *testing.T) {
	t.Parallel()
	large := batch("large", 40)
	for i := range large {
		large[i].Body = make([]byte, 60<<10)
	}
	ids := func(from, to int) []string { return idsOf(batch("a", to)[from:]) }
	for name, c := range map[string]struct {
		before, all []pratique.Message
		want        []string
		batches     int
	}{
		"nothing":         {},
		"one message":     {all: batch("a", 1), want: ids(0, 1)},
		"a few":           {all: batch("a", 11), want: ids(0, 11)},
		"more than a few": {all: batch("a", 12), want: ids(0, 12), batches: 1},
		"split by number": {all: batch("a", 1203), want: ids(0, 1203), batches: 3},
		// 17 of 60 KiB are less than 1 MiB; the last six go alone
		"split by size": {all: large, want: idsOf(large), batches: 2},
		"one is there already": {before: batch("a", 8)[7:], all: batch("a", 20),
			want: slices.Concat(ids(7, 8), ids(0, 7), ids(8, 20))},
		"all are there already": {before: batch("a", 20), all: batch("a", 20), want: ids(0, 20),
			batches: 1},
		"the same id in a batch": {all: append(batch("a", 13), batch("a", 14)...), want: ids(0, 14)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, b, js := start(t, t.TempDir(), queue.Config{})
			for _, all := range [][]pratique.Message{c.before, c.all} {
				if err := b.PublishBatch(t.Context(), pratique.StageInspect, all); err != nil {
					t.Fatal(err)
				}
			}
			ids, batches := stored(t, js)
			if diff := cmp.Diff(c.want, ids); diff != "" {
				t.Error(diff)
			}
			if batches != c.batches {
				t.Errorf("%d batches, want %d", batches, c.batches)
			}
		})
	}
}

func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	last := func(m pratique.Message) []pratique.Message { return append(batch("a", 20), m) }
	for name, c := range map[string]struct {
		stage pratique.Stage
		all   []pratique.Message
		want  pratique.Kind
	}{
		"no such stage": {"", batch("a", 2), pratique.Internal},
		"no such priority": {pratique.StageInspect,
			last(pratique.Message{Priority: "x.y", ID: "x"}), pratique.Internal},
		"no id": {pratique.StageInspect,
			last(pratique.Message{Priority: pratique.PriorityPush}), pratique.Internal},
		"too large": {pratique.StageInspect,
			last(pratique.Message{Priority: pratique.PriorityPush, ID: "x",
				Body: make([]byte, 70<<10)}), pratique.Exhausted},
	} {
		err := b.PublishBatch(t.Context(), c.stage, c.all)
		if pratique.KindOf(err) != c.want || err == nil {
			t.Errorf("%s: got %v, want kind %s", name, err, c.want)
		}
	}
	if ids, _ := stored(t, js); len(ids) > 0 {
		t.Errorf("stored %q of what was refused", ids)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.PublishBatch(canceled, pratique.StageInspect,
		batch("b", 20)); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("canceled: %v", err)
	}
}

// A message that is too large only with the headers of a batch goes in, and one that is too large
// with its own is named; those before it are stored.
func TestBatchWithAMessageAtTheLimit(t *testing.T) {
	t.Parallel()
	limit := int(queue.Topology()[0].MaxMsgSize)
	for _, at := range []int{0, 10, 19} {
		_, b, js := start(t, t.TempDir(), queue.Config{})
		fits, tooLarge := batch("a", 20), batch("b", 20)
		fits[at].Body, tooLarge[at].Body = make([]byte, limit-100), make([]byte, limit-20)
		if err := b.PublishBatch(t.Context(), pratique.StageInspect, fits); err != nil {
			t.Error(err)
		}
		err := b.PublishBatch(t.Context(), pratique.StageInspect, tooLarge)
		if pratique.KindOf(err) != pratique.Exhausted || !strings.Contains(err.Error(), tooLarge[at].ID) {
			t.Errorf("got %v", err)
		}
		ids, batches := stored(t, js)
		if diff := cmp.Diff(append(idsOf(fits), idsOf(tooLarge)[:at]...), ids); diff != "" ||
			batches > 0 {
			t.Errorf("in %d batches: %s", batches, diff)
		}
	}
}

func TestBatchWithoutServerIsUnavailable(t *testing.T) {
	t.Parallel()
	e, b, _ := start(t, t.TempDir(), queue.Config{})
	e.Close()
	err := b.PublishBatch(t.Context(), pratique.StageInspect, batch("a", 20))
	if pratique.KindOf(err) != pratique.Unavailable || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err) // a webhook waits for it, so it must not wait itself
	}
}

func TestBatchIntoAFullQueueIsRefusedWhole(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	small := queue.Topology()[0]
	small.MaxBytes = 8 << 10
	if _, err := js.UpdateStream(t.Context(), small.Config(1)); err != nil {
		t.Fatal(err)
	}
	fits, full := batch("a", 15), batch("b", 40)
	if err := b.PublishBatch(t.Context(), pratique.StageInspect, fits); err != nil {
		t.Fatal(err)
	}
	err := b.PublishBatch(t.Context(), pratique.StageInspect, full)
	if pratique.KindOf(err) != pratique.Unavailable ||
		!strings.Contains(err.Error(), "the queue is full") {
		t.Errorf("got %v", err)
	}
	ids, _ := stored(t, js)
	if diff := cmp.Diff(idsOf(fits), ids); diff != "" {
		t.Error(diff)
	}
}

// Streams of a version before batches take them one by one until they are set up again.
func TestStreamFromBeforeBatches(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	old := queue.Topology()[0].Config(1)
	old.AllowAtomicPublish = false
	if _, err := js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	first, second := batch("a", 15), batch("b", 15)
	if err := b.PublishBatch(t.Context(), pratique.StageInspect, first); err != nil {
		t.Fatal(err)
	}
	if _, batches := stored(t, js); batches != 0 {
		t.Fatalf("%d batches in a stream that takes none", batches)
	}
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishBatch(t.Context(), pratique.StageInspect, second); err != nil {
		t.Fatal(err)
	}
	ids, batches := stored(t, js)
	if diff := cmp.Diff(append(idsOf(first), idsOf(second)...), ids); diff != "" || batches != 1 {
		t.Errorf("in %d batches: %s", batches, diff)
	}
}

// A server from before batches takes every message as one of its own and answers where it is asked.
func TestServerFromBeforeBatches(t *testing.T) {
	t.Parallel()
	s := natsserver.Start(t, server.Options{})
	conn, js := dial(t, s.ClientURL())
	var mu sync.Mutex
	var kept []string
	asked := 0
	if _, err := conn.Subscribe("events.push", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if id := m.Header.Get(jetstream.MsgIDHeader); !slices.Contains(kept, id) {
			kept = append(kept, id)
		}
		if asked++; m.Reply != "" {
			answer, _ := json.Marshal(map[string]any{"stream": "EVENTS", "seq": len(kept)})
			_ = m.Respond(answer)
		}
	}); err != nil {
		t.Fatal(err)
	}
	all := batch("a", 20)
	if err := queue.New(js, queue.Config{}).PublishBatch(t.Context(), pratique.StageInspect,
		all); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(idsOf(all), kept); diff != "" {
		t.Error(diff)
	}
	if asked != 21 { // the first one twice
		t.Errorf("%d messages sent, want 21", asked)
	}
}

func TestBatchesBesideSinglePublishes(t *testing.T) {
	t.Parallel()
	_, b, js := start(t, t.TempDir(), queue.Config{})
	const publishers, rounds, size = 6, 5, 20
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for r := range rounds {
				for _, m := range batch(fmt.Sprint("single", p, "-", r, "-"), 3) {
					if err := b.Publish(t.Context(), pratique.StageInspect, m.Priority, m.ID,
						m.Body); err != nil {
						t.Error(err)
					}
				}
			}
		})
		all.Go(func() {
			for r := range rounds {
				// Every batch has one message that a neighbour publishes, too.
				part := append(batch(fmt.Sprint("batch", p, "-", r, "-"), size),
					batch(fmt.Sprint("shared", p/2, "-", r, "-"), 1)...)
				if err := b.PublishBatch(t.Context(), pratique.StageInspect, part); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	ids, batches := stored(t, js)
	if want := publishers*rounds*(size+3) + publishers/2*rounds; len(ids) != want {
		t.Errorf("%d messages, want %d", len(ids), want)
	}
	if batches == 0 {
		t.Error("not one batch was taken whole")
	}
	at := map[string]int{}
	for i, id := range ids {
		if at[id] > 0 {
			t.Errorf("%s is stored twice", id)
		}
		at[id] = i + 1
	}
	for p := range publishers {
		for r := range rounds {
			part := idsOf(batch(fmt.Sprint("batch", p, "-", r, "-"), size))
			if !slices.IsSortedFunc(part, func(a, b string) int { return at[a] - at[b] }) {
				t.Errorf("batch %d of publisher %d is not in order", r, p)
			}
		}
	}
}

func TestWorkersTakeABatchInOrder(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, t.TempDir(), queue.Config{})
	all := batch("a", 30)
	for i := range all {
		all[i].Priority = pratique.Priorities()[i%3]
	}
	if err := b.PublishBatch(t.Context(), pratique.StageInspect, all); err != nil {
		t.Fatal(err)
	}
	got := make(chan queue.Job, 2*len(all))
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			got <- job
			return nil
		}})
	for n := range all {
		want := all[n%10*3+n/10] // one priority after the other
		if job := receive(t, got); job.ID != want.ID || job.Priority != want.Priority ||
			string(job.Body) != want.ID {
			t.Errorf("got %s of priority %s, want %s of priority %s", job.ID, job.Priority, want.ID,
				want.Priority)
		}
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
}

func dial(t testing.TB, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}
