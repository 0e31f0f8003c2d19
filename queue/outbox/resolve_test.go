package outbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// answer is a registry where each tag names the same content.
func answer(content string) func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
	return func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
		return digest(content), nil
	}
}

func TestManyPushesWithoutDigestAreOneEvent(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	publish(t, o, 1, tagged("app:v1", ""))
	for i := range 25 {
		e := tagged("app:v1", "")
		e.Actor = fmt.Sprint("layer ", i)
		publish(t, o, 0, e)
	}
	if st := o.Stats(); st.Unresolved != 1 || st.Waiting != 0 || st.Duplicates != 25 ||
		!st.Oldest.IsZero() || st.OldestUnresolved.IsZero() {
		t.Errorf("%+v", st)
	}
	var s sink
	run(t, o, Downstream{Forward: s.forward, Resolve: answer("A")})
	eventually(t, "all forwarded", func() bool { return o.Stats().Forwarded == 1 })
	if got := s.events[0]; got.Ref != tagged("app:v1", "A").Ref || got.Actor != "layer 24" {
		t.Errorf("forwarded %+v", got)
	}
	publish(t, o, 0, tagged("app:v1", "A"))
	publish(t, o, 1, tagged("app:v1", ""))
	eventually(t, "the repeat was recognised", func() bool { return o.Stats().Unresolved == 0 })
	if st := o.Stats(); st.Stored != 2 || st.Duplicates != 27 || st.Waiting != 0 ||
		st.Forwarded != 1 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}

// TestPushWhileAskingAsksAgain pushes the tag again, in several ways, while the first answer is
// under way.
func TestPushWhileAskingAsksAgain(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name      string
		meanwhile pratique.Event
		answers   []string // of the registry
		want      []pratique.Event
	}{
		{"without a digest", tagged("app:v1", ""), []string{"A", "B"},
			[]pratique.Event{tagged("app:v1", "B")}},
		{"with a digest", tagged("app:v1", "B"), []string{"A", "B"},
			[]pratique.Event{tagged("app:v1", "B")}},
		{"with a digest that is not the newest", tagged("app:v1", "B"), []string{"A", "C"},
			[]pratique.Event{tagged("app:v1", "B"), tagged("app:v1", "C")}},
		{"and it is gone at first", tagged("app:v1", ""), []string{"", "B"},
			[]pratique.Event{tagged("app:v1", "B")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := open(t, Config{})
			publish(t, o, 1, tagged("app:v1", ""))
			var s sink
			var asked atomic.Int64
			run(t, o, Downstream{Forward: s.forward, Resolve: func(ctx context.Context,
				_ pratique.ImageRef) (pratique.Digest, error) {
				n := asked.Add(1)
				if n == 1 {
					if _, err := o.Publish(ctx, []pratique.Event{c.meanwhile}); err != nil {
						t.Error(err)
					}
				}
				if c.answers[n-1] == "" {
					return pratique.Digest{}, pratique.Errorf(pratique.NotFound, "head", "no such tag")
				}
				return digest(c.answers[n-1]), nil
			}})
			eventually(t, "nothing waits", func() bool {
				st := o.Stats()
				return st.Unresolved+st.Waiting == 0
			})
			if got, want := s.refs(), refsOf(c.want...); !slices.Equal(got, want) {
				t.Errorf("forwarded %q, want %q", got, want)
			}
			if asked.Load() != 2 {
				t.Errorf("asked %d times, want 2", asked.Load())
			}
		})
	}
}

func TestTemporaryErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	var reported errorLog
	o := open(t, Config{OnError: reported.add})
	publish(t, o, 1, tagged("app:v1", ""))
	kinds := []pratique.Kind{pratique.Unavailable, pratique.RateLimited, pratique.Denied,
		pratique.Unknown, pratique.Internal}
	var asked atomic.Int64
	var s sink
	run(t, o, Downstream{Forward: s.forward, Resolve: func(context.Context,
		pratique.ImageRef) (pratique.Digest, error) {
		switch n := int(asked.Add(1)); {
		case n <= len(kinds):
			return pratique.Digest{}, pratique.Errorf(kinds[n-1], "head", "not now")
		case n == len(kinds)+1:
			return pratique.Digest{}, nil // a bug behind must not pass for an answer
		default:
			return digest("A"), nil
		}
	}})
	eventually(t, "forwarded", func() bool { return o.Stats().Forwarded == 1 })
	if want := refsOf(tagged("app:v1", "A")); !slices.Equal(s.refs(), want) {
		t.Errorf("forwarded %q", s.refs())
	}
	if len(reported.all()) != 1 {
		t.Errorf("reported %q, want the first failure", reported.all())
	}
}

