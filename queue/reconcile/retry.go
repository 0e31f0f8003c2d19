package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	// How often a request is tried, while the registry's other repositories wait: for about a
	// minute if there is no answer, less if there was none for the tag before, and longer if the
	// registry asks to wait.
	maxTries       = 7
	maxBrokenTries = 2
	maxSlowTries   = 10

	// Bounds of the wait that a registry asks for. Some have limits by the day.
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
	// The first wait if the registry asks for none; it doubles.
	firstUnavailable = time.Second
	firstLimited     = 10 * time.Second
	maxBackoff       = 5 * time.Minute
)

// transient reports whether the same request may succeed later. A denial may end too, but not by
// itself.
func transient(err error) bool {
	kind := pratique.KindOf(err)
	return !kind.Permanent() && kind != pratique.Denied
}

// concernsAllTags reports whether an error does not concern one tag: a rate limit, or our own store.
func concernsAllTags(err error) bool {
	var own *storeError
	return pratique.KindOf(err) == pratique.RateLimited || backoff.RetryAfter(err) > 0 ||
		errors.As(err, &own)
}

// storeError is an error of our own store.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

func (s *sweep) maxTriesOf(err error) int {
	switch {
	case concernsAllTags(err):
		return maxSlowTries
	case s.broken > 0:
		return maxBrokenTries
	}
	return maxTries
}

// retry calls try until it succeeds, fails for good, or has failed too often. Meanwhile the
// registry gets no other request.
func (s *sweep) retry(ctx context.Context, try func() error) error {
	for tries := 1; ; tries++ {
		err := try()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && tries > 1 {
			s.reconciler.update(s.e, func(status *pratique.Sweep) { status.Error = "" })
		}
		if err == nil || !transient(err) || tries >= s.maxTriesOf(err) {
			return err
		}
		if err := s.wait(ctx, pause(err, tries, backoff.Random()), err); err != nil {
			return err
		}
	}
}

// pause returns how long to wait after an error: as long as the registry asks, otherwise longer
// each time.
func pause(err error, tries int, random float64) time.Duration {
	if asked := backoff.RetryAfter(err); asked > 0 {
		wait := min(max(asked, minRetryAfter), maxRetryAfter)
		return backoff.Later(wait, wait/10, random)
	}
	first := firstUnavailable
	if pratique.KindOf(err) == pratique.RateLimited {
		first = firstLimited
	}
	return backoff.Backoff{Min: first, Max: maxBackoff, Jitter: 0.1}.Delay(tries, random)
}

func (s *sweep) wait(ctx context.Context, d time.Duration, cause error) error {
	r := s.reconciler
	until := r.config.Now().Add(d)
	r.update(s.e, func(status *pratique.Sweep) {
		status.State, status.RetryAt = Waiting, until
		status.Error = pratique.Excerpt(cause.Error(), maxError)
	})
	s.save(ctx)
	if err := backoff.Sleep(ctx, d); err != nil {
		return err
	}
	r.update(s.e, func(status *pratique.Sweep) { status.State, status.RetryAt = Sweeping, time.Time{} })
	return nil
}

// spend waits for the budget of the registry and takes one request from it.
func (s *sweep) spend(ctx context.Context) error {
	if err := s.budget.Wait(ctx); err != nil {
		return pratique.Wrap(pratique.Unavailable, "wait for the registry's turn", s.name, err)
	}
	s.count(func(t *pratique.SweepTally) { t.Requests++ })
	return nil
}
