// Package reconcile finds pushes that no webhook reported, by sweeps: it lists the tags of the
// configured repositories, looks up what each names now, and publishes what is new. Many registries
// send a notification only once, so nothing else makes up for a lost one.
//
// Each registry has one budget of requests and gets one request at a time, conditional where
// possible, and waits are as long as it asks for. An interrupted sweep is resumed, also after a
// restart.
package reconcile

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// Repository is a repository to be swept. Its registry is the name that events use, not an alias.
type Repository struct {
	Repository pratique.Repository
	// Tags are the patterns of the tags to check; none means all.
	Tags []pratique.Glob
	// Source is the source of the events; empty means "reconcile".
	Source string
}

// Config says what to sweep, and how often.
type Config struct {
	Repositories []Repository
	// Interval is the time from the start of a sweep to that of the next, an hour if zero. It
	// varies by a tenth.
	Interval time.Duration
	// RequestsPerMinute is the budget of each registry, by its name, for all its repositories; 60
	// without an entry. Logins are not counted.
	RequestsPerMinute map[string]int
	// Now is the clock, nil means [time.Now]. Timers do not follow it.
	Now func() time.Time
	// Attested returns when an image was evaluated, if it was allowed and attested; otherwise zero.
	// Restore has an image evaluated and attested again whose attestations a sweep did not find. If
	// they are nil, sweeps do not check.
	Attested func(s pratique.Subject) (time.Time, error)
	Restore  func(ctx context.Context, e pratique.Event) error
	// OnError is called with errors, from several goroutines. It must not block, and may be nil.
	OnError func(error)
}

// Registry queries registries. Its errors have kinds. If a registry said how long to wait, an error
// in the chain has a method RetryAfter() time.Duration.
type Registry interface {
	// Tags returns the page after the one whose Next is given, with one request; see
	// [pratique.TagPage] for etag, which may be empty.
	Tags(ctx context.Context, repo pratique.Repository, after, etag string) (pratique.TagPage, error)
	// DigestIfChanged returns what a tag names, and whether that differs from known, which may be
	// zero. It calls spend before each request, and sends none after an error.
	DigestIfChanged(ctx context.Context, ref pratique.ImageRef, known pratique.Digest,
		spend func(context.Context) error) (
		d pratique.Digest, changed bool, err error)
}

// Known is the intake.
type Known interface {
	// Tag returns what is known of a ref with a tag and no digest.
	Tag(ref pratique.ImageRef) (pratique.KnownTag, error)
	// PublishUnlessChanged stores an event durably and gives it its id. If the tag was reported
	// since seen was read, it does nothing and returns false.
	PublishUnlessChanged(ctx context.Context, e pratique.Event,
		seen pratique.KnownTag) (stored bool, err error)
}

// Bookmarks store small values by name, durably. A name without a value has an empty one.
type Bookmarks interface {
	Bookmark(name string) ([]byte, error)
	SetBookmark(ctx context.Context, name string, value []byte) error
}

const (
	defaultInterval = time.Hour
	defaultRequests = 60
	defaultSource   = "reconcile"
)

// Reconciler sweeps. Its methods may be called by several goroutines.
type Reconciler struct {
	config    Config
	registry  Registry
	known     Known
	bookmarks Bookmarks
	hosts     []*host
	entries   []*entry // in the order of the configuration

	mu      sync.Mutex // guards parts of the entries
	running bool
}

// New checks the configuration. It has no side effects, and its errors are Invalid.
func New(cfg Config, registry Registry, known Known, bookmarks Bookmarks) (*Reconciler, error) {
	const op = "configure reconciliation"
	if cfg.Interval < 0 {
		return nil, pratique.Errorf(pratique.Invalid, op, "an interval of %s", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	for name, n := range cfg.RequestsPerMinute {
		if n < 1 {
			return nil, pratique.Errorf(pratique.Invalid, op,
				"%d requests per minute to %q: it must be at least one", n, name)
		}
	}
	r := &Reconciler{config: cfg, registry: registry, known: known, bookmarks: bookmarks}
	for _, repo := range cfg.Repositories {
		if err := r.add(repo); err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, repo.Repository.String(), err)
		}
	}
	return r, nil
}

func (r *Reconciler) add(repo Repository) error {
	if err := repo.Repository.Validate(); err != nil {
		return err
	}
	if r.find(repo.Repository) != nil {
		return fmt.Errorf("named twice")
	}
	for _, g := range repo.Tags {
		if err := g.Validate(); err != nil {
			return err
		}
	}
	if repo.Source == "" {
		repo.Source = defaultSource
	}
	e := &entry{Repository: repo, status: pratique.Sweep{Repository: repo.Repository.String(),
		State: Idle, Totals: pratique.SweepTotals{Interval: r.config.Interval}}}
	r.entries = append(r.entries, e)
	name := repo.Repository.Registry
	i := slices.IndexFunc(r.hosts, func(h *host) bool { return h.name == name })
	if i < 0 {
		i = len(r.hosts)
		r.hosts = append(r.hosts, &host{reconciler: r, name: name, budget: r.budget(name),
			wake: make(chan struct{}, 1)})
	}
	r.hosts[i].entries = append(r.hosts[i].entries, e)
	return nil
}

// budget has a burst of a twelfth of a minute's requests.
func (r *Reconciler) budget(host string) *rate.Limiter {
	n, ok := r.config.RequestsPerMinute[host]
	if !ok {
		n = defaultRequests
	}
	return rate.NewLimiter(rate.Limit(float64(n)/time.Minute.Seconds()), max(1, n/12))
}

func (r *Reconciler) find(repo pratique.Repository) *entry {
	for _, e := range r.entries {
		if e.Repository.Repository == repo {
			return e
		}
	}
	return nil
}

// Run sweeps each repository when it is due, and on request, until ctx ends; interrupted sweeps are
// resumed first. A concurrent Run is a Conflict. Errors of sweeps do not end it.
func (r *Reconciler) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return pratique.Errorf(pratique.Conflict, "reconcile", "sweeps are running already")
	}
	r.running = true
	r.mu.Unlock()
	for _, e := range r.entries {
		r.load(e)
	}
	var all sync.WaitGroup
	for _, h := range r.hosts {
		all.Go(func() { h.run(ctx) })
	}
	all.Wait()
	<-ctx.Done() // also without repositories
	r.mu.Lock()
	r.running = false
	r.mu.Unlock()
	return nil
}

// withJitter returns d, up to a tenth less or more.
func withJitter(d time.Duration) time.Duration {
	return backoff.Later(d-d/10, d/5, backoff.Random())
}