func TestRegistryThatSaysHowLongToWaitIsObeyed(t *testing.T) {
	t.Parallel()
	for told, least := range map[time.Duration]time.Duration{
		20 * time.Minute: 20 * time.Minute, 400 * 24 * time.Hour: resolveFor,
		-time.Hour: defaultPace.resolve.Min / 2,
	} {
		o := open(t, Config{noSync: true})
		publish(t, o, 1, tagged("app:v1", ""))
		before := time.Now()
		next, again := o.resolve(t.Context(),
			Downstream{Resolve: func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
				return pratique.Digest{}, pratique.Wrap(pratique.Unknown, "head", "", throttled{told})
			}}, task{key: "registry.example.com/app:v1"})
		after := time.Now()
		if !again || next.failures != 1 || next.due.Before(before.Add(least)) ||
			next.due.After(after.Add(max(least, defaultPace.resolve.Min))) {
			t.Errorf("told to wait %s: again %t after %s", told, again, next.due.Sub(before))
		}
	}
}

type throttled struct{ wait time.Duration }

func (t throttled) Error() string             { return "slow down" }
func (t throttled) RetryAfter() time.Duration { return t.wait }

// TestReportsWithoutEndAreNotAskedForWithoutEnd reports the tag during each question.
func TestReportsWithoutEndAreNotAskedForWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, meanwhile := range []pratique.Event{tagged("app:v1", ""), tagged("app:v1", "A")} {
		o := open(t, Config{noSync: true})
		publish(t, o, 2, tagged("app:v1", "A"), tagged("app:v1", ""))
		before := time.Now()
		next, again := o.resolve(t.Context(),
			Downstream{Resolve: func(ctx context.Context, _ pratique.ImageRef) (pratique.Digest, error) {
				_, err := o.Publish(ctx, []pratique.Event{meanwhile})
				return digest("B"), err
			}}, task{key: "registry.example.com/app:v1"})
		if !again || next.due.Before(before.Add(defaultPace.resolve.Min)) {
			t.Errorf("again %t, after %s", again, next.due.Sub(before))
		}
		wantLog(t, o, tagged("app:v1", "A"))
	}
}

// TestPushThatGoesOnWithoutDigestMakesTheTagUnsure lets a tag go A, something that nobody could
// read, A.
func TestPushThatGoesOnWithoutDigestMakesTheTagUnsure(t *testing.T) {
	t.Parallel()
	o := open(t, Config{noSync: true})
	publish(t, o, 2, tagged("app:v1", "A"), tagged("app:v1", ""))
	if _, again := o.resolve(t.Context(),
		Downstream{Resolve: func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
			return pratique.Digest{}, pratique.Errorf(pratique.NotFound, "head", "gone")
		}}, task{key: "registry.example.com/app:v1"}); again {
		t.Fatal("it was not settled")
	}
	if tag, err := o.Tag(tagged("app:v1", "").Ref); err != nil ||
		tag != (pratique.KnownTag{Generation: 2}) {
		t.Errorf("tag is %+v, %v", tag, err)
	}
	publish(t, o, 1, tagged("app:v1", "A"))
	wantLog(t, o, tagged("app:v1", "A"), tagged("app:v1", ""), tagged("app:v1", "A"))
}

