package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

func TestFindsWhatNoWebhookToldOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "team/app")
		app := repo("team/app")
		w.config.Repositories[0].Tags = []pratique.Glob{"v*", "sha256-*", "latest"}
		for _, tag := range []string{"v1", "v2", "v3", "v4", "v5", "v6", "other", "latest",
			"sha256-" + digest("x").Hex() + ".sig", "sha256-" + digest("x").Hex()} {
			w.registry.push(app, tag, tag)
		}
		w.registry.invalid = 2
		w.intake.report(app, "v1", "v1")
		w.intake.report(app, "v3", "before")
		w.intake.tags[ref(app, "v4")] = pratique.KnownTag{Digest: digest("before"), Generation: 3,
			Waiting: true}
		w.registry.before = func(q request) error {
			switch q.tag {
			case "v5":
				w.registry.remove(app, "v5") // after it was listed
			case "v6":
				w.intake.report(app, "v6", "v6") // while it is looked at
			}
			return nil
		}
		started := time.Now()
		defer w.run()()
		s := w.rests("team/app")
		want := pratique.SweepTally{Tags: 12, Unchanged: 1, News: 3, Requests: 7, Skipped: map[string]int{
			SkippedSignature: 2, SkippedFilter: 1, SkippedWaiting: 1, SkippedVanished: 1,
			SkippedOvertaken: 1, SkippedInvalid: 2,
		}}
		if diff := cmp.Diff(want, s.SweepTally); diff != "" || s.State != Idle || s.Error != "" ||
			!s.Started.Equal(started) || s.Finished.Before(started) {
			t.Errorf("%+v %s", s, diff)
		}
		if found := w.intake.found(); !slices.Equal(found, []string{"team/app:v2", "team/app:v3",
			"team/app:latest"}) {
			t.Fatalf("found %v", found)
		}
		e := w.intake.events[1]
		if e.Ref.Digest != digest("v3") || e.Source != "reconcile" ||
			e.Priority != pratique.PriorityManual || !e.RefreshOnly || e.ReceivedAt.IsZero() ||
			e.ReceivedAt.Location() != time.UTC {
			t.Errorf("%+v", e)
		}
		for _, q := range w.registry.heads() {
			if want := map[string]pratique.Digest{"v1": digest("v1"),
				"v3": digest("before")}[q.tag]; q.known != want {
				t.Errorf("%s was asked for with %v, want %v", q.tag, q.known, want)
			}
		}

		w.registry.answer(nil)
		before := len(w.registry.heads())
		if _, err := w.r.Request(nil); err != nil {
			t.Fatal(err)
		}
		if s := w.rests("team/app"); s.News != 0 || s.Unchanged != 5 {
			t.Errorf("the second sweep: %+v", s)
		}
		for _, q := range w.registry.heads()[before:] {
			if q.known.IsZero() {
				t.Errorf("%s was asked for without a condition", q.tag)
			}
		}
		w.registry.push(app, "v1", "moved")
		w.registry.push(app, "v1", "v1") // there and back: nothing to be seen
		w.registry.push(app, "v2", "moved")
		w.until("it is found at its time", func() bool { return len(w.intake.found()) == 4 })
		if e := w.intake.events[3]; e.Ref.Tag != "v2" || e.Ref.Digest != digest("moved") ||
			time.Since(started) < 50*time.Minute || len(w.trouble) > 0 {
			t.Errorf("%+v after %s, %v", e, time.Since(started), w.trouble)
		}
	})
}

func TestSweepsComeAtTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "team/app")
		w.registry.push(repo("team/app"), "v1", "v1")
		w.config.Interval = 100 * time.Minute
		stop := w.run()
		w.until("20 sweeps", func() bool { return len(w.registry.sent()) >= 40 })
		lists := slices.DeleteFunc(w.registry.sent(), func(q request) bool { return q.tag != "" })
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(lists); i++ {
			gap := lists[i].at.Sub(lists[i-1].at)
			gaps[gap] = true
			if gap < 90*time.Minute || gap > 110*time.Minute {
				t.Errorf("%s between sweeps", gap)
			}
		}
		if len(gaps) < 3 {
			t.Errorf("no jitter: %v", gaps)
		}
		if s := w.status("team/app"); s.State != Idle || s.Next.Sub(s.Started) < 90*time.Minute ||
			s.Next.Sub(s.Started) > 110*time.Minute {
			t.Errorf("%+v", s)
		}
		stop()
		// A restart is no reason to sweep.
		last := w.status("team/app")
		time.Sleep(10 * time.Minute)
		defer w.run()()
		synctest.Wait()
		if s := w.status("team/app"); s.State != Idle || !s.Finished.Equal(last.Finished) ||
			s.Unchanged != 1 {
			t.Errorf("%+v, before %+v", s, last)
		}
		w.until("the next", func() bool { return len(w.registry.sent()) > 40 })
		if gap := w.registry.sent()[40].at.Sub(lists[19].at); gap < 90*time.Minute ||
			gap > 111*time.Minute {
			t.Errorf("%s between sweeps over a restart", gap)
		}
	})
}

// A registry that does not tell digests is asked for the manifest as well.
func TestSecondRequestForATagIsOfTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.config.RequestsPerMinute = map[string]int{"registry.example": 30}
		for i := range 30 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.more = 1
		started := time.Now()
		defer w.run()()
		s := w.rests("a")
		// 61 requests, less what is let through at once.
		if took, least := s.Finished.Sub(started), 58*2*time.Second; took < least || took > least+
			10*time.Second {
			t.Errorf("it took %s, want about %s", took, least)
		}
		if s.Requests != 61 || s.News != 30 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBudgetIsOfTheRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		third := pratique.Repository{Registry: "other.example", Path: "c"}
		w.config.Repositories = append(w.config.Repositories, Repository{Repository: third})
		w.config.RequestsPerMinute = map[string]int{"registry.example": 30}
		for i := range 60 {
			for _, r := range []pratique.Repository{repo("a"), repo("b"), third} {
				w.registry.push(r, fmt.Sprint(i), "x")
			}
		}
		w.registry.took = 10 * time.Millisecond
		started := time.Now()
		defer w.run()()
		ended := map[string]time.Duration{}
		for _, path := range []string{"a", "b", "c"} {
			ended[path] = w.rests(path).Finished.Sub(started)
		}
		// 61 requests each, less what is let through at once.
		for path, least := range map[string]time.Duration{"a": 58 * 2 * time.Second,
			"b": 119 * 2 * time.Second, "c": 55 * time.Second} {
			if got := ended[path]; got < least || got > least+10*time.Second {
				t.Errorf("%s took %s, want about %s", path, got, least)
			}
		}
		if w.registry.most != 1 {
			t.Errorf("%d requests to one registry at once", w.registry.most)
		}
		sent := w.registry.sent()
		for i, q := range sent {
			n := 0
			for _, later := range sent[i:] {
				if later.repo.Registry == q.repo.Registry && later.at.Sub(q.at) < time.Minute {
					n++
				}
			}
			if most := map[string]int{"registry.example": 33,
				"other.example": 66}[q.repo.Registry]; n > most {
				t.Fatalf("%d requests to %s within a minute", n, q.repo.Registry)
			}
		}
	})
}

func TestRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		for _, path := range []string{"a", "b", "c"} {
			w.registry.push(repo(path), "v1", "v1")
		}
		defer w.run()()
		for _, path := range []string{"a", "b", "c"} {
			w.rests(path)
		}
		before := len(w.registry.sent())
		_, err := w.r.Request([]pratique.Repository{repo("a"), repo("d")})
		if pratique.KindOf(err) != pratique.Invalid ||
			!strings.Contains(err.Error(), "registry.example/d is not") ||
			!strings.Contains(err.Error(), "registry.example/b, registry.example/c") {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := len(w.registry.sent()); n != before {
			t.Errorf("%d requests after a refusal", n-before)
		}
		accepted, err := w.r.Request([]pratique.Repository{repo("c"), repo("a"), repo("c")})
		if err != nil || !slices.Equal(accepted, []pratique.Repository{repo("a"), repo("c")}) {
			t.Errorf("%v %v", accepted, err)
		}
		if a, b := w.status("a"), w.status("b"); a.State != Waiting || b.State != Idle {
			t.Errorf("at once: %s and %s", a.State, b.State)
		}
		w.rests("a")
		w.rests("c")
		if n := len(w.registry.sent()); n != before+4 {
			t.Errorf("%d requests", n-before)
		}
		if accepted, err := w.r.Request(nil); err != nil || len(accepted) != 3 {
			t.Errorf("%v %v", accepted, err)
		}
	})
}

