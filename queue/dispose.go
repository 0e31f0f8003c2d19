package queue

import (
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
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
	// Forgive says that the start did not count towards Config.MaxAttempts: the job waits for something else.
	Forgive bool
}

// Effort is what was spent on a job so far, the start that has just ended included.
type Effort struct {
	// Starts counts every start. Spent counts those that were not forgiven: they ended with an error that
	// may be our own fault, or without a word, when the worker died.
	Starts, Spent int
	// Age is how long ago the job was put into the queue.
	Age time.Duration
}

// Dispose decides from a handler's error and the effort so far. It is pure. Permanent kinds end at once.
// Kinds that say what we wait for (Unavailable, RateLimited, Denied, Stale, Conflict) are bounded by time, since
// an outage says nothing about the job: they end when the job is older than c.MaxAge, but have c.MaxAttempts
// starts in any case, as the service may have been off for longer than that. Unknown, Internal and Died, which may be
// bugs that no time heals, end after c.MaxAttempts starts that were not forgiven; for deaths a stage may have a lower
// bound, see [Work.MaxDeaths]. The delay doubles from
// c.MinDelay to c.MaxDelay; for RateLimited it starts eight times higher. jitter in [0, 1) takes away up to half
// of the delay, so that jobs that failed together do not come back together. An error that says how long to wait
// decides instead, up to 15 minutes; jitter adds up to a quarter then.
func Dispose(err error, e Effort, c Config, jitter float64) Disposition {
	c = c.withDefaults()
	if err == nil {
		return Disposition{Action: Ack}
	}
	kind := pratique.KindOf(err)
	wait, least := waits(kind), c.MinDelay
	switch {
	case kind.Permanent(),
		wait && e.Age > c.MaxAge && e.Starts >= c.MaxAttempts,
		!wait && e.Spent >= c.MaxAttempts:
		return Disposition{Action: Term, Forgive: wait}
	case kind == pratique.RateLimited:
		least = 8 * c.MinDelay
	}
	again := backoff.Backoff{Min: least, Max: c.MaxDelay, Jitter: jitterShare}.Delay(e.Starts, jitter)
	if asked := min(backoff.RetryAfter(err), mostAsked); asked > 0 {
		again = backoff.Later(asked, asked/4+c.MinDelay, jitter)
	}
	return Disposition{Action: Retry, Delay: again, Forgive: wait}
}

const (
	// jitterShare is the largest share of a delay that jitter takes away.
	jitterShare = 0.5
	// mostAsked bounds what others may ask us to wait.
	mostAsked = 15 * time.Minute
)

// waits reports whether a kind speaks of somebody or something else that may change by itself.
func waits(kind pratique.Kind) bool {
	switch kind {
	case pratique.Unavailable, pratique.RateLimited, pratique.Denied, pratique.Stale, pratique.Conflict:
		return true
	default:
		return false
	}
}
