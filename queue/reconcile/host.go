package reconcile

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/pratique-dev/pratique"
)

// host is a registry. Its goroutine sweeps its repositories one after the other.
type host struct {
	reconciler *Reconciler
	name       string
	budget     *rate.Limiter
	entries    []*entry
	wake       chan struct{} // a sweep was requested
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

// The ranks of repositories. Requested sweeps come first, unless another is overdue.
const (
	overdue = iota // by more than an interval
	requested
	due
	notDue
)

// pick returns the repository to sweep next, or how long to wait for one.
func (h *host) pick() (*entry, time.Duration) {
	r := h.reconciler
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var first *entry
	best := notDue
	for _, e := range h.entries {
		rank := notDue
		switch late := now.Sub(e.status.Next); {
		case late > r.config.Interval:
			rank = overdue
		case e.wanted:
			rank = requested
		case late >= 0:
			rank = due
		}
		if first == nil || rank < best || rank == best && e.status.Next.Before(first.status.Next) {
			first, best = e, rank
		}
	}
	if best == notDue {
		return nil, first.status.Next.Sub(now)
	}
	return first, 0
}

// stopTimeout bounds the writing of a bookmark when the process stops.
const stopTimeout = 5 * time.Second

// sweep runs one sweep, or resumes one.
func (h *host) sweep(ctx context.Context, e *entry) {
	r := h.reconciler
	s := begin(h, e)
	err := s.run(ctx)
	if ctx.Err() != nil {
		r.update(e, func(s *pratique.Sweep) { s.State, s.RetryAt = Waiting, time.Time{} })
		keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		r.save(keep, e)
		return
	}
	now := r.config.Now()
	interval := withJitter(r.config.Interval)
	e.mark.UnderWay, e.mark.Finished, e.mark.Error = false, now, ""
	next := latest(now, e.mark.Started.Add(interval))
	state := Idle
	if err != nil {
		state, next = Failed, now.Add(interval)
		e.mark.Error = pratique.Excerpt(err.Error(), maxError)
		r.config.OnError(pratique.Wrap(pratique.Unknown, "reconcile",
			e.Repository.Repository.String(), err))
	}
	if err == nil || !transient(err) {
		e.mark.Resume = nil
	}
	r.update(e, func(s *pratique.Sweep) {
		s.State, s.Finished, s.Next, s.Error, s.RetryAt = state, now, next, e.mark.Error, time.Time{}
		if err == nil {
			s.Totals.LastSuccess = now
		} else {
			s.Totals.Failures++
		}
		e.mark.LastSuccess = s.Totals.LastSuccess
	})
	r.save(ctx, e)
}

// maxError bounds an error in the status, in bytes.
const maxError = 500
