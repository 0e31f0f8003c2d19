// Package backoff computes how long to wait before another attempt: by the number of failures, by
// what the other side asked for, and with jitter, so that what failed together is not retried
// together.
package backoff

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

// Backoff is a delay that doubles with each failure. It is a value without state: the caller
// counts the failures.
type Backoff struct {
	// Min is the delay after the first failure, and Max the longest.
	Min, Max time.Duration
	// Jitter is the largest share of a delay that jitter takes away, from 0 to 1.
	Jitter float64
}

// Delay returns how long to wait after a number of failures in a row. Jitter depends on random, a
// number in [0, 1), for which callers pass [Random].
func (b Backoff) Delay(failures int, random float64) time.Duration {
	// Floating point saturates where a shift would overflow.
	full := min(float64(b.Min)*math.Pow(2, float64(max(failures, 1)-1)), float64(b.Max))
	return time.Duration(full * (1 - b.Jitter*bounded(random)))
}

// Later returns wait plus jitter of up to extra. It is for a wait that the other side asked for,
// which must not be cut short.
func Later(wait, extra time.Duration, random float64) time.Duration {
	return wait + time.Duration(float64(extra)*bounded(random))
}

// Random returns a number in [0, 1). Tests pass a constant in its place.
func Random() float64 { return rand.Float64() } //nolint:gosec // jitter needs no secrecy

func bounded(random float64) float64 { return min(max(random, 0), 1) }

// RetryAfter returns how long an error asks to wait, 0 if it does not. Errors ask with a method
// RetryAfter() time.Duration in their chain. The caller bounds what it accepts.
func RetryAfter(err error) time.Duration {
	var asks interface{ RetryAfter() time.Duration }
	if !errors.As(err, &asks) {
		return 0
	}
	return max(0, asks.RetryAfter())
}

// Sleep waits for d, or until ctx ends, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
