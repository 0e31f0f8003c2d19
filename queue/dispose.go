package queue

import (
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// Action is how a message is answered.
type Action int

// The actions.
const (
	Ack   Action = iota // done: acknowledge, and wait until the server confirms
	Retry               // record the failure, redeliver after Delay
	Term                // record the failure as final, never redeliver
)

// Disposition is what becomes of a message after an attempt.
type Disposition struct {
	Action Action
	// Delay is how long to wait before redelivery; only with Retry.
	Delay time.Duration
	// Uncounted means that the attempt does not count towards Config.MaxAttempts: the job waits for
	// something else.
	Uncounted bool
}

// History is what is known of the attempts at a job, including the one that has just ended.
type History struct {
	// Attempts is the number of all attempts. Counted leaves out the uncounted ones, see
	// [Disposition].
	Attempts, Counted int
	// Age is how long ago the job was queued.
	Age time.Duration
}

// Dispose decides what becomes of a message, from the handler's error and the history of the job.
// It is pure.
//
//   - Permanent kinds end the job at once.
//   - Unavailable, RateLimited, Denied, Stale and Conflict say that the job waits for something else. They end
//     it when it is older than c.MaxAge, but not before c.MaxAttempts attempts, since the service may have been
//     off for longer than c.MaxAge.
//   - Unknown, Internal and Died may be bugs. They end the job after c.MaxAttempts counted attempts. A stage
//     may have a lower limit for crashes, see [Work.MaxCrashes].
//
// The delay doubles from c.MinDelay to c.MaxDelay; for RateLimited it starts eight times higher.
// jitter in [0, 1) takes away up to half of it, so that jobs that failed together do not return
// together. If the error asks for a wait, that is the delay instead, up to 15 minutes, and jitter
// adds up to a quarter.
func Dispose(err error, h History, c Config, jitter float64) Disposition {
	c = c.withDefaults()
	if err == nil {
		return Disposition{Action: Ack}
	}
	kind := pratique.KindOf(err)
	waits, shortest := waitsForOthers(kind), c.MinDelay
	switch {
	case kind.Permanent(),
		waits && h.Age > c.MaxAge && h.Attempts >= c.MaxAttempts,
		!waits && h.Counted >= c.MaxAttempts:
		return Disposition{Action: Term, Uncounted: waits}
	case kind == pratique.RateLimited:
		shortest = 8 * c.MinDelay
	}
	delay := backoff.Backoff{Min: shortest, Max: c.MaxDelay, Jitter: maxJitter}.Delay(h.Attempts, jitter)
	if asked := min(backoff.RetryAfter(err), maxRetryAfter); asked > 0 {
		delay = backoff.Later(asked, asked/4+c.MinDelay, jitter)
	}
	return Disposition{Action: Retry, Delay: delay, Uncounted: waits}
}

const (
	// maxJitter is the largest share of a delay that jitter takes away.
	maxJitter = 0.5
	// maxRetryAfter bounds the wait that others may ask for.
	maxRetryAfter = 15 * time.Minute
)

// waitsForOthers reports whether the cause of an error may go away without a change of ours.
func waitsForOthers(kind pratique.Kind) bool {
	switch kind {
	case pratique.Unavailable, pratique.RateLimited, pratique.Denied, pratique.Stale, pratique.Conflict:
		return true
	default:
		return false
	}
}
