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
	// maxWait bounds what a source may ask for: a database that names a next update in ten years,
	// or a proxy with a Retry-After of a month, must not stop the updates.
	maxWait = 24 * time.Hour
)

// schedule records past checks. It is stored, so that a process that is restarted repeatedly does
// not ask the sources each time.
type schedule struct {
	// LookedAt is when a source last answered with a valid database.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	// TriedAt is when the newest check began, Failures counts the checks since LookedAt. A check is
	// counted before it begins, so one that kills the process counts, too.
	TriedAt  time.Time `json:"triedAt,omitzero"`
	Failures int       `json:"failures,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Waits has the time at which each source that asked for a delay may be asked again.
	Waits map[string]time.Time `json:"waits,omitempty"`
}

// due returns when the sources should be asked again: not before the current database's next update
// and not before the interval has passed, and after failures with increasing delays.
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

// retryDelay returns the delay after failures; retry is the first one.
func (p schedule) retryDelay(cfg Config, retry time.Duration) time.Duration {
	return backoff.Backoff{Min: retry, Max: cfg.Interval}.Delay(p.Failures, 0)
}

// earliestWait returns when the first of the sources may be asked.
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
	// A schedule that cannot be read is an empty one.
	if raw, err := os.ReadFile(filepath.Join(dir, scheduleFile)); err == nil {
		if json.Unmarshal(raw, &p) != nil {
			p = schedule{}
		}
	}
	return p
}

// updateSchedule changes the schedule in memory and on disk.
func (s *Store) updateSchedule(change func(*schedule)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.schedule)
	return s.replaceJSON(filepath.Join(s.cfg.Dir, scheduleFile), s.schedule)
}

// Due returns when the sources may be asked again.
func (s *Store) Due() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.schedule.due(s.cfg, s.current, s.retry, s.now())
}

// retryRecorder records the Retry-After of a source.
type retryRecorder struct {
	now   func() time.Time
	mu    sync.Mutex
	until time.Time
}

// recordingTransport passes the answers to a retryRecorder.
type recordingTransport struct {
	*retryRecorder
	inner http.RoundTripper
}

func (p recordingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.inner.RoundTrip(r)
	if err != nil || (resp.StatusCode != http.StatusTooManyRequests &&
		resp.StatusCode != http.StatusServiceUnavailable) {
		return resp, err
	}
	if until := retryAfter(resp.Header, p.now()); !until.IsZero() {
		p.mu.Lock()
		p.until = until
		p.mu.Unlock()
	}
	return resp, nil
}

// reset returns the time that was recorded since the last call, zero if there is none.
func (p *retryRecorder) reset() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := p.until
	p.until = time.Time{}
	return until
}

// retryAfter returns when a source may be asked again, zero if it does not say.
func retryAfter(header http.Header, now time.Time) time.Time {
	wait := min(backoff.FromHeader(header, now), maxWait)
	if wait <= 0 {
		return time.Time{}
	}
	return now.Add(wait).UTC()
}
