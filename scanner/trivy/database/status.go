package database

import (
	"os"
	"path/filepath"
	"time"

	"github.com/pratique-dev/pratique"
)

// Status is the state of a directory.
type Status struct {
	// Current is the database in use, nil if there is none; Generations are all that are stored,
	// newest first.
	Current     *pratique.Database  `json:"current,omitempty"`
	Generations []pratique.Database `json:"generations,omitempty"`
	// LookedAt is when a source last answered, Due when the sources may be asked again.
	LookedAt time.Time `json:"lookedAt,omitzero"`
	Due      time.Time `json:"due,omitzero"`
	// Failures counts the failed checks since LookedAt, LastError is the newest failure.
	Failures  int    `json:"failures,omitempty"`
	LastError string `json:"lastError,omitempty"`
	// Waits has the time at which each source that asked for a delay may be asked again.
	Waits map[string]time.Time `json:"waits,omitempty"`
	// PartialBytes is the size of an interrupted download, which will be resumed.
	PartialBytes int64 `json:"partialBytes,omitempty"`
}

// ReadStatus reads the state of cfg.Dir, which another process may own. It writes nothing, and does
// not hash.
func ReadStatus(cfg Config, now time.Time) (Status, error) {
	cfg = cfg.withDefaults()
	names, err := readPointer(cfg.Dir)
	if err != nil {
		return Status{}, pratique.Wrap(pratique.Unavailable, cfg.Kind.op("look at"), cfg.Dir, err)
	}
	var s Status
	var current *stored
	for _, name := range names {
		g, err := cfg.Kind.readRecord(filepath.Join(cfg.Dir, name))
		if err != nil {
			continue
		}
		if current == nil {
			current, s.Current = &g, &g.Database
		}
		s.Generations = append(s.Generations, g.Database)
	}
	plan := readSchedule(cfg.Dir)
	s.LookedAt, s.Failures, s.LastError = plan.LookedAt, plan.Failures, plan.Error
	if s.Failures == 0 {
		s.LastError = ""
	}
	if len(cfg.Sources) > 0 {
		s.Due = plan.due(cfg, current, firstRetry, now)
	}
	for source, until := range plan.Waits {
		if until.After(now) {
			if s.Waits == nil {
				s.Waits = map[string]time.Time{}
			}
			s.Waits[source] = until
		}
	}
	partials, _ := filepath.Glob(filepath.Join(cfg.Dir, partialPrefix+"*")) // the pattern is sound
	for _, path := range partials {
		if info, err := os.Stat(path); err == nil {
			s.PartialBytes += info.Size()
		}
	}
	return s, nil
}
