package database

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	scheduleFile = "schedule.json"
	// maxWait bounds what a source may ask for: a database that says it will be replaced in ten years, or a
	// proxy that asks us to come back next month, must not end the updates.
	maxWait = 24 * time.Hour
)

// schedule is what is known about past looks. It is kept on disk, so that a process that is started again and
// again does not ask the sources each time.
type schedule struct {
	// LookedAt is when a source last answered with a database that serves.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	// TriedAt is when the newest look began, Failures the looks since LookedAt. A look is counted before it
	// begins, so that one that kills the process counts, too.
	TriedAt  time.Time `json:"triedAt,omitzero"`
	Failures int       `json:"failures,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Waits says for each source that asked for it when it may be asked again.
	Waits map[string]time.Time `json:"waits,omitempty"`
}

// due is when the sources should be looked at again: not before the database in use says that there will be
// another one, not before the interval has passed, and after a failure a little later each time.
func (p schedule) due(cfg Config, current *stored, retry time.Duration, now time.Time) time.Time {
	var at time.Time
	switch {
	case p.TriedAt.After(now.Add(skew)) || p.LookedAt.After(now.Add(skew)):
		return now // our clock was set back
	case p.Failures > 0:
		at = p.TriedAt.Add(p.retryDelay(cfg, retry))
	case p.LookedAt.IsZero():
	case current == nil:
		at = p.LookedAt.Add(min(cfg.Interval, retry))
	default:
		at = p.LookedAt.Add(cfg.Interval)
		if next := current.Database.NextUpdate; next.After(at) {
			at = next
		}
		if most := p.LookedAt.Add(max(maxWait, cfg.Interval)); at.After(most) {
			at = most
		}
	}
	if free := p.earliestWait(cfg.Sources); free.After(at) {
		at = free
	}
	return at
}

// retryDelay is how long to wait after failures, the first of which is followed by a wait of retry.
func (p schedule) retryDelay(cfg Config, retry time.Duration) time.Duration {
	return backoff.Backoff{Min: retry, Max: cfg.Interval}.Delay(p.Failures, 0)
}

// earliestWait is when the first of the sources may be asked.
func (p schedule) earliestWait(sources []string) time.Time {
	var first time.Time
	for i, s := range sources {
		if until := p.Waits[s]; i == 0 || until.Before(first) {
			first = until
		}
	}
	return first
}

func readSchedule(dir string) schedule {
	var p schedule
	// What cannot be read is as if nobody had looked before.
	if raw, err := os.ReadFile(filepath.Join(dir, scheduleFile)); err == nil {
		if json.Unmarshal(raw, &p) != nil {
			p = schedule{}
		}
	}
	return p
}

// updateSchedule changes the schedule, in memory and on disk.
func (s *Store) updateSchedule(change func(*schedule)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.schedule)
	tmp := filepath.Join(s.cfg.Dir, tempPrefix+scheduleFile)
	if err := writeJSON(tmp, s.schedule); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.cfg.Dir, scheduleFile))
}

// Due is when the sources may be looked at again.
func (s *Store) Due() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.schedule.due(s.cfg, s.current, s.retry, s.now())
}

// retryRecorder hears how long a source asks us to wait.
type retryRecorder struct {
	now   func() time.Time
	mu    sync.Mutex
	until time.Time
}

// recordingTransport is a transport whose answers patience hears.
type recordingTransport struct {
	*retryRecorder
	inner http.RoundTripper
}

func (p recordingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.inner.RoundTrip(r)
	if err != nil || (resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable) {
		return resp, err
	}
	if until := retryAfter(resp.Header, p.now()); !until.IsZero() {
		p.mu.Lock()
		p.until = until
		p.mu.Unlock()
	}
	return resp, nil
}

// reset returns what was asked since the last call, or zero.
func (p *retryRecorder) reset() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := p.until
	p.until = time.Time{}
	return until
}

// retryAfter is when a source wants to be asked again, zero if it does not say.
func retryAfter(header http.Header, now time.Time) time.Time {
	wait := min(backoff.FromHeader(header, now), maxWait)
	if wait <= 0 {
		return time.Time{}
	}
	return now.Add(wait).UTC()
}
