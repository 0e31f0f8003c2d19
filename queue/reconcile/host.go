package reconcile

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/pratique-dev/pratique"
)

// host is a registry: one goroutine that sweeps its repositories one after the other.
type host struct {
	reconciler *Reconciler
	name       string
	budget     *rate.Limiter
	entries    []*entry
	wake       chan struct{} // something was asked for
}

func (h *host) run(ctx context.Context) {
	for ctx.Err() == nil {
		e, rest := h.pick()
		if e != nil {
			h.sweep(ctx, e)
			continue
		}
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-h.wake:
		}
		timer.Stop()
	}
}

// The order of those whose turn it may be: what was asked for goes first, but not for ever.
const (
	overdue = iota // by more than an interval
	asked
	due
	resting
)

// pick returns the repository whose turn it is, or else how long there is nothing to do.
func (h *host) pick() (*entry, time.Duration) {
	r := h.reconciler
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var first *entry
	best := resting
	for _, e := range h.entries {
		rank := resting
		switch late := now.Sub(e.status.Next); {
		case late > r.config.Interval:
			rank = overdue
		case e.wanted:
			rank = asked
		case late >= 0:
			rank = due
		}
		if first == nil || rank < best || rank == best && e.status.Next.Before(first.status.Next) {
			first, best = e, rank
		}
	}
	if best == resting {
		return nil, first.status.Next.Sub(now)
	}
	return first, 0
}

// stopTime is how long a bookmark may take when the process stops.
const stopTime = 5 * time.Second

// sweep does one sweep, or the rest of one that ended early.
func (h *host) sweep(ctx context.Context, e *entry) {
	r := h.reconciler
	s := begin(h, e)
	err := s.run(ctx)
	if ctx.Err() != nil {
		r.update(e, func(s *Status) { s.State, s.RetryAt = Waiting, time.Time{} })
		keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		r.save(keep, e)
		return
	}
	now := r.config.Now()
	interval := varied(r.config.Interval)
	e.mark.UnderWay, e.mark.Finished, e.mark.Error = false, now, ""
	next := latest(now, e.mark.Started.Add(interval))
	state := Idle
	if err != nil {
		state, next = Failed, now.Add(interval)
		e.mark.Error = pratique.Excerpt(err.Error(), maxError)
		r.config.OnError(pratique.Wrap(pratique.Unknown, "reconcile", e.Repository.Repository.String(), err))
	}
	if err == nil || !passing(err) {
		e.mark.Resume = nil
	}
	r.update(e, func(s *Status) {
		s.State, s.Finished, s.Next, s.Error, s.RetryAt = state, now, next, e.mark.Error, time.Time{}
		if err == nil {
			s.LastSuccess = now
		} else {
			s.Failures++
		}
		e.mark.LastSuccess = s.LastSuccess
	})
	r.save(ctx, e)
}

// maxError keeps answers of the API short, in bytes.
const maxError = 500