// Who pushes and asks for a sweep while one is under way must not be told that it found nothing.
func TestRequestDuringASweepIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.push(repo("a"), "v1", "v1")
		w.registry.push(repo("a"), "v2", "v2")
		asked := false
		w.registry.before = func(q request) error {
			if q.tag != "v2" || asked {
				return nil
			}
			asked = true
			w.registry.push(repo("a"), "v1", "new")
			if _, err := w.r.Request([]pratique.Repository{repo("a")}); err != nil {
				t.Error(err)
			}
			return nil
		}
		defer w.run()()
		w.rests("a")
		if found := w.intake.found(); !slices.Equal(found, []string{"a:v1", "a:v2", "a:v1"}) {
			t.Errorf("found %v", found)
		}
	})
}

func TestOnDemandGoesFirstButNotForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		for _, path := range []string{"a", "b", "c"} {
			w.registry.push(repo(path), "v1", "v1")
		}
		w.registry.took = time.Minute
		stop := w.run()
		time.Sleep(30 * time.Second) // in the first request for a
		if _, err := w.r.Request([]pratique.Repository{repo("c")}); err != nil {
			t.Fatal(err)
		}
		if s := w.status("b"); s.State != Waiting {
			t.Errorf("b is %s while a is swept", s.State)
		}
		w.rests("b")
		var order []string
		for _, q := range w.registry.sent() {
			if q.tag == "" {
				order = append(order, q.repo.Path)
			}
		}
		if !slices.Equal(order, []string{"a", "c", "b"}) {
			t.Errorf("order %v", order)
		}
		// Somebody asks for c without end: the others still get their turn.
		from := time.Now()
		for time.Since(from) < 4*time.Hour {
			if _, err := w.r.Request([]pratique.Repository{repo("c")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		for _, path := range []string{"a", "b"} {
			if s := w.status(path); s.Started.Before(from) {
				t.Errorf("%s was not swept: %+v", path, s)
			}
		}
		stop()
	})
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	good := Repository{Repository: repo("a")}
	for name, tt := range map[string]struct {
		config Config
		want   string
	}{
		"no registry": {Config{Repositories: []Repository{{Repository: pratique.Repository{Path: "a"}}}}, "registry"},
		"twice":       {Config{Repositories: []Repository{good, good}}, "twice"},
		"pattern": {Config{Repositories: []Repository{{Repository: repo("a"),
			Tags: []pratique.Glob{"["}}}}, "pattern"},
		"interval": {Config{Interval: -1}, "interval"},
		"budget": {Config{RequestsPerMinute: map[string]int{"registry.example": 0}},
			"registry.example"},
	} {
		if _, err := New(tt.config, newRegistry(), newIntake(),
			newBookmarks()); pratique.KindOf(err) != pratique.Invalid ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // nothing to sweep
		stop := w.run()
		synctest.Wait()
		if err := w.r.Run(t.Context()); pratique.KindOf(err) != pratique.Conflict {
			t.Errorf("a second run: %v", err)
		}
		if _, err := w.r.Request(nil); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("a request without repositories: %v", err)
		}
		stop()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestBookmarksThatFailCostOnlyRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.etags = true
		w.registry.push(repo("a"), "v1", "v1")
		w.bookmarks.refuse = errors.New("no")
		stop := w.run()
		w.rests("a")
		stop()
		if len(w.intake.found()) != 1 || len(w.trouble) == 0 {
			t.Errorf("found %v, trouble %v", w.intake.found(), w.trouble)
		}
		w.bookmarks.refuse = nil
		for name := range w.bookmarks.values {
			t.Errorf("%s was kept", name)
		}
		w.bookmarks.values["reconcile/registry.example/a"] = []byte("{")
		w.bookmarks.values["reconcile-tags/registry.example/a"] = []byte("[]")
		w.trouble = nil
		stop = w.run()
		if s := w.rests("a"); s.Unchanged != 1 || len(w.trouble) != 2 ||
			pratique.KindOf(w.trouble[0]) != pratique.Corrupt {
			t.Errorf("%+v %v", s, w.trouble)
		}
		stop()
	})
}
