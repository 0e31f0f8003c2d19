// Package database keeps Trivy's databases on disk and up to date: the vulnerability database and
// the Java database. A database is an OCI artifact. Several sources are tried in order, never more
// often than they allow; an interrupted download is resumed; the last good database is kept
// whatever happens; and a new one is stored beside the old one, so that running matches are not
// disturbed. The package uses none of Trivy's code.
//
// One process of a machine owns a directory and updates it. Others borrow from it ([Borrow]), read
// its state ([ReadStatus]), or send requests to the owner ([Send]).
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

// Config says where the database comes from. With neither Sources nor StaticDir there is none,
// unless Dir has an earlier one.
type Config struct {
	// Kind is the database to keep; the zero value is the vulnerability database.
	Kind Kind
	// Sources are OCI references, tried in order until one answers. The default tag is the version
	// of the schema.
	Sources []string
	// Hosts configure the registries of the sources; others are reached over HTTPS without
	// credentials.
	Hosts []Host
	// CA are PEM certificates of authorities to trust for the sources, in addition to those of the
	// system and of their host.
	CA []byte
	// Dir is the directory for downloaded generations. One process at a time may own it.
	Dir string
	// StaticDir is a directory with trivy.db and metadata.json that somebody else updates. It
	// replaces Sources.
	StaticDir string
	// Interval is the shortest time between two checks for a new database; 6 hours. There is no
	// check either before the current database's next update is due, for a day at most. A static
	// directory is checked twice a minute.
	Interval time.Duration
	// Keep returns generations to keep in addition to the last two; nil keeps none.
	Keep func() []pratique.Digest
	// MaxBytes bounds the database file, and also the download; 8 GiB.
	MaxBytes int64
	// Progress is called with the bytes of a download so far; it may be nil.
	Progress func(done, total int64)
	// OnUpdate is called by Run with the current generation when that changes, and with each
	// failure and the generation that stays in use (zero if there is none). It is called from one
	// goroutine.
	OnUpdate func(Generation, error)
}

// Host configures a registry, named with its port if it has one.
type Host struct {
	Name string
	// PlainHTTP means without TLS. It is the default of loopback hosts, unless TLS is set.
	PlainHTTP, TLS     bool
	Username, Password string
	// CA are PEM certificates of authorities to trust for this registry.
	CA []byte
}

// Generation is a version of the database on disk. Dir holds the database file, whose sha256 is
// Digest, and metadata.json as Trivy reads it. The directory stays until the second update after
// it.
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
	cfg        Config
	now        func() time.Time
	retryAfter *retryRecorder
	lock       *flock.Flock  // nil for a static directory
	retry      time.Duration // the first pause after a failure

	updating sync.Mutex // held for the length of an update
	rejected map[pratique.Digest]error

	mu       sync.Mutex
	current  *stored
	schedule schedule
	last     error // of the newest update
	static   static
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

// ErrInUse is the error if another process owns the directory.
var ErrInUse = dirlock.ErrInUse

// Open finds the last good generation and hashes it; it contacts nobody. A missing database is no
// error. The error is Invalid for the configuration and Unavailable for the directory; it is
// [ErrInUse] if another process owns that.
func Open(cfg Config, now func() time.Time) (*Store, error) {
	cfg = cfg.withDefaults()
	s := &Store{cfg: cfg, now: now, retry: firstRetry, rejected: map[pratique.Digest]error{}}
	s.retryAfter = &retryRecorder{now: now}
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
		return nil, pratique.Errorf(pratique.Invalid, cfg.Kind.op("open"), "a directory is required")
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

// Current returns the generation to match against. Without one the error is Unavailable: nothing
// may pass for lack of a database.
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
		return Generation{}, pratique.Wrap(pratique.Unavailable, op, "",
			fmt.Errorf("there is none yet, and the newest try failed: %w", s.last))
	case s.schedule.Error != "":
		return Generation{}, pratique.Errorf(pratique.Unavailable, op,
			"there is none yet, and the newest try failed: %s", s.schedule.Error)
	default:
		return Generation{}, pratique.Errorf(pratique.Unavailable, op,
			"there is none yet: wait for the first download from %s", strings.Join(s.cfg.Sources, ", "))
	}
}
