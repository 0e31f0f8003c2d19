// Package database keeps Trivy's databases on disk and up to date: that of vulnerabilities, and the one that
// knows jars. A database is an OCI artifact; several sources are tried in order, never more often than they say,
// an interrupted download is gone on with, the last good database is kept whatever happens, and a new one is
// swapped in beside the old, so that running matches are not disturbed. It uses nothing of Trivy's code.
//
// One process of a machine owns a directory and keeps it up to date. The others borrow from it ([Borrow]), look
// at it ([ReadStatus]), or leave their wishes in it ([Ask]).
package database

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dirlock"
)

// Config says where the database comes from. With neither Sources nor StaticDir there is none, unless an
// earlier one lies in Dir.
type Config struct {
	// Kind is the database that is kept; that of vulnerabilities.
	Kind Kind
	// Sources are OCI references, tried in order until one answers. A reference without a tag means tag 2,
	// the version of the schema.
	Sources []string
	// Hosts say how to reach the registries of the sources; those not named are reached over HTTPS without
	// credentials.
	Hosts []Host
	// CA are certificates, in PEM, of authorities that are trusted for the sources beside those of the system and of
	// their host.
	CA []byte
	// Dir is where downloaded generations are kept. One process at a time may use it.
	Dir string
	// StaticDir is a directory with trivy.db and metadata.json that somebody else keeps up to date. It is
	// used as it is, and Sources are not.
	StaticDir string
	// Interval is the shortest time between two looks for a new database; 6 hours. While the database in use says
	// that the next one is not due, nobody looks either, for a day at most. A static directory is looked at twice
	// a minute.
	Interval time.Duration
	// Keep names generations that must stay on disk although newer ones have come, in addition to the last two;
	// nil names none.
	Keep func() []pratique.Digest
	// MaxBytes bounds the database's file, and the download too; 8 GiB.
	MaxBytes int64
	// Progress is told how many bytes of a download are there; it may be nil.
	Progress func(done, total int64)
	// OnUpdate is told by Run which generation is in use when that changes, and of each failure, together
	// with the generation that stays in use (zero if there is none). It is called from one goroutine.
	OnUpdate func(Generation, error)
}

// Host is how to reach one registry, named with its port if it has one.
type Host struct {
	Name string
	// PlainHTTP means without TLS. It is the default of loopback hosts, unless TLS is set.
	PlainHTTP, TLS     bool
	Username, Password string
	// CA are certificates, in PEM, of authorities that are trusted for this registry.
	CA []byte
}

// Generation is one state of the database on disk. Dir holds the database's file, whose sha256 is Digest, and
// metadata.json as Trivy reads it. The directory of a generation stays until the second update after it.
type Generation struct {
	pratique.Database
	Dir string
}

const (
	schemaVersion   = 2
	defaultInterval = 6 * time.Hour
	defaultMaxBytes = 8 << 30
	firstRetry      = 30 * time.Second
	databaseFile    = "trivy.db"
	metadataFile    = "metadata.json"
)

// Store holds the generations. It is safe for concurrent use.
type Store struct {
	cfg      Config
	now      func() time.Time
	patience *patience
	lock     *flock.Flock  // nil for a static directory
	retry    time.Duration // the first pause after a failure

	updating sync.Mutex // held for the length of an update
	rejected map[pratique.Digest]error

	mu      sync.Mutex
	current *stored
	plan    schedule
	last    error // why the newest update failed
	static  static
}

func (c Config) withDefaults() Config {
	c.Kind = c.Kind.orDefault()
	if c.Interval <= 0 {
		c.Interval = defaultInterval
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultMaxBytes
	}
	return c
}

// ErrInUse says that another process keeps its database in the directory.
var ErrInUse = dirlock.ErrInUse

// Open finds the last good generation and hashes it; it contacts nobody. Errors are Invalid for the
// configuration, Unavailable for the directory; [ErrInUse] if another process owns it. That there is no database yet is not an error of Open.
func Open(cfg Config, now func() time.Time) (*Store, error) {
	cfg = cfg.withDefaults()
	s := &Store{cfg: cfg, now: now, retry: firstRetry, rejected: map[pratique.Digest]error{}}
	s.patience = &patience{now: now}
	if cfg.StaticDir != "" {
		return s, nil
	}
	for _, source := range cfg.Sources {
		ref, err := s.reference(source)
		if err == nil {
			_, err = s.transport(ref)
		}
		if err != nil {
			return nil, err
		}
	}
	if cfg.Dir == "" {
		return nil, pratique.Errorf(pratique.Invalid, cfg.Kind.op("open"), "name a directory to keep it in")
	}
	var err error
	if s.lock, err = dirlock.Lock(cfg.Dir); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, cfg.Kind.op("open"), cfg.Dir, err)
	}
	if err := s.load(); err != nil {
		_ = s.lock.Close() // the first error says more
		return nil, pratique.Wrap(pratique.Unavailable, cfg.Kind.op("open"), cfg.Dir, err)
	}
	return s, nil
}

// Close lets another process use the directory. Stop Run first.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Current returns the generation to match against. Without one it fails with kind Unavailable: nothing may
// pass for want of a database.
func (s *Store) Current() (Generation, error) {
	if s.cfg.StaticDir != "" {
		return s.currentStatic()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.cfg.Kind.op("open")
	switch {
	case s.current != nil:
		return s.current.generation(s.cfg.Dir), nil
	case len(s.cfg.Sources) == 0:
		return Generation{}, pratique.Errorf(pratique.Unavailable, op,
			"there is none: import one with pratique db import, name its sources (database.sources, with database.offline: false), or name a directory that holds one (database.dir, or --db-dir)")
	case s.last != nil:
		return Generation{}, pratique.Wrap(pratique.Unavailable, op, "", fmt.Errorf("there is none yet, and the newest try failed: %w", s.last))
	case s.plan.Error != "":
		return Generation{}, pratique.Errorf(pratique.Unavailable, op, "there is none yet, and the newest try failed: %s", s.plan.Error)
	default:
		return Generation{}, pratique.Errorf(pratique.Unavailable, op, "there is none yet: wait for the first download from %s", strings.Join(s.cfg.Sources, ", "))
	}
}
