package outbox

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
)

// Line is where events go, and who knows what a tag names.
type Line struct {
	// Forward stores all events durably, in order, or returns an error. It may be called again with the same
	// events after an error or a crash; their ids tell.
	Forward func(ctx context.Context, events []pratique.Event) error
	// Resolve returns the digest that a tag names now, for several tags at once.
	Resolve func(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
}

// pace is how long to wait between attempts.
type pace struct {
	forward, resolve backoff
	// resolveTimeout bounds one call of Line.Resolve.
	resolveTimeout time.Duration
	prune          time.Duration
}

var usualPace = pace{
	forward:        backoff{least: 100 * time.Millisecond, most: 5 * time.Second},
	resolve:        backoff{least: time.Second, most: 5 * time.Minute},
	resolveTimeout: 30 * time.Second,
	prune:          10 * time.Minute,
}

type backoff struct{ least, most time.Duration }

// after returns how long to wait after the given number of failures, from 1. Chance takes away up to half,
// so that what failed together does not come back together.
func (b backoff) after(failures int) time.Duration {
	full := min(float64(b.least)*math.Pow(2, float64(failures-1)), float64(b.most))
	return time.Duration(full * (1 - rand.Float64()/2)) //nolint:gosec // no secret
}

// Run forwards the log in order, resolves tags and forgets what is old, until ctx ends or the outbox is closed.
// It returns nil after the batch under way; what was not forwarded waits for the next Run. Forward is tried again
// for ever, except that an event which alone fails with a permanent kind is set aside, see [Outbox.Refused].
// A tag that cannot be resolved is tried again for a day; then, and after a permanent kind, its event is
// forwarded without a digest. Errors: Conflict if there is another Run, Unavailable if the outbox is closed, or
// has to be opened again since a commit may or may not be on the disk.
func (o *Outbox) Run(ctx context.Context, l Line) error {
	const op = "run outbox"
	if err := o.begin(); err != nil {
		return pratique.Wrap(pratique.Unknown, op, "", err)
	}
	defer o.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() {
		select {
		case <-o.closing:
		case <-o.halted:
		case <-ctx.Done():
		}
		cancel()
	})
	parts.Go(func() { o.forwardAll(ctx, l) })
	parts.Go(func() { o.resolveAll(ctx, l) })
	parts.Go(func() { o.pruneAll(ctx) })
	parts.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return pratique.Wrap(pratique.Unknown, op, "", o.broken)
}

func (o *Outbox) begin() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return errClosed
	case o.running:
		return pratique.Errorf(pratique.Conflict, "begin", "it runs already")
	}
	o.running = true
	o.runs.Add(1)
	return nil
}

func (o *Outbox) end() {
	o.mu.Lock()
	o.running = false
	o.mu.Unlock()
	o.runs.Done()
}

// pause waits, and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
