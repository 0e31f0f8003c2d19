package outbox

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// at gives an event the time that its sender says, in minutes after the epoch.
func at(e pratique.Event, minutes int) pratique.Event {
	e.OccurredAt = epoch.Add(time.Duration(minutes) * time.Minute)
	return e
}

func TestLateReports(t *testing.T) {
	t.Parallel()
	a, b, c := tagged("app:v1", "A"), tagged("app:v1", "B"), tagged("app:v1", "C")
	other := tagged("app:v2", "A")
	cases := []struct {
		name   string
		events []pratique.Event
		stored []int // by event
		digest pratique.Digest
	}{
		{"B, a late A, and A in truth", []pratique.Event{at(b, 2), at(a, 1), at(a, 3)},
			[]int{1, 1, 1}, a.Ref.Digest},
		{"also from a sender without times", []pratique.Event{at(b, 2), at(a, 1), a},
			[]int{1, 1, 1}, a.Ref.Digest},
		{"old A replayed, then B delivered again without an id",
			[]pratique.Event{at(a, 1), at(b, 2), at(a, 1), at(b, 2), at(b, 2)},
			[]int{1, 1, 1, 1, 0}, b.Ref.Digest},
		{"a late report leaves the tag unsure", []pratique.Event{at(b, 2), at(a, 1)}, []int{1, 1},
			pratique.Digest{}},
		{"also the second one", []pratique.Event{at(c, 3), at(b, 2), at(a, 1)}, []int{1, 1, 1},
			pratique.Digest{}},
		{"the newest time stays after a late report", []pratique.Event{at(c, 3), at(a, 1),
			at(b, 2)}, []int{1, 1, 1}, pratique.Digest{}},
		{"the newest time stays after one without a time", []pratique.Event{at(c, 3), b, at(a, 1)},
			[]int{1, 1, 1}, pratique.Digest{}},
		{"a late repeat is a repeat", []pratique.Event{at(a, 2), at(a, 1), at(a, 3)},
			[]int{1, 0, 0}, a.Ref.Digest},
		{"a repeat has a time as well", []pratique.Event{at(a, 1), at(a, 3), at(b, 2), at(b, 4)},
			[]int{1, 0, 1, 1}, b.Ref.Digest},
		{"within a second nothing is late", []pratique.Event{at(a, 1), at(b, 1), at(a, 1)},
			[]int{1, 1, 1}, a.Ref.Digest},
		{"without times nothing is late", []pratique.Event{b, a, a}, []int{1, 1, 0}, a.Ref.Digest},
		{"a late delivery with an id that is known", []pratique.Event{delivered(at(a, 1), "1"),
			at(b, 2), delivered(at(a, 1), "1")},
			[]int{1, 1, 0}, b.Ref.Digest},
		{"another tag is not asked", []pratique.Event{at(b, 2), at(other, 1), at(b, 3)},
			[]int{1, 1, 0}, b.Ref.Digest},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			o := open(t, Config{Now: clock.now, noSync: true})
			clock.advance(time.Hour)
			var want []pratique.Event
			for i, e := range tt.events {
				publish(t, o, tt.stored[i], e)
				if tt.stored[i] == 1 {
					want = append(want, e)
				}
			}
			wantLog(t, o, want...)
			if tag, err := o.Tag(a.Ref); err != nil || tag.Digest != tt.digest {
				t.Errorf("tag is %+v, %v, want %s", tag, err, tt.digest)
			}
		})
	}
}

// A sender whose clock is a year ahead must not make every other report late until then.
func TestSenderFromTheFutureIsBelievedUpToNow(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, noSync: true})
	publish(t, o, 1, at(tagged("app:v1", "A"), 525_600))
	clock.advance(time.Minute)
	b := at(tagged("app:v1", "B"), 1)
	publish(t, o, 1, b)
	publish(t, o, 0, b)
}

func TestSenderWithATimeThatCannotBeIsNeverLate(t *testing.T) {
	t.Parallel()
	o := open(t, Config{noSync: true})
	publish(t, o, 1, at(tagged("app:v1", "A"), 0))
	b := tagged("app:v1", "B")
	b.OccurredAt = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	publish(t, o, 1, b)
	publish(t, o, 0, b)
}

