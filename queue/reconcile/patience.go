package reconcile

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// A request is tried so often, while the registry's other repositories wait: for about a minute if there is no
	// answer, less if there was none for the tag before either, and for much longer if one is told to wait.
	maxTries       = 7
	maxBrokenTries = 2
	maxSlowTries   = 10

	maxTold = 24 * time.Hour // of the wait that a registry asks for: some count by the day
	minTold = time.Second
	// The first wait without advice, by what went wrong; each is twice the one before.
	firstUnavailable = time.Second
	firstLimited     = 10 * time.Second
	maxBackoff       = 5 * time.Minute
	maxDoublings     = 10
)

// passing reports whether the same request may do better later. Being denied may pass too, but not by itself.
func passing(err error) bool {
	kind := pratique.KindOf(err)
	return !kind.Permanent() && kind != pratique.Denied
}

// slow reports whether what is in the way has to do with no one tag: a limit, or our own store.
func slow(err error) bool {
	var told interface{ RetryAfter() time.Duration }
	var own *storeError
	return pratique.KindOf(err) == pratique.RateLimited || errors.As(err, &told) || errors.As(err, &own)
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
		if err := s.wait(ctx, pause(err, tries), err); err != nil {
			return err
		}
	}
}

// pause is how long to wait after an error: as long as the registry says, else longer each time.
func pause(err error, tries int) time.Duration {
	var told interface{ RetryAfter() time.Duration }
	if errors.As(err, &told) {
		wait := min(max(told.RetryAfter(), minTold), maxTold)
		return wait + rand.N(wait/10) //nolint:gosec // jitter needs no secrecy
	}
	first := firstUnavailable
	if pratique.KindOf(err) == pratique.RateLimited {
		first = firstLimited
	}
	return varied(min(first<<min(tries-1, maxDoublings), maxBackoff))
}

func (s *sweep) wait(ctx context.Context, d time.Duration, cause error) error {
	r := s.reconciler
	until := r.config.Now().Add(d)
	r.update(s.e, func(status *Status) {
		status.State, status.RetryAt, status.Error = Waiting, until, clip(cause.Error())
	})
	s.save(ctx)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
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
