package outbox

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// model is the outbox as plain maps, written for clarity alone.
type model struct {
	name       string   // the outbox's
	log        []string // id and ref
	tags       map[string]*modelTag
	deliveries map[string]time.Time
	unresolved map[string]*modelPush
	forwarded  []string
	floor      int
}

type modelTag struct {
	digest     pratique.Digest
	generation int
	pushed     time.Time
	occurred   time.Time
	swept      bool // nobody but sweeps told of the digest
}

type modelPush struct {
	event pratique.Event
	since time.Time
}

const modelDeliveries, modelTags = 3 * time.Hour, 60 * time.Hour

func newModel() *model {
	return &model{tags: map[string]*modelTag{}, deliveries: map[string]time.Time{},
		unresolved: map[string]*modelPush{}}
}

func modelKey(ref pratique.ImageRef) string {
	if ref.Tag != "" {
		return ref.Repository.String() + ":" + ref.Tag
	}
	return ref.String()
}

func (m *model) publish(e pratique.Event, now time.Time) bool {
	if e.Delivery != "" {
		id := e.Source + e.Ref.String() + " " + e.Delivery
		if at, ok := m.deliveries[id]; ok && now.Sub(at) <= modelDeliveries {
			return false
		}
		m.deliveries[id] = now
	}
	news := false
	key := modelKey(e.Ref)
	switch waits := m.unresolved[key]; {
	case !e.Ref.Digest.IsZero():
		news = m.record(e, now, false)
	case waits != nil:
		waits.event = e
	default:
		m.unresolved[key] = &modelPush{event: e, since: now}
		news = true
	}
	return news
}

func (m *model) record(e pratique.Event, now time.Time, asked bool) bool {
	tag := m.tags[modelKey(e.Ref)]
	if tag == nil {
		tag = &modelTag{generation: m.floor}
		m.tags[modelKey(e.Ref)] = tag
	}
	same := tag.digest == e.Ref.Digest
	repeat := same && (e.RefreshOnly || !tag.swept)
	late := !same && !asked && !e.OccurredAt.IsZero() && e.OccurredAt.Before(tag.occurred)
	swept := e.RefreshOnly && (!same || tag.swept)
	tag.report(e, e.Ref.Digest, now)
	tag.swept = swept && !late
	if late {
		tag.digest = pratique.Digest{}
	}
	if !repeat {
		m.append(e, fmt.Sprint(tag.generation))
	}
	return !repeat
}

func (t *modelTag) report(e pratique.Event, d pratique.Digest, now time.Time) {
	t.digest, t.pushed = d, now
	t.generation++
	at := e.OccurredAt
	if at.After(now) {
		at = now
	}
	if at.After(t.occurred) {
		t.occurred = at
	}
}

func (m *model) append(e pratique.Event, number string) {
	m.log = append(m.log, pratique.EventID(e.Source, e.Ref, m.name+" "+number)+" "+e.Ref.String())
}

func (m *model) resolve(key string, d pratique.Digest, now time.Time) {
	p := m.unresolved[key]
	delete(m.unresolved, key)
	p.event.Ref.Digest = d
	if d.IsZero() {
		m.append(p.event, fmt.Sprint("unresolved ", p.since.UnixNano()))
		if tag := m.tags[key]; tag != nil {
			tag.report(p.event, d, now)
			tag.swept = false
		}
		return
	}
	m.record(p.event, now, true)
}

func (m *model) prune(now time.Time) {
	for key, tag := range m.tags {
		if now.Sub(tag.pushed) > modelTags {
			m.floor = max(m.floor, tag.generation)
			delete(m.tags, key)
		}
	}
}

func randomEvent(r *rand.Rand, now time.Time) pratique.Event {
	content := string(rune('A' + r.IntN(3)))
	e := tagged(fmt.Sprint("app:v", r.IntN(4)), content)
	switch r.IntN(6) {
	case 0, 1:
		e.Ref.Digest = pratique.Digest{}
	case 2:
		e.Ref.Tag = ""
	}
	if r.IntN(2) == 0 {
		e.Delivery = fmt.Sprint(r.IntN(6))
	}
	e.Source = []string{"harbor", "quay"}[r.IntN(2)]
	if r.IntN(3) > 0 {
		e.OccurredAt = now.Add(time.Duration(r.IntN(60)-50) * time.Minute) // also from the future
	}
	// A sweep knows a digest, and nothing of deliveries and times.
	if !e.Ref.Digest.IsZero() && e.Ref.Tag != "" && r.IntN(4) == 0 {
		e.RefreshOnly, e.Source, e.Delivery, e.OccurredAt = true, "reconcile", "", time.Time{}
	}
	return e
}

