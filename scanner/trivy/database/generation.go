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
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/durable"
)

const (
	recordFile  = "generation.json"
	pointerFile = "current"
	tempPrefix  = "tmp-"
)

// stored is the record of a generation on disk. Manifests are the digests of artifacts with this
// database, which need not be downloaded.
type stored struct {
	Database  pratique.Database `json:"database"`
	Manifests []pratique.Digest `json:"manifests"`
}

func (g stored) generation(root string) Generation {
	return Generation{Database: g.Database, Dir: filepath.Join(root, g.Database.Digest.Hex())}
}

// load finds the generation to start with.
func (s *Store) load() error {
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	names, err := readPointer(s.cfg.Dir)
	for _, name := range names {
		if g, err := s.cfg.Kind.verify(filepath.Join(s.cfg.Dir, name)); err == nil {
			s.current = &g
			break
		}
	}
	s.schedule = readSchedule(s.cfg.Dir)
	return err
}

// readPointer returns the generations that the pointer in dir names: the newest one, and the one
// before, which is used if the newest is damaged.
func readPointer(dir string) ([]string, error) {
	pointer, err := os.ReadFile(filepath.Join(dir, pointerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := slices.DeleteFunc(strings.Fields(string(pointer)), func(name string) bool {
		_, err := pratique.ParseDigestHex(name)
		return err != nil
	})
	return names, err
}

// readRecord reads the record of a generation.
func (k Kind) readRecord(dir string) (stored, error) {
	var g stored
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return g, err
	}
	if g.Database.Version != k.schema {
		return g, fmt.Errorf("schema version %d", g.Database.Version)
	}
	return g, nil
}

// verify reads the record of a generation and hashes the database.
func (k Kind) verify(dir string) (stored, error) {
	g, err := k.readRecord(dir)
	if err != nil {
		return g, err
	}
	got, err := hashFile(filepath.Join(dir, k.file))
	if err != nil {
		return g, err
	}
	if got != g.Database.Digest || got.Hex() != filepath.Base(dir) {
		return g, fmt.Errorf("%s has digest %s", k.file, got)
	}
	return g, k.inspect(filepath.Join(dir, k.file))
}

func (s *Store) removeLeftovers() error {
	items, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		left := strings.HasPrefix(item.Name(), tempPrefix)
		if info, err := item.Info(); err == nil && strings.HasPrefix(item.Name(), partialPrefix) {
			left = time.Since(info.ModTime()) > partialAge
		}
		if left {
			if err := os.RemoveAll(filepath.Join(s.cfg.Dir, item.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit renames the directory tmp to the generation's name and makes it the current one.
// Everything is synced before the pointer moves, so after a power failure the pointer names a
// complete generation.
func (s *Store) commit(tmp string, g stored, meta metadata) error {
	if err := writeJSON(filepath.Join(tmp, metadataFile), meta); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(tmp, recordFile), g); err != nil {
		return err
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	final := filepath.Join(s.cfg.Dir, g.Database.Digest.Hex())
	if err := os.RemoveAll(final); err != nil { // it can only be a damaged one
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	keep := []string{g.Database.Digest.Hex()}
	if old := s.inUse(); old != nil {
		keep = append(keep, old.Database.Digest.Hex())
	}
	if err := s.writePointer(keep); err != nil {
		return err
	}
	s.mu.Lock()
	s.current = &g
	s.mu.Unlock()
	return s.prune(keep)
}

func (s *Store) inUse() *stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// addManifests records that other artifacts hold the current database, and the times of a later
// build.
func (s *Store) addManifests(manifests []pratique.Digest, meta metadata) error {
	g := *s.inUse()
	if meta.UpdatedAt.After(g.Database.UpdatedAt) {
		g.Database.UpdatedAt, g.Database.NextUpdate = meta.UpdatedAt.UTC(), meta.NextUpdate.UTC()
	} else if len(manifests) == 0 {
		return nil
	}
	g.Manifests = append(slices.Clone(g.Manifests), manifests...)
	if err := s.replaceJSON(filepath.Join(g.generation(s.cfg.Dir).Dir, recordFile), g); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &g
	return nil
}

func (s *Store) writePointer(names []string) error {
	tmp := filepath.Join(s.cfg.Dir, tempPrefix+pointerFile)
	if err := writeSynced(tmp, []byte(strings.Join(names, "\n")+"\n")); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(s.cfg.Dir, pointerFile)); err != nil {
		return err
	}
	return durable.SyncDir(s.cfg.Dir)
}

// prune removes all generations except those in keep (the current one and the previous one, which
// running matches may read), and those of the configuration. A borrowed one stays until the next
// time.
func (s *Store) prune(keep []string) error {
	if s.cfg.Keep != nil {
		for _, d := range s.cfg.Keep() {
			keep = append(keep, d.Hex())
		}
	}
	items, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		if _, err := pratique.ParseDigestHex(item.Name()); err != nil ||
			slices.Contains(keep, item.Name()) {
			continue
		}
		if err := removeUnlessBorrowed(filepath.Join(s.cfg.Dir, item.Name())); err != nil {
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

// replaceJSON replaces a file below the store's directory, by renaming a new one.
func (s *Store) replaceJSON(path string, v any) error {
	tmp := filepath.Join(s.cfg.Dir, tempPrefix+filepath.Base(path))
	if err := writeJSON(tmp, v); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func writeSynced(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

func hashFile(path string) (pratique.Digest, error) {
	f, err := os.Open(path)
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
