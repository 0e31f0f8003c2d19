package outbox

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// open opens an outbox in a directory of the test, unless c names a file, and closes it at the end.
func open(t testing.TB, c Config) *Outbox {
	t.Helper()
	if c.File == "" {
		c.File = filepath.Join(t.TempDir(), "outbox.db")
	}
	o, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// nameOf is what an outbox puts into the ids of its events.
func nameOf(t testing.TB, o *Outbox) string {
	t.Helper()
	var name string
	if err := o.view("read name", func(tx *bbolt.Tx) error {
		name = string(tx.Bucket(bucketMeta).Get(keyName))
		return nil
	}); err != nil || name == "" {
		t.Fatalf("name %q, %v", name, err)
	}
	return name
}

// tagged names an image by words: tagged("app:v1", "A") was pushed with the digest of A, "" means
// without one.
func tagged(name, content string) pratique.Event {
	ref, err := pratique.ParseImageRef("registry.example.com/" + name)
	if err != nil {
		panic(err)
	}
	if content != "" {
		ref.Digest = digest(content)
	}
	return pratique.Event{Ref: ref, Source: "test", Priority: pratique.PriorityPush, ReceivedAt: epoch}
}

func delivered(e pratique.Event, delivery string) pratique.Event {
	e.Delivery = delivery
	return e
}

func digest(content string) pratique.Digest { return pratique.DigestOf([]byte(content)) }

func publish(t *testing.T, o *Outbox, wantStored int, events ...pratique.Event) {
	t.Helper()
	stored, err := o.Publish(t.Context(), events)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	if stored != wantStored {
		t.Fatalf("stored %d of %d events, want %d", stored, len(events), wantStored)
	}
}

func wantKind(t *testing.T, err error, kind pratique.Kind) {
	t.Helper()
	if err == nil || pratique.KindOf(err) != kind {
		t.Fatalf("error is %v (%s), want kind %s", err, pratique.KindOf(err), kind)
	}
}

// sink is a line that keeps what it is given.
type sink struct {
	mu     sync.Mutex
	events []pratique.Event
}

func (s *sink) forward(_ context.Context, events []pratique.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	return nil
}

func (s *sink) refs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var refs []string
	for _, e := range s.events {
		refs = append(refs, e.Ref.String())
	}
	return refs
}

// refsOf returns the refs of events.
func refsOf(events ...pratique.Event) []string {
	var refs []string
	for _, e := range events {
		refs = append(refs, e.Ref.String())
	}
	return refs
}

// logOf returns what waits in the log, in order.
func logOf(t *testing.T, o *Outbox) []pratique.Event {
	t.Helper()
	entries, err := o.head()
	if err != nil {
		t.Fatal(err)
	}
	var events []pratique.Event
	for _, e := range entries {
		if e.err != nil {
			t.Fatal(e.err)
		}
		events = append(events, e.event)
	}
	return events
}

func wantLog(t *testing.T, o *Outbox, want ...pratique.Event) {
	t.Helper()
	events := logOf(t, o)
	if got, want := refsOf(events...), refsOf(want...); !slices.Equal(got, want) {
		t.Fatalf("log is\n%q, want\n%q", got, want)
	}
	ids := map[string]bool{}
	for _, e := range events {
		if ids[e.ID] {
			t.Fatalf("id %s twice", e.ID)
		}
		ids[e.ID] = true
	}
}

// run runs o until the test ends or stop is called, at a pace for tests.
func run(t *testing.T, o *Outbox, down Downstream) (stop func()) {
	t.Helper()
	quick := backoff.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond, Jitter: 0.5}
	o.pace.forward, o.pace.resolve = quick, quick
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx, down) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// errorLog keeps errors.
type errorLog struct {
	mu   sync.Mutex
	errs []string
}

func (s *errorLog) add(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, fmt.Sprint(err))
}

func (s *errorLog) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// clock is a time that only the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: epoch} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
