package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

func repo(path string) pratique.Repository {
	return pratique.Repository{Registry: "registry.example", Path: path}
}

func digest(content string) pratique.Digest { return pratique.DigestOf([]byte(content)) }

func ref(r pratique.Repository, tag string) pratique.ImageRef {
	return pratique.ImageRef{Repository: r, Tag: tag}
}

// request is one that a fake registry was sent.
type request struct {
	at    time.Time
	repo  pratique.Repository
	tag   string // empty for a list
	known pratique.Digest
	after string
	etag  string
}

// fakeRegistry holds tags in the order in which they were pushed.
type fakeRegistry struct {
	mu       sync.Mutex
	tags     map[pratique.Repository][]string
	names    map[pratique.ImageRef]pratique.Digest
	pageSize int
	etags    bool // lists have one
	invalid  int
	more     int // requests for a digest, after the first
	// before may refuse a request, or do something in the meantime. The hook guards what it uses of
	// the test.
	before   func(request) error
	hook     sync.Mutex
	requests []request
	busy     map[string]int // requests under way by host
	most     int            // of those at once
	took     time.Duration  // for each request
}

func newRegistry() *fakeRegistry {
	return &fakeRegistry{tags: map[pratique.Repository][]string{},
		names: map[pratique.ImageRef]pratique.Digest{}, pageSize: 1000, busy: map[string]int{}}
}

func (f *fakeRegistry) push(r pratique.Repository, tag, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.names[ref(r, tag)]; !ok {
		f.tags[r] = append(f.tags[r], tag)
	}
	f.names[ref(r, tag)] = digest(content)
}

func (f *fakeRegistry) remove(r pratique.Repository, tag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, ref(r, tag))
	f.tags[r] = slices.DeleteFunc(slices.Clone(f.tags[r]), func(t string) bool { return t == tag })
}

func (f *fakeRegistry) enter(q request) error {
	q.at = time.Now()
	f.mu.Lock()
	f.requests = append(f.requests, q)
	f.busy[q.repo.Registry]++
	f.most = max(f.most, f.busy[q.repo.Registry])
	before := f.before
	f.mu.Unlock()
	if f.took > 0 {
		time.Sleep(f.took)
	}
	var err error
	if before != nil {
		f.hook.Lock()
		err = before(q)
		f.hook.Unlock()
	}
	f.mu.Lock()
	f.busy[q.repo.Registry]--
	f.mu.Unlock()
	return err
}

func (f *fakeRegistry) Tags(ctx context.Context, r pratique.Repository, after,
	etag string) (pratique.TagPage, error) {
	if err := f.enter(request{repo: r, after: after, etag: etag}); err != nil {
		return pratique.TagPage{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all, ok := f.tags[r]
	switch {
	case ctx.Err() != nil:
		return pratique.TagPage{}, pratique.Wrap(pratique.Unavailable, "list", "", ctx.Err())
	case !ok:
		return pratique.TagPage{}, pratique.Errorf(pratique.NotFound, "list", "no such repository")
	}
	from, _ := strconv.Atoi(after)
	page := pratique.TagPage{Tags: slices.Clone(all[min(from, len(all)):min(from+f.pageSize,
		len(all))]), Invalid: f.invalid}
	if from+f.pageSize < len(all) {
		page.Next = strconv.Itoa(from + f.pageSize)
	}
	if f.etags {
		page.ETag = digest(fmt.Sprint(all)).String()
		if etag == page.ETag {
			return pratique.TagPage{NotModified: true}, nil
		}
	}
	return page, nil
}

func (f *fakeRegistry) DigestIfChanged(ctx context.Context, r pratique.ImageRef,
	known pratique.Digest, spend func(context.Context) error) (
	pratique.Digest, bool, error) {
	for range 1 + f.more {
		if err := spend(ctx); err != nil {
			return pratique.Digest{}, false, err
		}
		if err := f.enter(request{repo: r.Repository, tag: r.Tag, known: known}); err != nil {
			return pratique.Digest{}, false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.names[r]
	switch {
	case ctx.Err() != nil:
		return pratique.Digest{}, false, pratique.Wrap(pratique.Unavailable, "head", "", ctx.Err())
	case !ok:
		return pratique.Digest{}, false, pratique.Errorf(pratique.NotFound, "head", "gone")
	}
	return d, d != known, nil
}

func (f *fakeRegistry) answer(before func(request) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

// sent returns the requests so far; heads only those for tags.
func (f *fakeRegistry) sent() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeRegistry) heads() []request {
	return slices.DeleteFunc(f.sent(), func(q request) bool { return q.tag == "" })
}

// fakeIntake is the intake's rules for pushes that sweeps find.
type fakeIntake struct {
	mu     sync.Mutex
	tags   map[pratique.ImageRef]pratique.KnownTag
	events []pratique.Event
	refuse error
}

func newIntake() *fakeIntake { return &fakeIntake{tags: map[pratique.ImageRef]pratique.KnownTag{}} }

// report is what a webhook does.
func (f *fakeIntake) report(r pratique.Repository, tag, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[ref(r, tag)] = pratique.KnownTag{Digest: digest(content),
		Generation: f.tags[ref(r, tag)].Generation + 1}
}

func (f *fakeIntake) Tag(r pratique.ImageRef) (pratique.KnownTag, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return pratique.KnownTag{}, f.refuse
	}
	return f.tags[r], nil
}

func (f *fakeIntake) PublishUnlessChanged(_ context.Context, e pratique.Event,
	seen pratique.KnownTag) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return false, f.refuse
	}
	key := e.Ref
	key.Digest = pratique.Digest{}
	now := f.tags[key]
	if now.Waiting || now.Generation != seen.Generation {
		return false, nil
	}
	f.tags[key] = pratique.KnownTag{Digest: e.Ref.Digest, Generation: now.Generation + 1}
	f.events = append(f.events, e)
	return true, nil
}

func (f *fakeIntake) found() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, e := range f.events {
		all = append(all, e.Ref.Repository.Path+":"+e.Ref.Tag)
	}
	return all
}