func TestTagThatCannotBeResolvedGoesOnWithoutDigest(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		kind pratique.Kind
		age  time.Duration
	}{
		{"as its kind is permanent", pratique.NotFound, 0},
		{"as it is too old", pratique.Unavailable, resolveFor},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var reported errorLog
			clock := newClock()
			o := open(t, Config{Now: clock.now, OnError: reported.add})
			var s sink
			fail := func(context.Context, pratique.ImageRef) (pratique.Digest, error) {
				return pratique.Digest{}, pratique.Errorf(c.kind, "head", "no")
			}
			publish(t, o, 1, tagged("app:v1", ""))
			clock.advance(c.age)
			run(t, o, Downstream{Forward: s.forward, Resolve: fail})
			eventually(t, "forwarded", func() bool { return o.Stats().Forwarded == 1 })
			e := s.events[0]
			if want := pratique.EventID("test", e.Ref, fmt.Sprint(nameOf(t, o), " unresolved ",
				epoch.UnixNano())); e.ID != want || !e.Ref.Digest.IsZero() {
				t.Errorf("forwarded %+v, want id %s", e, want)
			}
			eventually(t, "a reported error", func() bool { return len(reported.all()) == 1 })
			if !strings.Contains(reported.all()[0], "app:v1") {
				t.Errorf("reported %q", reported.all())
			}
			if tag, err := o.Tag(e.Ref); err != nil || tag != (pratique.KnownTag{}) {
				t.Errorf("tag is %+v, %v", tag, err)
			}
		})
	}
}

func TestRegistryThatDoesNotAnswerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	slow := tagged("app:v1", "")
	slow.Ref.Repository.Registry = "tarpit.example.com"
	for i := range 3 * maxResolves {
		slow.Ref.Tag = fmt.Sprint("v", i)
		publish(t, o, 1, slow)
	}
	publish(t, o, 2, tagged("app:v1", ""), tagged("app:v2", "A"))
	release := make(chan struct{})
	var s sink
	var under, most atomic.Int64
	run(t, o, Downstream{Forward: s.forward, Resolve: func(ctx context.Context,
		ref pratique.ImageRef) (pratique.Digest, error) {
		if ref.Repository.Registry != slow.Ref.Repository.Registry {
			return digest("A"), nil
		}
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer under.Add(-1)
		select {
		case <-release:
			return digest("A"), nil
		case <-ctx.Done():
			return pratique.Digest{}, ctx.Err()
		}
	}})
	eventually(t, "the others were forwarded", func() bool { return len(s.refs()) == 2 })
	close(release)
	eventually(t, "all were forwarded", func() bool { return len(s.refs()) == 2+3*maxResolves })
	if most.Load() > maxPerRegistry {
		t.Errorf("%d calls at once", most.Load())
	}
}

func TestResolverThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	o.pace.resolveTimeout = 5 * time.Millisecond
	publish(t, o, 1, tagged("app:v1", ""))
	var s sink
	var first sync.Once
	run(t, o, Downstream{Forward: s.forward, Resolve: func(ctx context.Context,
		_ pratique.ImageRef) (pratique.Digest, error) {
		hang := false
		first.Do(func() { hang = true })
		if hang {
			<-ctx.Done()
			return pratique.Digest{}, ctx.Err()
		}
		return digest("A"), nil
	}})
	eventually(t, "forwarded", func() bool { return len(s.refs()) == 1 })
}

func TestUnresolvedPushesOutliveARestart(t *testing.T) {
	t.Parallel()
	c := Config{File: t.TempDir() + "/outbox.db"}
	o := open(t, c)
	publish(t, o, 1, tagged("app:v1", ""))
	stop := run(t, o, Downstream{Forward: new(sink).forward, Resolve: func(ctx context.Context,
		_ pratique.ImageRef) (pratique.Digest, error) {
		<-ctx.Done()
		return pratique.Digest{}, ctx.Err()
	}})
	stop()
	before := o.Stats()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, c)
	if st := o.Stats(); st.Unresolved != 1 || st.Bytes != before.Bytes || st.Bytes == 0 {
		t.Errorf("%+v, before %+v", st, before)
	}
	publish(t, o, 0, tagged("app:v1", ""))
	var s sink
	run(t, o, Downstream{Forward: s.forward, Resolve: answer("A")})
	eventually(t, "forwarded", func() bool { return len(s.refs()) == 1 })
}