// What the registry says now is true whenever the push was that led to the question.
func TestAnswerOfTheRegistryIsNeverLate(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, noSync: true})
	clock.advance(time.Hour)
	publish(t, o, 2, at(tagged("app:v1", "A"), 2), at(tagged("app:v1", ""), 1))
	if _, again := o.resolve(t.Context(), Downstream{Resolve: answer("B")},
		task{key: "registry.example.com/app:v1"}); again {
		t.Fatal("it was not settled")
	}
	if tag, err := o.Tag(tagged("app:v1", "").Ref); err != nil ||
		tag != (pratique.KnownTag{Digest: digest("B"), Generation: 2}) {
		t.Errorf("tag is %+v, %v", tag, err)
	}
	wantLog(t, o, tagged("app:v1", "A"), tagged("app:v1", "B"))
}

// TestSweepThatLookedBeforeARepeatStoresNothing: A is known, the webhook of B is lost, a sweep
// reads B, and the tag is pushed back to A before the sweep hands B on.
func TestSweepThatLookedBeforeARepeatStoresNothing(t *testing.T) {
	t.Parallel()
	a, b := tagged("app:v1", "A"), tagged("app:v1", "B")
	cases := map[string]func(t *testing.T, o *Outbox){
		"with a digest": func(t *testing.T, o *Outbox) { publish(t, o, 0, a) },
		"without": func(t *testing.T, o *Outbox) {
			publish(t, o, 1, tagged("app:v1", ""))
			if _, again := o.resolve(t.Context(), Downstream{Resolve: answer("A")},
				task{key: "registry.example.com/app:v1"}); again {
				t.Fatal("it was not settled")
			}
		},
	}
	for name, report := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := open(t, Config{noSync: true})
			publish(t, o, 1, a)
			seen, err := o.Tag(a.Ref)
			if err != nil || seen != (pratique.KnownTag{Digest: a.Ref.Digest, Generation: 1}) {
				t.Fatalf("seen %+v, %v", seen, err)
			}
			report(t, o)
			if stored, err := o.PublishUnlessChanged(t.Context(), b, seen); err != nil || stored {
				t.Errorf("stored %t, %v", stored, err)
			}
			wantLog(t, o, a)
			publish(t, o, 1, b)
		})
	}
}

// A sweep heals a tag that is unsure: it asks without a condition, and what it finds is news once.
func TestSweepMakesAnUnsureTagSure(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, noSync: true})
	clock.advance(time.Hour)
	b := tagged("app:v1", "B")
	publish(t, o, 2, at(b, 2), at(tagged("app:v1", "A"), 1))
	for _, want := range []bool{true, false} {
		seen, err := o.Tag(b.Ref)
		if err != nil || seen.Digest.IsZero() != want {
			t.Fatalf("seen %+v, %v", seen, err)
		}
		if stored, err := o.PublishUnlessChanged(t.Context(), b, seen); err != nil || stored != want {
			t.Errorf("stored %t, %v, want %t", stored, err, want)
		}
	}
	wantLog(t, o, b, tagged("app:v1", "A"), b)
}

func TestAgesOfLogAndOfUnresolvedPushesAreApart(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, noSync: true})
	came := func(e pratique.Event) pratique.Event {
		clock.advance(time.Minute)
		e.ReceivedAt = clock.now()
		return e
	}
	publish(t, o, 1, came(tagged("app:v1", "")))
	publish(t, o, 1, came(tagged("app:v2", "A")))
	publish(t, o, 1, came(tagged("app:v3", "A")))
	publish(t, o, 1, came(tagged("app:v4", "")))
	s := o.Stats()
	if want := epoch.Add(2 * time.Minute); !s.Oldest.Equal(want) {
		t.Errorf("oldest logged is %s, want %s", s.Oldest, want)
	}
	if want := epoch.Add(time.Minute); !s.OldestUnresolved.Equal(want) {
		t.Errorf("oldest unresolved is %s, want %s", s.OldestUnresolved, want)
	}
}
