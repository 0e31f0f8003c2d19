package database

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
)

// staticInterval is short, because looking costs two stat calls.
const staticInterval = 30 * time.Second

// Run updates at once and then at the configured interval, a little earlier or later so that many instances
// do not come together; after a failure it comes back sooner, and less soon each time. It ends, without an
// error, when ctx does.
func (s *Store) Run(ctx context.Context) error {
	var told pratique.Digest
	for failures := 0; ; {
		_, err := s.Update(ctx)
		if ctx.Err() != nil {
			return nil
		}
		inUse, missing := s.Current()
		if err == nil {
			err = missing
		}
		if s.cfg.OnUpdate != nil && (err != nil || inUse.Digest != told) {
			s.cfg.OnUpdate(inUse, err)
			told = inUse.Digest
		}
		failures++
		if err == nil {
			failures = 0
		}
		pause := time.NewTimer(s.pause(failures))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
	}
}

// pause is the time until the next update, give or take a tenth; the nanoseconds of the clock are random enough.
func (s *Store) pause(failures int) time.Duration {
	d := s.cfg.Interval
	if s.cfg.StaticDir != "" {
		d = min(d, staticInterval)
	}
	if failures > 0 {
		d = min(d, s.retry<<min(failures-1, 20))
	}
	return d - d/10 + time.Duration(s.now().UnixNano())%(d/5+1)
}
