package database

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// staticInterval is short, because a check costs two stat calls.
	staticInterval = 30 * time.Second
	// requestInterval is how often requests are checked for, which costs one more.
	requestInterval = 500 * time.Millisecond
)

// Run updates when that is due, and again whenever it is, a little later, so that instances do not
// update simultaneously; after a failure it retries sooner, with increasing delays. In between it
// executes the requests of other processes. It returns nil when ctx ends.
func (s *Store) Run(ctx context.Context) error {
	teller := notifier{store: s}
	teller.notify(s.missingError())
	next := s.next()
	for {
		if asked, err := s.serveRequests(ctx); asked {
			teller.notify(err)
			next = s.next()
		}
		if !s.now().Before(next) && (s.cfg.StaticDir != "" || len(s.cfg.Sources) > 0) {
			_, err := s.UpdateIfDue(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				_, err = s.Current()
			}
			teller.notify(err)
			next = s.next()
		}
		pause := time.NewTimer(min(max(next.Sub(s.now()), time.Millisecond), requestInterval))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// missingError returns an error if there is no database and no source for one.
func (s *Store) missingError() error {
	if s.cfg.StaticDir != "" || len(s.cfg.Sources) > 0 {
		return nil
	}
	_, err := s.Current()
	return err
}

// notifier calls OnUpdate.
type notifier struct {
	store    *Store
	notified pratique.Digest
}

func (t *notifier) notify(err error) {
	inUse, missing := t.store.Current()
	if t.store.cfg.OnUpdate == nil || (err == nil && (missing != nil || inUse.Digest == t.notified)) {
		return
	}
	t.store.cfg.OnUpdate(inUse, err)
	t.notified = inUse.Digest
}

// next returns the time of the next check: when it is due, and up to a tenth of the interval later,
// by the nanoseconds of the clock. The very first check is not delayed.
func (s *Store) next() time.Time {
	now := s.now()
	if s.cfg.StaticDir != "" {
		return now.Add(withJitter(min(s.cfg.Interval, staticInterval), now))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.schedule.due(s.cfg, s.current, s.retry, now)
	if s.schedule.TriedAt.IsZero() {
		return due
	}
	wait := s.cfg.Interval
	if s.schedule.Failures > 0 {
		wait = s.schedule.retryDelay(s.cfg, s.retry)
	}
	if due.Before(now) {
		due = now
	}
	return due.Add(withJitter(wait, now) - wait)
}

// withJitter returns d plus up to a tenth.
func withJitter(d time.Duration, now time.Time) time.Duration {
	return d + time.Duration(now.UnixNano())%(d/10+1)
}
