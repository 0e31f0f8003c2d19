package queue

import (
	"math"
	"time"

	"github.com/pratique-dev/pratique"
)

// Action says what becomes of a message.
type Action int

// The actions.
const (
	Ack   Action = iota // done: acknowledge, and wait until the server confirms
	Retry               // record the failure, deliver again after Delay
	Term                // record the failure as final, never deliver again
)

// Disposition is what becomes of a message after its handler returned.
type Disposition struct {
	Action Action
	// Delay is how long to wait before the next delivery; only with Retry.
	Delay time.Duration
}

// Dispose decides from a handler's error and the number of the delivery, which counts from 1. It is pure.
// Permanent kinds end at once, others after c.MaxAttempts deliveries. The delay doubles from c.MinDelay to
// c.MaxDelay; for RateLimited it starts eight times higher. jitter in [0, 1) takes away up to half of the
// delay, so that jobs that failed together do not come back together.
func Dispose(err error, attempt int, c Config, jitter float64) Disposition {
	c = c.withDefaults()
	switch kind := pratique.KindOf(err); {
	case err == nil:
		return Disposition{Action: Ack}
	case kind.Permanent(), attempt >= c.MaxAttempts:
		return Disposition{Action: Term}
	case kind == pratique.RateLimited:
		return Disposition{Action: Retry, Delay: delay(8*c.MinDelay, c.MaxDelay, attempt, jitter)}
	default:
		return Disposition{Action: Retry, Delay: delay(c.MinDelay, c.MaxDelay, attempt, jitter)}
	}
}

func delay(least, most time.Duration, attempt int, jitter float64) time.Duration {
	// Floating point saturates where a shift would overflow.
	full := min(float64(least)*math.Pow(2, float64(max(attempt, 1)-1)), float64(most))
	return time.Duration(full * (1 - min(max(jitter, 0), 1)/2))
}
