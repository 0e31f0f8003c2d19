package database

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

const (
	recordFile  = "generation.json"
	pointerFile = "current"
	tempPrefix  = "tmp-"
)

// stored is a generation as its record on disk says. Manifests are the artifacts, by digest, that were found
// to hold this very database, so that it is not downloaded again.
type stored struct {
	Database  pratique.Database `json:"database"`
	Manifests []pratique.Digest `json:"manifests"`
}

func (g stored) generation(root string) Generation {
	return Generation{Database: g.Database, Dir: filepath.Join(root, g.Database.Digest.Hex())}
}

// metadata is Trivy's metadata.json.
type metadata struct {
	Version      int
	NextUpdate   time.Time
	UpdatedAt    time.Time
	DownloadedAt time.Time
}

// skew is how far the publisher's clock may be ahead of ours. A database from the future would never be too old.
const skew = time.Hour

func parseMetadata(raw []byte, now time.Time) (metadata, error) {
	var m metadata
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, pratique.Errorf(pratique.Invalid, "read database metadata", "%s: %w", metadataFile, err)
	}
	switch {
	case m.Version != schemaVersion:
		return m, pratique.Errorf(pratique.Invalid, "read database metadata", "schema version %d, want %d", m.Version, schemaVersion)
	case m.UpdatedAt.IsZero():
		return m, pratique.Errorf(pratique.Invalid, "read database metadata", "it does not say when the database was built")
	case m.UpdatedAt.After(now.Add(skew)):
		return m, pratique.Errorf(pratique.Invalid, "read database metadata", "built at %s, which is in the future", m.UpdatedAt.Format(time.RFC3339))
	}
	return m, nil
}

// inspect opens the file the way a match does and wants at least one vulnerability in it: an empty database
// would let everything pass.
func inspect(path string) (err error) {
	refuse := func(format string, args ...any) error {
		return pratique.Errorf(pratique.Invalid, "inspect vulnerability database", format, args...)
	}
	// bbolt maps the file; pages that are not there fault, and damaged ones panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = refuse("%s is damaged: %v", databaseFile, r)
		}
	}()
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
	if err != nil {
		return refuse("%s: %w", databaseFile, err)
	}
	defer func() { _ = db.Close() }() // only read
	return db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("vulnerability"))
		if bucket == nil {
			return refuse("%s has no vulnerabilities in it", databaseFile)
		}
		if key, _ := bucket.Cursor().First(); key == nil {
			return refuse("%s has no vulnerabilities in it", databaseFile)
		}
		return nil
	})
}

// load finds the generation to start with. The pointer names the newest and the one before; one that is
// damaged is passed over.
func (s *Store) load() error {
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	pointer, err := os.ReadFile(filepath.Join(s.cfg.Dir, pointerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(pointer)) {
		if _, err := pratique.ParseDigestHex(name); err != nil {
			continue
		}
		if g, err := s.verify(filepath.Join(s.cfg.Dir, name)); err == nil {
			s.current = &g
			return nil
		}
	}
	return nil
}

// verify reads a generation back and hashes it.
func (s *Store) verify(dir string) (stored, error) {
	var g stored
	raw, err := os.ReadFile(filepath.Join(dir, recordFile)) //nolint:gosec // below the store's own directory
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return g, err
	}
	if g.Database.Version != schemaVersion {
		return g, fmt.Errorf("schema version %d", g.Database.Version)
	}
	got, err := hashFile(filepath.Join(dir, databaseFile))
	if err != nil {
		return g, err
	}
	if got != g.Database.Digest || got.Hex() != filepath.Base(dir) {
		return g, fmt.Errorf("%s has digest %s", databaseFile, got)
	}
	return g, inspect(filepath.Join(dir, databaseFile))
}

func (s *Store) removeLeftovers() error {
	items, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		if strings.HasPrefix(item.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(s.cfg.Dir, item.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit gives the files in tmp their name and makes them the current generation. Everything is on disk
// before the pointer moves, so that after a power failure it names something whole.
func (s *Store) commit(tmp string, g stored, meta metadata) error {
	if err := writeJSON(filepath.Join(tmp, metadataFile), meta); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(tmp, recordFile), g); err != nil {
		return err
	}
	if err := syncPath(tmp); err != nil {
		return err
	}
	final := filepath.Join(s.cfg.Dir, g.Database.Digest.Hex())
	if err := os.RemoveAll(final); err != nil { // only a damaged one that was passed over can be there
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	keep := []string{g.Database.Digest.Hex()}
	if old := s.peek(); old != nil {
		keep = append(keep, old.Database.Digest.Hex())
	}
	if err := s.point(keep); err != nil {
		return err
	}
	s.mu.Lock()
	s.current = &g
	s.mu.Unlock()
	return s.prune(keep)
}

func (s *Store) peek() *stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// also notes that another artifact holds the current database.
func (s *Store) also(manifest pratique.Digest) error {
	g := *s.peek()
	g.Manifests = append(slices.Clone(g.Manifests), manifest)
	dir := g.generation(s.cfg.Dir).Dir
	tmp := filepath.Join(s.cfg.Dir, tempPrefix+recordFile)
	if err := writeJSON(tmp, g); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, recordFile)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &g
	return nil
}

func (s *Store) point(names []string) error {
	tmp := filepath.Join(s.cfg.Dir, tempPrefix+pointerFile)
	if err := writeSynced(tmp, []byte(strings.Join(names, "\n")+"\n")); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(s.cfg.Dir, pointerFile)); err != nil {
		return err
	}
	return syncPath(s.cfg.Dir)
}

// prune removes all generations but those named: the current one, and the one that matches may still read.
func (s *Store) prune(keep []string) error {
	items, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		if _, err := pratique.ParseDigestHex(item.Name()); err != nil || slices.Contains(keep, item.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.cfg.Dir, item.Name())); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeSynced(path, raw)
}

func writeSynced(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncPath makes a directory's entries durable.
func syncPath(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func hashFile(path string) (pratique.Digest, error) {
	f, err := os.Open(path) //nolint:gosec // below the store's own directory
	if err != nil {
		return pratique.Digest{}, err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return pratique.Digest{}, err
	}
	return pratique.DigestFromSum([sha256.Size]byte(h.Sum(nil))), nil
}