// TestOutboxIsAsTheModel makes random sequences of everything that can happen, in both.
func TestOutboxIsAsTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			compare(t, rand.New(rand.NewPCG(seed, 3)))
		})
	}
}

func compare(t *testing.T, r *rand.Rand) {
	clock := newClock()
	c := Config{
		File: t.TempDir() + "/outbox.db", Now: clock.now, noSync: true, Deliveries: modelDeliveries,
		Tags: modelTags,
	}
	o, m := open(t, c), newModel()
	m.name = nameOf(t, o)
	var forwarded []string
	l := Downstream{Forward: func(_ context.Context, events []pratique.Event) error {
		for _, e := range events {
			forwarded = append(forwarded, e.ID+" "+e.Ref.String())
		}
		return nil
	}}
	for step := range 600 {
		clock.advance(time.Duration(r.IntN(40)) * time.Minute)
		switch r.IntN(12) {
		case 0:
			o = reopen(t, o, c, r.IntN(2) == 0)
		case 1:
			if entries, err := o.head(); err != nil {
				t.Fatal(err)
			} else if len(entries) > 0 {
				o.forward(t.Context(), l, entries)
			}
			m.forwarded, m.log = append(m.forwarded, m.log...), nil
		case 2, 3:
			if keys := slices.Sorted(maps.Keys(m.unresolved)); len(keys) > 0 {
				key := keys[r.IntN(len(keys))]
				resolveBoth(t, o, m, key, r.IntN(4), clock.now())
			}
		case 4:
			if err := o.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.prune(clock.now())
		default:
			events := make([]pratique.Event, 1+r.IntN(3))
			want := 0
			for i := range events {
				events[i] = randomEvent(r, clock.now())
				if m.publish(events[i], clock.now()) {
					want++
				}
			}
			publish(t, o, want, events...)
		}
		compareState(t, step, o, m)
		if !slices.Equal(forwarded, m.forwarded) {
			t.Fatalf("step %d: forwarded\n%q, want\n%q", step, forwarded, m.forwarded)
		}
	}
	if len(forwarded) < 50 {
		t.Errorf("only %d events were forwarded: the test says little", len(forwarded))
	}
}

func resolveBoth(t *testing.T, o *Outbox, m *model, key string, content int, now time.Time) {
	t.Helper()
	var d pratique.Digest
	l := Downstream{Resolve: func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
		if content == 3 {
			return d, pratique.Errorf(pratique.NotFound, "head", "gone")
		}
		d = digest(string(rune('A' + content)))
		return d, nil
	}}
	if _, again := o.resolve(t.Context(), l, task{key: key}); again {
		t.Fatalf("%s was not settled", key)
	}
	m.resolve(key, d, now)
}

// reopen closes the file and opens it again, or opens a copy of it as a crash would leave it.
func reopen(t *testing.T, o *Outbox, c Config, crash bool) *Outbox {
	t.Helper()
	copied := c.File + ".copy"
	copyFile(t, o, copied)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if crash {
		if err := os.Rename(copied, c.File); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, c)
}

func compareState(t *testing.T, step int, o *Outbox, m *model) {
	t.Helper()
	var log []string
	for _, e := range logOf(t, o) {
		log = append(log, e.ID+" "+e.Ref.String())
	}
	if !slices.Equal(log, m.log) {
		t.Fatalf("step %d: log\n%q, want\n%q", step, log, m.log)
	}
	for i := range 4 {
		ref := tagged(fmt.Sprint("app:v", i), "").Ref
		want := pratique.KnownTag{Waiting: m.unresolved[modelKey(ref)] != nil}
		if tag := m.tags[modelKey(ref)]; tag != nil {
			want.Digest, want.Generation = tag.digest, uint64(tag.generation)
		}
		if got, err := o.Tag(ref); err != nil || got != want {
			t.Fatalf("step %d: %s is %+v, want %+v, %v", step, ref, got, want, err)
		}
	}
	s := o.Stats()
	counted, _, err := count(o.db)
	if err != nil || s.Waiting != len(m.log) || s.Unresolved != len(m.unresolved) ||
		s.Waiting != counted.waiting || s.Unresolved != counted.unresolved || s.Bytes != counted.bytes {
		t.Fatalf("step %d: %+v, in the file %+v, in the model %d and %d, %v", step, s, counted,
			len(m.log), len(m.unresolved), err)
	}
}
