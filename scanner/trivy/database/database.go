// Package database keeps Trivy's vulnerability database on disk and up to date. The database is an OCI
// artifact; several sources are tried in order, the last good one is kept whatever happens, and a new one is
// swapped in beside the old, so that running matches are not disturbed. It uses nothing of Trivy's code.
package database

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/pratique-dev/pratique"
)

// Config says where the database comes from. With neither Sources nor StaticDir there is none, unless an
// earlier one lies in Dir.
type Config struct {
	// Sources are OCI references, tried in order until one answers. A reference without a tag means tag 2,
	// the version of the schema.
	Sources []string
	// Hosts say how to reach the registries of the sources; those not named are reached over HTTPS without
	// credentials.
	Hosts []Host
	// Dir is where downloaded generations are kept. One process at a time may use it.
	Dir string
	// StaticDir is a directory with trivy.db and metadata.json that somebody else keeps up to date. It is
	// used as it is, and Sources are not.
	StaticDir string
	// Interval is the time between two looks for a new database; 6 hours. A static directory is looked at
	// twice a minute.
	Interval time.Duration
	// MaxBytes bounds trivy.db, and the download too; 8 GiB.
	MaxBytes int64
	// OnUpdate is told by Run which generation is in use when that changes, and of each failure, together
	// with the generation that stays in use (zero if there is none). It is called from one goroutine.
	OnUpdate func(Generation, error)
}

// Host is how to reach one registry, named with its port if it has one.
type Host struct {
	Name               string
	PlainHTTP          bool
	Username, Password string
}

// Generation is one state of the database on disk. Dir holds trivy.db, whose sha256 is Digest, and
// metadata.json as Trivy reads it. The directory of a generation stays until the second update after it.
type Generation struct {
	pratique.Database
	Dir string
}

const (
	schemaVersion   = 2
	defaultInterval = 6 * time.Hour
	defaultMaxBytes = 8 << 30
	databaseFile    = "trivy.db"
	metadataFile    = "metadata.json"
	opOpen          = "open vulnerability database"
	opUpdate        = "update vulnerability database"
)

// Store holds the generations. It is safe for concurrent use.
type Store struct {
	cfg       Config
	now       func() time.Time
	transport http.RoundTripper
	lock      *flock.Flock  // nil for a static directory
	retry     time.Duration // the first pause after a failure

	updating sync.Mutex // held for the length of an update
	rejected map[pratique.Digest]error

	mu      sync.Mutex
	current *stored
	last    error // why the newest update failed
	static  static
}

// Open finds the last good generation and hashes it; it contacts nobody. Errors are Invalid for the
// configuration, Unavailable for the directory. That there is no database yet is not an error of Open.
func Open(cfg Config, now func() time.Time) (*Store, error) {
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	s := &Store{cfg: cfg, now: now, transport: newTransport(), retry: 30 * time.Second, rejected: map[pratique.Digest]error{}}
	if cfg.StaticDir != "" {
		return s, nil
	}
	for _, source := range cfg.Sources {
		if _, err := s.reference(source); err != nil {
			return nil, err
		}
	}
	if cfg.Dir == "" {
		return nil, pratique.Errorf(pratique.Invalid, opOpen, "name a directory to keep it in")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, opOpen, cfg.Dir, err)
	}
	s.lock = flock.New(filepath.Join(cfg.Dir, "lock"))
	locked, err := s.lock.TryLock()
	if err == nil && !locked {
		err = errors.New("another process keeps its database there: give each its own directory")
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		_ = s.lock.Close() // the first error says more
		return nil, pratique.Wrap(pratique.Unavailable, opOpen, cfg.Dir, err)
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
	switch {
	case s.current != nil:
		return s.current.generation(s.cfg.Dir), nil
	case len(s.cfg.Sources) == 0:
		return Generation{}, pratique.Errorf(pratique.Unavailable, opOpen, "there is none: name its sources in the configuration, or a directory with --db-dir")
	case s.last != nil:
		return Generation{}, pratique.Wrap(pratique.Unavailable, opOpen, "", fmt.Errorf("there is none yet, and the newest try failed: %w", s.last))
	default:
		return Generation{}, pratique.Errorf(pratique.Unavailable, opOpen, "there is none yet: wait for the first download from %s", strings.Join(s.cfg.Sources, ", "))
	}
}
