package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
)

func unavailable() error { return pratique.Errorf(pratique.Unavailable, "head", "no answer") }

func TestWaitsAsLongAsTheRegistrySays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind              pratique.Kind
		told, least, most time.Duration
	}{
		"rate limited": {pratique.RateLimited, 20 * time.Minute, 20 * time.Minute,
			22 * time.Minute},
		"unavailable": {pratique.Unavailable, 5 * time.Minute, 5 * time.Minute,
			330 * time.Second},
		"longer than we wait": {pratique.RateLimited, 48 * time.Hour, 24 * time.Hour, 1584 * time.Minute},
		"until tomorrow":      {pratique.RateLimited, 20 * time.Hour, 20 * time.Hour, 22 * time.Hour},
		"hardly at all":       {pratique.RateLimited, time.Millisecond, time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b")
				w.config.Interval = 72 * time.Hour
				for i := range 5 {
					w.registry.push(repo("a"), fmt.Sprint(i), "x")
					w.registry.push(repo("b"), fmt.Sprint(i), "x")
				}
				var refused time.Time
				w.registry.before = func(q request) error {
					if q.tag == "2" && refused.IsZero() {
						refused = time.Now()
						return pratique.Wrap(pratique.Unknown, "look up", "",
							throttled{pratique.Errorf(tt.kind, "head", "slow down"), tt.told})
					}
					return nil
				}
				defer w.run()()
				w.until("it was refused", func() bool { return !refused.IsZero() })
				synctest.Wait()
				s := w.status("a")
				if wait := s.RetryAt.Sub(refused); s.State != Waiting || wait < tt.least ||
					wait > tt.most || !strings.Contains(s.Error, "slow down") {
					t.Errorf("%+v", s)
				}
				w.rests("a")
				w.rests("b")
				var next time.Time
				for _, q := range w.registry.sent() {
					if q.at.After(refused) && next.IsZero() {
						next = q.at
					}
				}
				if gap := next.Sub(refused); gap < tt.least || gap > tt.most {
					t.Errorf("the registry was asked again after %s", gap)
				}
				if s := w.status("a"); s.State != Idle || s.Error != "" || !s.RetryAt.IsZero() ||
					s.News != 5 || s.Requests != 7 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestSweepThatWaitsForADayStopsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.push(repo("a"), "v1", "x")
		w.registry.before = func(request) error {
			return throttled{pratique.Errorf(pratique.RateLimited, "head", "slow down"), 23 * time.Hour}
		}
		stop := w.run()
		w.until("it waits", func() bool {
			return w.status("a").State == Waiting && !w.status("a").RetryAt.IsZero()
		})
		if wait := time.Until(w.status("a").RetryAt); wait < 22*time.Hour {
			t.Errorf("it goes on in %s", wait)
		}
		before := time.Now()
		stop()
		if took := time.Since(before); took > time.Second {
			t.Errorf("it stopped after %s", took)
		}
	})
}

func TestBacksOffWithoutAdvice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.push(repo("a"), "v1", "v1")
		left := 5
		w.registry.before = func(q request) error {
			if left--; left >= 0 {
				return unavailable()
			}
			return nil
		}
		defer w.run()()
		if s := w.rests("a"); s.State != Idle || s.News != 1 {
			t.Errorf("%+v", s)
		}
		sent := w.registry.sent()
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second,
			8 * time.Second, 16 * time.Second} {
			if gap := sent[i+1].at.Sub(sent[i].at); gap < want*9/10 || gap > want*11/10 {
				t.Errorf("the wait %d is %s, want about %s", i+1, gap, want)
			}
		}
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	limited := pratique.Errorf(pratique.RateLimited, "x", "x")
	for _, test := range []struct {
		err    error
		tries  int
		random float64
		want   time.Duration
	}{
		{unavailable(), 1, 0, time.Second},
		{unavailable(), 3, 1, 3600 * time.Millisecond},
		{unavailable(), 60, 0, 5 * time.Minute},
		{limited, 1, 0, 10 * time.Second},
		{limited, 1, 1, 9 * time.Second},
		{throttled{limited, 20 * time.Minute}, 7, 0, 20 * time.Minute},
		{throttled{limited, 20 * time.Minute}, 7, 1, 22 * time.Minute},
		{throttled{limited, 48 * time.Hour}, 1, 0, 24 * time.Hour},
		{throttled{limited, time.Millisecond}, 1, 0, time.Second},
		{throttled{limited, 0}, 1, 0, 10 * time.Second},
	} {
		if got := pause(test.err, test.tries, test.random); got != test.want {
			t.Errorf("%v, %d tries, random %v: %s, want %s", test.err, test.tries, test.random, got,
				test.want)
		}
	}
}

func TestOutageInterruptsASweepAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]pratique.Kind{"no answer": pratique.Unavailable,
		"limit": pratique.RateLimited} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b")
				for i := range 50 {
					w.registry.push(repo("a"), fmt.Sprint(i), "x")
				}
				w.registry.push(repo("b"), "v1", "x")
				down := false
				w.registry.before = func(q request) error {
					if down = down || q.tag == "30"; down && q.repo == repo("a") {
						return pratique.Errorf(kind, "ask", "no")
					}
					return nil
				}
				defer w.run()()
				s := w.rests("a")
				if s.State != Failed || !strings.Contains(s.Error, "no") || s.News != 30 ||
					!s.RetryAt.IsZero() || s.Next.Before(s.Finished) {
					t.Errorf("%+v", s)
				}
				if took := s.Finished.Sub(s.Started); took > time.Hour {
					t.Errorf("others of the registry waited for %s", took)
				}
				if s := w.rests("b"); s.State != Idle || s.News != 1 {
					t.Errorf("%+v", s)
				}
				if len(w.trouble) != 1 ||
					!strings.Contains(w.trouble[0].Error(), "registry.example/a") ||
					pratique.KindOf(w.trouble[0]) != kind {
					t.Errorf("trouble %v", w.trouble)
				}
				w.registry.answer(nil)
				before := len(w.registry.heads())
				w.until("the rest is found", func() bool { return len(w.intake.found()) == 51 })
				for i, q := range slices.DeleteFunc(w.registry.heads()[before:], func(q request) bool {
					return q.repo != repo("a")
				})[:20] {
					if q.tag != fmt.Sprint(30+i) {
						t.Fatalf("head %d is for %s", i, q.tag)
					}
				}
				// What was passed before the outage may have changed during it: a whole sweep
				// follows.
				w.until("a whole sweep", func() bool { return w.status("a").Unchanged == 50 })
			})
		})
	}
}

func TestRefusalEndsASweepUntilTheNext(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind pratique.Kind
		tag  string
	}{
		"no such repository":  {pratique.NotFound, ""},
		"denied":              {pratique.Denied, ""},
		"no list":             {pratique.Corrupt, ""},
		"denied in the midst": {pratique.Denied, "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a")
				for i := range 5 {
					w.registry.push(repo("a"), fmt.Sprint(i), "x")
				}
				w.registry.before = func(q request) error {
					if q.tag == tt.tag {
						return pratique.Errorf(tt.kind, "ask", "go away")
					}
					return nil
				}
				defer w.run()()
				s := w.rests("a")
				refusals := len(w.registry.sent())
				if s.State != Failed || !strings.Contains(s.Error, "go away") ||
					s.Finished.Sub(s.Started) > 10*time.Second || len(w.trouble) != 1 {
					t.Errorf("%+v %v", s, w.trouble)
				}
				time.Sleep(50 * time.Minute)
				if n := len(w.registry.sent()); n != refusals {
					t.Errorf("asked %d more times before the time", n-refusals)
				}
				w.registry.answer(nil)
				w.until("it goes well", func() bool { return w.status("a").State == Idle })
				if s := w.status("a"); s.Tags != 5 || s.Error != "" {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A manifest that a registry has lost, or one of a kind we do not know, must not keep the other
// tags from being found.
func TestBrokenTagsArePassedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 40 {
			w.registry.push(repo("a"), fmt.Sprintf("%02d", i), "x")
		}
		broken := map[string]error{
			"03": unavailable(), "04": unavailable(), "05": pratique.Errorf(pratique.Unknown,
				"head", "?"),
			"10": pratique.Errorf(pratique.Invalid, "head", "sha512"),
			"11": pratique.Errorf(pratique.Corrupt, "head", "?"),
			"39": unavailable(),
		}
		w.registry.before = func(q request) error { return broken[q.tag] }
		defer w.run()()
		s := w.rests("a")
		if s.State != Idle || s.News != 34 || s.Skipped[SkippedUnreadable] != 6 || s.Tags != 40 {
			t.Errorf("%+v", s)
		}
		if took := s.Finished.Sub(s.Started); took > 5*time.Minute {
			t.Errorf("it took %s", took)
		}
		if len(w.trouble) != 1 || !strings.Contains(w.trouble[0].Error(), "registry.example/a:03") {
			t.Errorf("trouble %v", w.trouble)
		}
	})
}

func TestRegistryThatHasOnlyItsListsStopsTheSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 100 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.before = func(q request) error {
			if q.tag == "" {
				return nil
			}
			return unavailable()
		}
		defer w.run()()
		if s := w.rests("a"); s.State != Failed || s.Tags != maxBroken ||
			s.Finished.Sub(s.Started) > 5*time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

func TestStoreThatDoesNotTakeAPushIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, kind := range []pratique.Kind{pratique.Unavailable, pratique.Invalid, pratique.Denied,
		pratique.NotFound} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "a")
			w.registry.push(repo("a"), "v1", "v1")
			w.registry.push(repo("a"), "v2", "v2")
			w.intake.refuse = pratique.Errorf(kind, "store", "/var/lib/secret.db is full")
			defer w.run()()
			w.until("it waits", func() bool { return w.status("a").State == Waiting })
			if s := w.status("a"); strings.Contains(s.Error, "secret") ||
				!strings.Contains(s.Error, "own store") {
				t.Errorf("error %q", s.Error)
			}
			w.intake.mu.Lock()
			w.intake.refuse = nil
			w.intake.mu.Unlock()
			if s := w.rests("a"); s.State != Idle || s.News != 2 || s.Tags != 2 || s.Error != "" {
				t.Errorf("%+v", s)
			}
			if len(w.trouble) == 0 || !strings.Contains(w.trouble[0].Error(), "secret") {
				t.Errorf("trouble %v", w.trouble)
			}
		})
	}
}
