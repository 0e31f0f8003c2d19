package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	// A request is tried so often, while the registry's other repositories wait: for about a minute if there is no
	// answer, less if there was none for the tag before either, and for much longer if one is told to wait.
	maxTries       = 7
	maxBrokenTries = 2
	maxSlowTries   = 10

	// The bounds of the wait that a registry asks for. Some count by the day.
	minAsked = time.Second
	maxAsked = 24 * time.Hour
	// The first wait without advice, by what went wrong; each is twice the one before.
	firstUnavailable = time.Second
	firstLimited     = 10 * time.Second
	maxBackoff       = 5 * time.Minute
)

// passing reports whether the same request may do better later. Being denied may pass too, but not by itself.
func passing(err error) bool {
	kind := pratique.KindOf(err)
	return !kind.Permanent() && kind != pratique.Denied
}

// slow reports whether what is in the way has to do with no one tag: a limit, or our own store.
func slow(err error) bool {
	var own *storeError
	return pratique.KindOf(err) == pratique.RateLimited || backoff.RetryAfter(err) > 0 || errors.As(err, &own)
}

// storeError is an error of our own side.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

func (s *sweep) mostTries(err error) int {
	switch {
	case slow(err):
		return maxSlowTries
	case s.broken > 0:
		return maxBrokenTries
	}
	return maxTries
}

// patiently calls try until it succeeds, fails for good, or has failed too often. Meanwhile nobody asks the registry.
func (s *sweep) patiently(ctx context.Context, try func() error) error {
	for tries := 1; ; tries++ {
		err := try()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && tries > 1 {
			s.reconciler.update(s.e, func(status *Status) { status.Error = "" })
		}
		if err == nil || !passing(err) || tries >= s.mostTries(err) {
			return err
		}
		if err := s.wait(ctx, pause(err, tries, backoff.Random()), err); err != nil {
			return err
		}
	}
}

// pause is how long to wait after an error: as long as the registry says, else longer each time.
func pause(err error, tries int, random float64) time.Duration {
	if asked := backoff.RetryAfter(err); asked > 0 {
		wait := min(max(asked, minAsked), maxAsked)
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
	r.update(s.e, func(status *Status) {
		status.State, status.RetryAt, status.Error = Waiting, until, pratique.Excerpt(cause.Error(), maxError)
	})
	s.save(ctx)
	if err := backoff.Sleep(ctx, d); err != nil {
		return err
	}
	r.update(s.e, func(status *Status) { status.State, status.RetryAt = Sweeping, time.Time{} })
	return nil
}

// spend takes one request from the budget of the registry, as soon as there is one.
func (s *sweep) spend(ctx context.Context) error {
	if err := s.budget.Wait(ctx); err != nil {
		return pratique.Wrap(pratique.Unavailable, "wait for the registry's turn", s.name, err)
	}
	s.count(func(t *Tally) { t.Requests++ })
	return nil
}
