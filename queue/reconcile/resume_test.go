package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestInterruptedSweepGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 500 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.pageSize = 150
		started := time.Now()
		// Stopped in the midst of a page, at its end, and at once.
		for _, n := range []int{70, 150, 150, 400} {
			stop := w.run()
			w.until(fmt.Sprint(n, " tags"), func() bool { return len(w.registry.heads()) >= n })
			stop()
			if s := w.status("a"); s.State == Sweeping || !s.Finished.IsZero() {
				t.Errorf("stopped: %+v", s)
			}
		}
		defer w.run()()
		s := w.rests("a")
		heads := map[string]int{}
		for _, q := range w.registry.heads() {
			heads[q.tag]++
		}
		for tag, n := range heads {
			if n != 1 {
				t.Errorf("%s was looked at %d times", tag, n)
			}
		}
		if len(heads) != 500 || len(w.intake.found()) != 500 || s.Tags != 500 || s.News != 500 ||
			!s.Started.Equal(started) {
			t.Errorf("%d heads, %d found, %+v", len(heads), len(w.intake.found()), s)
		}
		if lists := len(w.registry.sent()) - len(w.registry.heads()); lists > 4+4 ||
			s.Requests != len(w.registry.sent()) {
			t.Errorf("%d lists, %d requests of %d counted", lists, s.Requests, len(w.registry.sent()))
		}
	})
}

func TestCrashCostsAHundredRequestsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 500 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		stop := w.run()
		w.until("250 tags", func() bool { return len(w.registry.heads()) >= 250 })
		left := w.bookmarks.copy() // what a kill leaves
		stop()
		w.bookmarks = left
		stop = w.run()
		w.rests("a")
		stop()
		if n := len(w.registry.heads()); n > 600 || len(w.intake.found()) != 500 {
			t.Errorf("%d requests for tags, %d found", n, len(w.intake.found()))
		}
	})
}

func TestCrashWhileWaitingCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 50 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.answer(func(q request) error {
			if q.tag == "30" {
				return throttled{pratique.Errorf(pratique.RateLimited, "head", "no"), 30 * time.Minute}
			}
			return nil
		})
		stop := w.run()
		w.until("it waits", func() bool { return w.status("a").State == Waiting })
		left := w.bookmarks.copy()
		stop()
		w.bookmarks = left
		w.registry.answer(nil)
		defer w.run()()
		if s := w.rests("a"); s.News != 50 || len(w.registry.heads()) != 51 {
			t.Errorf("%d requests for tags, %+v", len(w.registry.heads()), s)
		}
	})
}

func TestAskedForSweepStartsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 10 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.before = func(q request) error {
			if q.tag == "5" {
				return pratique.Errorf(pratique.RateLimited, "head", "no")
			}
			return nil
		}
		defer w.run()()
		w.rests("a")
		w.registry.answer(nil)
		w.registry.push(repo("a"), "0", "new")
		if _, err := w.r.Request(nil); err != nil {
			t.Fatal(err)
		}
		if s := w.rests("a"); s.Tags != 10 || s.News != 6 ||
			!slices.Contains(w.intake.found()[5:], "a:0") {
			t.Errorf("%+v %v", s, w.intake.found())
		}
	})
}

func TestRegistryThatDoesNotTakeItsQuestionAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for i := range 20 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		w.registry.pageSize = 10
		stop := w.run()
		w.until("the second page", func() bool { return len(w.registry.heads()) >= 15 })
		stop()
		w.registry.before = func(q request) error {
			if q.after != "" {
				w.registry.answer(nil)
				return pratique.Errorf(pratique.Invalid, "list", "this page has expired")
			}
			return nil
		}
		defer w.run()()
		if s := w.rests("a"); s.State != Idle || s.Tags != 20 || s.Unchanged != 15 || s.News != 5 {
			t.Errorf("%+v", s)
		}
	})
}

// endless is a registry whose list has always another page.
type endless struct{ *fakeRegistry }

func (e endless) Tags(_ context.Context, r pratique.Repository, after,
	_ string) (pratique.TagPage, error) {
	return pratique.TagPage{Next: after + "x"[:len(after)/1e6+1]}, e.enter(request{repo: r})
}

func TestListWithoutEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.config.RequestsPerMinute = map[string]int{"registry.example": 1e9}
		r, err := New(w.config, endless{w.registry}, w.intake, w.bookmarks)
		if err != nil {
			t.Fatal(err)
		}
		w.r = r
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = r.Run(ctx) }()
		s := w.rests("a")
		cancel()
		<-done
		if s.State != Failed || !strings.Contains(s.Error, "more than") ||
			len(w.registry.sent()) != maxPages {
			t.Errorf("%+v after %d pages", s, len(w.registry.sent()))
		}
		if mark := string(w.bookmarks.values["reconcile/registry.example/a"]); strings.Contains(mark, "resume") {
			t.Errorf("it would go on there: %.200s", mark)
		}
	})
}

func TestUnchangedListIsNotSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.etags, w.registry.invalid = true, 1
		w.registry.push(repo("a"), "v1", "v1")
		w.registry.push(repo("a"), "v2", "v2")
		sweep := func() pratique.Sweep {
			t.Helper()
			stop := w.run()
			defer stop()
			if _, err := w.r.Request(nil); err != nil {
				t.Fatal(err)
			}
			return w.rests("a")
		}
		etag := func() string {
			lists := slices.DeleteFunc(w.registry.sent(), func(q request) bool { return q.tag != "" })
			return lists[len(lists)-1].etag
		}
		if s := sweep(); etag() != "" || s.News != 2 {
			t.Errorf("the first: %q %+v", etag(), s)
		}
		// The list is the same, and a tag has moved all the same.
		w.registry.push(repo("a"), "v2", "moved")
		if s := sweep(); etag() == "" || s.News != 1 || s.Unchanged != 1 ||
			s.Skipped[SkippedInvalid] != 1 {
			t.Errorf("the second: %q %+v", etag(), s)
		}
		w.registry.push(repo("a"), "v3", "v3")
		if s := sweep(); etag() == "" || s.News != 1 || s.Unchanged != 2 {
			t.Errorf("the third: %q %+v", etag(), s)
		}
		// Too long to be kept.
		for i := range 400 {
			w.registry.push(repo("a"), fmt.Sprint(strings.Repeat("x", 100), i), "x")
		}
		if s := sweep(); s.News != 400 {
			t.Errorf("the fourth: %+v", s)
		}
		if sweep(); etag() != "" {
			t.Errorf("asked with %q for a list that is not kept", etag())
		}
		for name, value := range w.bookmarks.values {
			if len(value) > maxListBytes {
				t.Errorf("%s has %d bytes", name, len(value))
			}
		}
	})
}

func TestListOfSeveralPagesIsAskedForWithoutCondition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.registry.etags, w.registry.pageSize = true, 2
		for i := range 5 {
			w.registry.push(repo("a"), fmt.Sprint(i), "x")
		}
		defer w.run()()
		w.rests("a")
		if _, err := w.r.Request(nil); err != nil {
			t.Fatal(err)
		}
		if s := w.rests("a"); s.Unchanged != 5 {
			t.Errorf("%+v", s)
		}
		for _, q := range w.registry.sent() {
			if q.etag != "" {
				t.Errorf("%+v", q)
			}
		}
	})
}
