package outbox

import (
	"context"
	"sync"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// Downstream is what an outbox forwards events to, and resolves tags with.
type Downstream struct {
	// Forward stores all events durably, in order, or returns an error. After an error or a crash
	// it is called again with the same events, with the same ids.
	Forward func(ctx context.Context, events []pratique.Event) error
	// Resolve returns the digest that a tag names now. It is called concurrently.
	Resolve func(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
}

// pace is how long to wait between attempts, and for one.
type pace struct {
	forward, resolve backoff.Backoff
	random           func() float64 // for jitter
	// resolveTimeout bounds one call of Downstream.Resolve.
	resolveTimeout time.Duration
	prune          time.Duration
}

var defaultPace = pace{
	forward:        backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.5},
	resolve:        backoff.Backoff{Min: time.Second, Max: 5 * time.Minute, Jitter: 0.5},
	random:         backoff.Random,
	resolveTimeout: 30 * time.Second,
	prune:          10 * time.Minute,
}

func (p pace) afterForward(failures int) time.Duration { return p.forward.Delay(failures, p.random()) }

// Run forwards the log in order, resolves tags and forgets what is old, until ctx ends or the
// outbox is closed. It returns nil after the current batch; the rest waits for the next Run.
// Forward is retried without end, but an event that alone fails with a permanent kind is refused,
// see [Outbox.Refused]. Resolve is retried for a day; then, and after a permanent kind, the event
// is forwarded without a digest. Errors: Conflict if there is another Run, Unavailable if the
// outbox is closed, or has to be opened again after a failed commit.
func (o *Outbox) Run(ctx context.Context, down Downstream) error {
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
	parts.Go(func() { o.forwardAll(ctx, down) })
	parts.Go(func() { o.resolveAll(ctx, down) })
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
		return pratique.Errorf(pratique.Conflict, "begin", "it is running already")
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