// fakeBookmarks is a map. A copy of it is what is left after a crash.
type fakeBookmarks struct {
	mu     sync.Mutex
	values map[string][]byte
	refuse error
}

func newBookmarks() *fakeBookmarks { return &fakeBookmarks{values: map[string][]byte{}} }

func (f *fakeBookmarks) Bookmark(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.values[name]), f.refuse
}

func (f *fakeBookmarks) SetBookmark(ctx context.Context, name string, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f.refuse == nil {
		f.values[name] = slices.Clone(value)
	}
	return f.refuse
}

func (f *fakeBookmarks) copy() *fakeBookmarks {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := newBookmarks()
	for name, value := range f.values {
		c.values[name] = slices.Clone(value)
	}
	return c
}

// throttled is an error of a registry that says how long to wait.
type throttled struct {
	error
	wait time.Duration
}

func (t throttled) RetryAfter() time.Duration { return t.wait }
func (t throttled) Unwrap() error             { return t.error }

// world is a reconciler with what it needs.
type world struct {
	t         *testing.T
	registry  *fakeRegistry
	intake    *fakeIntake
	bookmarks *fakeBookmarks
	config    Config
	mu        sync.Mutex
	trouble   []error
	r         *Reconciler
}

func newWorld(t *testing.T, paths ...string) *world {
	w := &world{t: t, registry: newRegistry(), intake: newIntake(), bookmarks: newBookmarks()}
	for _, path := range paths {
		w.config.Repositories = append(w.config.Repositories, Repository{Repository: repo(path)})
	}
	w.config.OnError = func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trouble = append(w.trouble, err)
	}
	return w
}

// run starts a reconciler; what it returns stops it and waits.
func (w *world) run() (stop func()) {
	w.t.Helper()
	r, err := New(w.config, w.registry, w.intake, w.bookmarks)
	if err != nil {
		w.t.Fatal(err)
	}
	w.r = r
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// until waits for at most a fake week, in steps that are small in the first minute.
func (w *world) until(what string, reached func() bool) {
	w.t.Helper()
	for from := time.Now(); time.Since(from) < 7*24*time.Hour; {
		w.registry.hook.Lock()
		ok := reached()
		w.registry.hook.Unlock()
		if ok {
			return
		}
		step := 100 * time.Millisecond
		if time.Since(from) > time.Minute {
			step = 5 * time.Second
		}
		time.Sleep(step)
	}
	w.t.Fatalf("never: %s; %+v", what, w.r.Status())
}

func (w *world) status(path string) pratique.Sweep {
	w.t.Helper()
	for _, s := range w.r.Status() {
		if _, of, _ := strings.Cut(s.Repository, "/"); of == path {
			return s
		}
	}
	w.t.Fatalf("no status of %s", path)
	return pratique.Sweep{}
}

// rests waits until the sweep of a repository has ended, and no other is due.
func (w *world) rests(path string) pratique.Sweep {
	w.t.Helper()
	w.until(path+" rests", func() bool {
		s := w.status(path)
		return (s.State == Idle || s.State == Failed) && !s.Finished.IsZero()
	})
	return w.status(path)
}
