package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

func TestDuplicates(t *testing.T) {
	t.Parallel()
	a, b := tagged("app:v1", "A"), tagged("app:v1", "B")
	other := a
	other.Source = "other"
	bare := tagged("app@"+digest("A").String(), "A")
	cases := []struct {
		name   string
		events []pratique.Event
		stored []int // by event
	}{
		{"a tag that goes A, B, A is three pushes", []pratique.Event{a, b, a}, []int{1, 1, 1}},
		{"also with delivery ids", []pratique.Event{delivered(a, "1"), delivered(b, "2"),
			delivered(a, "3")}, []int{1, 1, 1}},
		{"a repeat of the newest digest is a duplicate", []pratique.Event{a, a, b, b}, []int{1, 0, 1, 0}},
		{"whoever told of it", []pratique.Event{a, other, b, other}, []int{1, 0, 1, 1}},
		{"also with another delivery id", []pratique.Event{delivered(a, "1"), delivered(a, "2")},
			[]int{1, 0}},
		{"A delivered again after B", []pratique.Event{delivered(a, "1"), b, delivered(a, "1")},
			[]int{1, 1, 0}},
		{"a duplicate of A delivered again after B", []pratique.Event{a, delivered(a, "1"), b,
			delivered(a, "1")}, []int{1, 0, 1, 0}},
		{"two refs in one delivery", []pratique.Event{delivered(a, "1"),
			delivered(tagged("app:v2", "A"), "1")}, []int{1, 1}},
		{"one delivery id of two senders", []pratique.Event{delivered(a, "1"), b,
			delivered(other, "1")}, []int{1, 1, 1}},
		{"a digest without a tag is known for ever",
			[]pratique.Event{bare, tagged("app@"+digest("B").String(), "B"), bare}, []int{1, 1, 0}},
		{"a digest without a tag is not its tag", []pratique.Event{bare, a, bare}, []int{1, 1, 0}},
		{"repositories do not know each other", []pratique.Event{a, tagged("web:v1", "A")}, []int{1, 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			single, whole := open(t, Config{}), open(t, Config{})
			var want []pratique.Event
			total := 0
			for i, e := range c.events {
				publish(t, single, c.stored[i], e)
				if c.stored[i] == 1 {
					want = append(want, e)
				}
				total += c.stored[i]
			}
			wantLog(t, single, want...)
			publish(t, whole, total, c.events...)
			wantLog(t, whole, want...)
			if s := whole.Stats(); int(s.Stored) != total ||
				int(s.Duplicates) != len(c.events)-total || s.Waiting != total {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestEventIDIsOfSourceRefAndGeneration(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	a, b := tagged("app:v1", "A"), tagged("app:v1", "B")
	publish(t, o, 3, a, b, a)
	for i, e := range logOf(t, o) {
		if want := pratique.EventID(e.Source, []pratique.ImageRef{a.Ref, b.Ref, a.Ref}[i],
			fmt.Sprint(nameOf(t, o), " ", i+1)); e.ID != want {
			t.Errorf("event %d has id %s, want %s", i, e.ID, want)
		}
	}
	tag, err := o.Tag(a.Ref)
	if want := (pratique.KnownTag{Digest: a.Ref.Digest, Generation: 3}); err != nil || tag != want {
		t.Errorf("tag is %+v, %v", tag, err)
	}
}

// Whoever moves a damaged file away begins to count anew: an id that was given before would be
// taken for an event that has ended.
func TestANewFileGivesOtherIDs(t *testing.T) {
	t.Parallel()
	one, other := open(t, Config{}), open(t, Config{})
	publish(t, one, 1, tagged("app:v1", "A"))
	publish(t, other, 1, tagged("app:v1", "A"))
	if a, b := logOf(t, one)[0].ID, logOf(t, other)[0].ID; a == b {
		t.Errorf("both gave %s", a)
	}
}

func TestEventKeepsWhatTheSenderSaid(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	e := delivered(tagged("app:v1", "A"), "<1>")
	e.Actor, e.OccurredAt = `"ci" & Ünal`, epoch.Add(-time.Minute)
	publish(t, o, 1, e)
	got := logOf(t, o)[0]
	e.ID = got.ID
	if got != e {
		t.Errorf("got %+v, want %+v", got, e)
	}
}

func TestSenderIDsAreForgottenInTime(t *testing.T) {
	t.Parallel()
	clock := newClock()
	o := open(t, Config{Now: clock.now, Deliveries: time.Hour})
	a, b := delivered(tagged("app:v1", "A"), "1"), tagged("app:v1", "B")
	publish(t, o, 2, a, b)
	clock.advance(time.Hour)
	publish(t, o, 0, a)
	clock.advance(time.Second)
	publish(t, o, 1, a)
}

func TestOneRequestIsAllOrNone(t *testing.T) {
	t.Parallel()
	o := open(t, Config{MaxBytes: 2000})
	many := []pratique.Event{delivered(tagged("app:v0", "0"), "1"), tagged("web:latest", "")}
	for i := range 10 {
		many = append(many, tagged(fmt.Sprint("app:v", i), fmt.Sprint(i)))
	}
	_, err := o.Publish(t.Context(), many)
	wantKind(t, err, pratique.Unavailable)
	bad := tagged("app:v1", "A")
	bad.Ref.Tag = "../../etc"
	_, err = o.Publish(t.Context(), []pratique.Event{many[0], bad})
	wantKind(t, err, pratique.Invalid)
	wantLog(t, o)
	if s := o.Stats(); s.Waiting+s.Unresolved != 0 || s.Bytes != 0 || s.Stored != 0 ||
		s.RefusedFull != 1 || s.FailedCommits != 0 {
		t.Errorf("%+v", s)
	}
	publish(t, o, 2, many[:2]...)
}

func TestFullOutboxRefusesNewsAndSaysSo(t *testing.T) {
	t.Parallel()
	o := open(t, Config{MaxBytes: 3000})
	stored := 0
	var err error
	for i := 0; err == nil; i++ {
		if _, err = o.Publish(t.Context(),
			[]pratique.Event{tagged(fmt.Sprint("app:v", i), "A")}); err == nil {
			stored++
		}
	}
	wantKind(t, err, pratique.Unavailable)
	if !strings.Contains(err.Error(), "outbox is full") {
		t.Errorf("error is %q", err)
	}
	publish(t, o, 0, tagged("app:v0", "A")) // a duplicate needs no room
	_, err = o.Publish(t.Context(), []pratique.Event{tagged("app:unresolved", "")})
	wantKind(t, err, pratique.Unavailable)
	_, err = o.Publish(t.Context(), []pratique.Event{tagged("app:v0", "A"), tagged("app:new", "A")})
	wantKind(t, err, pratique.Unavailable)
	if s := o.Stats(); s.Waiting != stored || s.RefusedFull != 3 || s.Duplicates != 1 ||
		s.Bytes > s.MaxBytes {
		t.Errorf("stored %d, %+v", stored, s)
	}
	s := sink{}
	run(t, o, Downstream{Forward: s.forward})
	eventually(t, "room after forwarding", func() bool { return o.Stats().Bytes == 0 })
	publish(t, o, 1, tagged("app:new", "A"))
}

func TestRefusedChangeDoesNotSpoilItsTransaction(t *testing.T) {
	t.Parallel()
	o := open(t, Config{MaxBytes: 5000})
	store := func(events ...pratique.Event) *change {
		c := &change{done: make(chan error, 1)}
		c.apply = func(b *batch) error {
			for _, e := range events {
				p, err := newPush(e, epoch)
				if err != nil {
					return err
				}
				if _, err := b.publish(&p); err != nil {
					return err
				}
			}
			return nil
		}
		return c
	}
	var large []pratique.Event
	for i := range 100 {
		large = append(large, tagged(fmt.Sprint("large:v", i), "A"))
	}
	changes := []*change{store(tagged("app:v1", "A")), store(large...), store(tagged("app:v2", "A"))}
	o.flush(slices.Clone(changes))
	if err := <-changes[1].done; !errors.Is(err, errFull) {
		t.Errorf("large change: %v", err)
	}
	for _, i := range []int{0, 2} {
		if err := <-changes[i].done; err != nil {
			t.Errorf("change %d: %v", i, err)
		}
	}
	wantLog(t, o, tagged("app:v1", "A"), tagged("app:v2", "A"))
}

func TestEventThatCannotBeStoredIsInvalid(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	long := tagged("app:v1", "A")
	long.Actor = strings.Repeat("x", maxEvent)
	nothing := tagged("app:v1", "")
	nothing.Ref.Tag = ""
	for _, e := range []pratique.Event{{}, long, nothing} {
		_, err := o.Publish(t.Context(), []pratique.Event{e})
		wantKind(t, err, pratique.Invalid)
	}
	_, err := o.PublishUnlessChanged(t.Context(), tagged("app:v1", ""), pratique.KnownTag{})
	wantKind(t, err, pratique.Invalid)
}

func TestSweepYieldsToWhoeverWasFaster(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	a, b := tagged("app:v1", "A"), tagged("app:v1", "B")
	sweep := func(e pratique.Event, seen pratique.KnownTag, want bool) {
		t.Helper()
		stored, err := o.PublishUnlessChanged(t.Context(), e, seen)
		if err != nil || stored != want {
			t.Fatalf("stored %t, %v; want %t", stored, err, want)
		}
	}
	seen, err := o.Tag(a.Ref)
	if err != nil || seen != (pratique.KnownTag{}) {
		t.Fatalf("unknown tag is %+v, %v", seen, err)
	}
	sweep(a, seen, true)
	sweep(b, seen, false) // it has a generation now
	seen, _ = o.Tag(a.Ref)
	sweep(a, seen, false) // known
	publish(t, o, 1, tagged("app:v1", ""))
	sweep(b, seen, false) // a push waits
	if waits, _ := o.Tag(a.Ref); !waits.Waiting || waits.Generation != 2 {
		t.Errorf("tag is %+v", waits)
	}
	wantLog(t, o, a)
}

// What a sweep took in first is still to be deployed when its sender reports it: the sweep's event
// ordered nothing.
func TestReportAfterASweepIsNews(t *testing.T) {
	t.Parallel()
	a, b := tagged("app:v1", "A"), tagged("app:v1", "B")
	swept := func(e pratique.Event) pratique.Event {
		e.RefreshOnly, e.Source = true, "reconcile"
		return e
	}
	unknown := tagged("app@"+a.Ref.Digest.String(), "A")
	unknown.TagUnknown = true
	for name, c := range map[string]struct {
		events []pratique.Event
		stored []int // by event
	}{
		"once": {[]pratique.Event{swept(a), a, a}, []int{1, 1, 0}},
		"with a delivery id": {[]pratique.Event{swept(a), delivered(a, "1"),
			delivered(a, "1")}, []int{1, 1, 0}},
		"after several sweeps":   {[]pratique.Event{swept(a), swept(a), a}, []int{1, 0, 1}},
		"a sweep after a report": {[]pratique.Event{a, swept(a), a}, []int{1, 0, 0}},
		"a sweep after a sweep's report": {[]pratique.Event{swept(a), a, swept(a), a},
			[]int{1, 1, 0, 0}},
		"a sweep found what was lost": {[]pratique.Event{a, swept(b), b, b}, []int{1, 1, 1, 0}},
		"back before the report":      {[]pratique.Event{a, swept(b), a, b}, []int{1, 1, 1, 1}},
		"another tag's sweep is its own": {[]pratique.Event{swept(tagged("app:v2", "A")), a, a},
			[]int{1, 1, 0}},
		"a late report after a sweep": {[]pratique.Event{at(a, 10), swept(b),
			at(tagged("app:v1", "C"), 5), b}, []int{1, 1, 1, 1}},
		"a report without a digest later": {[]pratique.Event{swept(a), tagged("app:v1", "")},
			[]int{1, 1}},
		"under a tag that is not told": {[]pratique.Event{unknown, unknown, a}, []int{1, 1, 1}},
		"delivered again": {[]pratique.Event{delivered(unknown, "1"),
			delivered(unknown, "1")}, []int{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c2 := Config{File: t.TempDir() + "/outbox.db"}
			o := open(t, c2)
			for i, e := range c.events {
				publish(t, o, c.stored[i], e)
				o = reopen(t, o, c2, false) // also across restarts
			}
		})
	}
}

func TestBookmarksAreKept(t *testing.T) {
	t.Parallel()
	c := Config{File: t.TempDir() + "/outbox.db"}
	o := open(t, c)
	if v, err := o.Bookmark("sweep"); v != nil || err != nil {
		t.Fatalf("unknown bookmark is %q, %v", v, err)
	}
	for _, v := range []string{"one", "two"} {
		if err := o.SetBookmark(t.Context(), "sweep", []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, o.SetBookmark(t.Context(), "", []byte("x")), pratique.Invalid)
	wantKind(t, o.SetBookmark(t.Context(), "large", make([]byte, 1<<17)), pratique.Invalid)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, c)
	if v, err := o.Bookmark("sweep"); string(v) != "two" || err != nil {
		t.Fatalf("bookmark is %q, %v", v, err)
	}
	if err := o.SetBookmark(t.Context(), "sweep", nil); err != nil {
		t.Fatal(err)
	}
	if v, err := o.Bookmark("sweep"); v != nil || err != nil {
		t.Fatalf("forgotten bookmark is %q, %v", v, err)
	}
}

// TestConcurrentWriters lets writers push the same tags with the same digests: each is news once.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	const writers, tags = 16, 40
	o := open(t, Config{})
	s := sink{}
	run(t, o, Downstream{Forward: s.forward})
	var stored atomic.Int64
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := range tags {
				n, err := o.Publish(t.Context(),
					[]pratique.Event{tagged(fmt.Sprint("app:v", i), "A"), tagged("web:v1", "W")})
				if err != nil {
					t.Error(err)
				}
				stored.Add(int64(n))
			}
		})
	}
	all.Wait()
	if stored.Load() != tags+1 {
		t.Errorf("stored %d, want %d", stored.Load(), tags+1)
	}
	eventually(t, "all forwarded", func() bool {
		return len(s.refs()) == tags+1 && o.Stats().Waiting == 0
	})
	if st := o.Stats(); st.Stored != tags+1 || st.Duplicates != 2*writers*tags-tags-1 ||
		st.Bytes != 0 || !st.Oldest.IsZero() {
		t.Errorf("%+v", st)
	}
}

func TestCloseWhilePublishing(t *testing.T) {
	t.Parallel()
	c := Config{File: t.TempDir() + "/outbox.db"}
	o := open(t, c)
	var acknowledged sync.Map
	var all sync.WaitGroup
	var begun atomic.Int64
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				e := tagged(fmt.Sprintf("app%d:v%d", w, i), "A")
				if _, err := o.Publish(context.Background(), []pratique.Event{e}); err != nil {
					wantUnavailable(t, err)
					return
				}
				begun.Add(1)
				acknowledged.Store(e.Ref.String(), true)
			}
		})
	}
	eventually(t, "some events", func() bool { return begun.Load() > 20 })
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	_, err := o.Tag(tagged("app:v1", "").Ref)
	wantKind(t, err, pratique.Unavailable)
	wantKind(t, o.Run(t.Context(), Downstream{}), pratique.Unavailable)

	o = open(t, c)
	acknowledged.Range(func(ref, _ any) bool {
		parsed, err := pratique.ParseImageRef(fmt.Sprint(ref))
		if err != nil {
			t.Fatal(err)
		}
		if tag, err := o.Tag(parsed); err != nil || tag.Generation != 1 {
			t.Errorf("%s was acknowledged and is %+v, %v", ref, tag, err)
		}
		return true
	})
}

func wantUnavailable(t *testing.T, err error) {
	if pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error is %v, want Unavailable", err)
	}
}

func TestWhoeverWaitsNoLongerIsTold(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := o.Publish(ctx, []pratique.Event{tagged("app:v1", "A")})
	wantKind(t, err, pratique.Unavailable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
