package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

func TestForwardingKeepsTheOrder(t *testing.T) {
	t.Parallel()
	const events = 3*maxForward + 7
	o := open(t, Config{})
	var want []pratique.Event
	for i := range events {
		want = append(want, tagged(fmt.Sprint("app:v", i%3), fmt.Sprint(i)))
	}
	publish(t, o, events, want...)
	var s sink
	largest, failures := 0, 0
	run(t, o, Downstream{Forward: func(ctx context.Context, events []pratique.Event) error {
		largest = max(largest, len(events))
		if failures++; failures%2 == 1 {
			return errors.New("not now")
		}
		return s.forward(ctx, events)
	}})
	eventually(t, "an empty log", func() bool { return o.Stats().Waiting == 0 })
	if got := s.refs(); !slices.Equal(got, refsOf(want...)) {
		t.Errorf("forwarded %d events, in another order or number than %d", len(got), len(want))
	}
	if st := o.Stats(); largest != maxForward || st.Forwarded != events || st.Bytes != 0 {
		t.Errorf("largest batch %d, %+v", largest, st)
	}
}

func TestForwardingGoesOnAfterRunEnds(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	publish(t, o, 2, tagged("app:v1", "A"), tagged("app:v1", "B"))
	called := make(chan struct{}, 1)
	stop := run(t, o, Downstream{Forward: func(ctx context.Context, _ []pratique.Event) error {
		select {
		case called <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	<-called
	wantKind(t, o.Run(t.Context(), Downstream{}), pratique.Conflict)
	stop()
	wantLog(t, o, tagged("app:v1", "A"), tagged("app:v1", "B"))
	var s sink
	run(t, o, Downstream{Forward: s.forward})
	eventually(t, "both forwarded", func() bool { return len(s.refs()) == 2 && o.Stats().Waiting == 0 })
}

func TestBatchUnderWayIsFinishedWhenRunEnds(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	publish(t, o, 1, tagged("app:v1", "A"))
	called := make(chan struct{})
	stop := run(t, o, Downstream{Forward: func(ctx context.Context, _ []pratique.Event) error {
		close(called)
		<-ctx.Done() // and stored all the same
		return nil
	}})
	<-called
	stop()
	wantLog(t, o)
}

func TestEventThatNobodyTakesIsSetAside(t *testing.T) {
	t.Parallel()
	var reported errorLog
	clock := newClock()
	o := open(t, Config{OnError: reported.add, Now: clock.now})
	bad := tagged("bad:v1", "X")
	publish(t, o, 3, tagged("app:v1", "A"), bad, tagged("app:v1", "B"))
	var s sink
	run(t, o, Downstream{Forward: func(ctx context.Context, events []pratique.Event) error {
		for _, e := range events {
			if e.Ref == bad.Ref {
				return pratique.Errorf(pratique.Invalid, "forward", "no such repository")
			}
		}
		return s.forward(ctx, events)
	}})
	eventually(t, "an empty log", func() bool { return o.Stats().Waiting == 0 })
	if want := refsOf(tagged("app:v1", "A"), tagged("app:v1", "B")); !slices.Equal(s.refs(), want) {
		t.Errorf("forwarded %q", s.refs())
	}
	refused, err := o.Refused()
	if err != nil || len(refused) != 1 || refused[0].Event.Ref != bad.Ref ||
		!refused[0].At.Equal(epoch) ||
		!strings.Contains(refused[0].Reason, "no such repository") {
		t.Errorf("refused %+v, %v", refused, err)
	}
	eventually(t, "a reported error", func() bool { return len(reported.all()) == 1 })
	if st := o.Stats(); st.Refused != 1 || st.Forwarded != 2 ||
		!strings.Contains(reported.all()[0], bad.Ref.String()) {
		t.Errorf("%+v, reported %q", st, reported.all())
	}
}

func TestEntryThatCannotBeReadIsSetAside(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	publish(t, o, 1, tagged("app:v1", "A"))
	err := o.commit(t.Context(), "test", &change{apply: func(b *batch) error {
		b.append(strings.Repeat("0", idSize), []byte("{broken"))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, o, 1, tagged("app:v1", "B"))
	var s sink
	run(t, o, Downstream{Forward: s.forward})
	eventually(t, "an empty log", func() bool { return o.Stats().Waiting == 0 })
	refused, err := o.Refused()
	if err != nil || len(refused) != 1 || !strings.HasSuffix(string(refused[0].Raw), "{broken") {
		t.Errorf("refused %+v, %v", refused, err)
	}
	if want := refsOf(tagged("app:v1", "A"), tagged("app:v1", "B")); !slices.Equal(s.refs(), want) {
		t.Errorf("forwarded %q", s.refs())
	}
	if b := o.Stats().Bytes; b != 0 {
		t.Errorf("%d bytes left", b)
	}
}

func TestRefusedEventsAreBounded(t *testing.T) {
	t.Parallel()
	o := open(t, Config{noSync: true})
	const more = 5
	err := o.commit(t.Context(), "test", &change{apply: func(b *batch) error {
		for i := range maxRefused + more {
			e := tagged(fmt.Sprint("app:v", i), "A")
			e.ID = fmt.Sprint(i)
			if err := b.refuse(logged{event: e, err: errors.New("no")}); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	refused, err := o.Refused()
	if err != nil || len(refused) != maxRefused || refused[0].Event.ID != fmt.Sprint(more) ||
		o.Stats().Refused != maxRefused {
		t.Errorf("%d refused, the first is %s, %v", len(refused), refused[0].Event.ID, err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, noSync: true, Deliveries: time.Hour, Tags: 10 * 24 * time.Hour})
	const old = pruneChunk + 10
	for i := range old {
		events := []pratique.Event{delivered(tagged(fmt.Sprint("old:v", i), "A"), "1")}
		if i == 0 {
			events = append(events, tagged("old:v0", "B"), tagged("old:v0", "C"))
		}
		if i%500 == 0 {
			clock.advance(20 * time.Minute)
		}
		publish(t, o, len(events), events...)
	}
	clock.advance(5 * 24 * time.Hour)
	publish(t, o, 1, delivered(tagged("new:v0", "A"), "1"))
	publish(t, o, 0, tagged("old:v5", "A")) // a repeat is a push as well
	periods := func() (n int) {
		if err := o.db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(bucketDeliveries).Stats().BucketN - 1
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := periods()
	if err := o.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before < 5 || periods() > 2 {
		t.Errorf("%d buckets of deliveries became %d", before, periods())
	}
	if tag, _ := o.Tag(tagged("old:v0", "").Ref); tag.Generation != 3 {
		t.Errorf("forgotten too early: %+v", tag)
	}
	clock.advance(6 * 24 * time.Hour)
	if err := o.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"old:v0": 0, fmt.Sprint("old:v", old-1): 0,
		"old:v5": 2, "new:v0": 1} {
		if tag, err := o.Tag(tagged(name, "").Ref); err != nil || tag.Generation != want {
			t.Errorf("%s has generation %d, want %d, %v", name, tag.Generation, want, err)
		}
	}
	publish(t, o, 1, tagged("old:v0", "A"))
	if tag, _ := o.Tag(tagged("old:v0", "").Ref); tag.Generation != 4 {
		t.Errorf("a forgotten tag has generation %d, and with it ids of before", tag.Generation)
	}
}

func TestPruneKeepsDeliveriesThatAreYoungEnough(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, Deliveries: time.Hour})
	publish(t, o, 1, delivered(tagged("app:v1", "A"), "1"))
	clock.advance(10 * time.Minute)
	late := delivered(tagged("app:v2", "A"), "2")
	publish(t, o, 2, late, tagged("app:v2", "B"))
	clock.advance(10 * time.Minute)
	publish(t, o, 1, delivered(tagged("app:v3", "A"), "3"))
	clock.advance(45 * time.Minute) // the first bucket was begun 65 minutes ago and left 45 minutes ago
	if err := o.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, o, 0, late)
}

func TestPace(t *testing.T) {
	t.Parallel()
	p := defaultPace
	for random, share := range map[float64]time.Duration{0: 2, 1: 1} {
		p.random = func() float64 { return random }
		for failures, most := range map[int]time.Duration{1: 100 * time.Millisecond,
			4: 800 * time.Millisecond, 5000: 5 * time.Second} {
			if d := p.afterForward(failures); d != most/2*share {
				t.Errorf("forward, after %d failures: %s, want %s", failures, d, most/2*share)
			}
		}
		for failures, most := range map[int]time.Duration{1: time.Second, 4: 8 * time.Second,
			50: 5 * time.Minute, 5000: 5 * time.Minute} {
			if d := p.resolve.Delay(failures, p.random()); d != most/2*share {
				t.Errorf("resolve, after %d failures: %s, want %s", failures, d, most/2*share)
			}
		}
	}
}
