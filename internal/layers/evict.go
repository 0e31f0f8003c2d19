package layers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// pin returns the entry of a layer and keeps it from being evicted.
func (s *Store) pin(diffID pratique.Digest) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[diffID]
	if !ok {
		e = &entry{busy: make(chan struct{}, 1)}
		s.entries[diffID] = e
	}
	s.uses++
	e.users, e.lastUse = e.users+1, s.uses
	return e
}

func (s *Store) unpin(diffID pratique.Digest, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.users--
	if e.users == 0 && !e.stored {
		delete(s.entries, diffID)
	}
}

// reserve makes room for n more bytes, at the cost of the layers that were not used for longest.
func (s *Store) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.used+n > s.max {
		victim, ok := s.oldestIdle()
		if !ok {
			return errFull(s.max)
		}
		if err := s.drop(victim, s.entries[victim]); err != nil {
			return pratique.Wrap(pratique.Unavailable, "make room for layer", "", err)
		}
		delete(s.entries, victim)
	}
	s.used += n
	return nil
}

func (s *Store) oldestIdle() (pratique.Digest, bool) {
	var oldest pratique.Digest
	for diffID, e := range s.entries {
		if e.stored && e.users == 0 && (oldest.IsZero() || e.lastUse < s.entries[oldest].lastUse) {
			oldest = diffID
		}
	}
	return oldest, !oldest.IsZero()
}

// drop removes a layer's files; the mutex is held.
func (s *Store) drop(diffID pratique.Digest, e *entry) error {
	for _, path := range []string{s.path(diffID), s.recordPath(diffID)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.used -= e.size
	e.stored, e.size = false, 0
	e.checked, e.verified, e.headers = false, nil, 0 // nobody has the turn, or the caller has it
	return nil
}

// diskReservation is the room taken for one layer while it is written.
type diskReservation struct {
	store *Store
	bytes int64
}

func (s *diskReservation) grow(n int64) error {
	if s.bytes+n > s.store.max {
		return errExpands("the whole layer store's", s.store.max)
	}
	if err := s.store.reserve(n); err != nil {
		return err
	}
	s.bytes += n
	return nil
}

func (s *diskReservation) release() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.used -= s.bytes
	s.bytes = 0
}

// commit turns the room into that of a stored layer.
func (s *diskReservation) commit(e *entry, size int64) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.used += size - s.bytes
	s.bytes = 0
	e.stored, e.size = true, size
}

type reservingWriter struct {
	ctx    context.Context
	budget *reservation
	disk   *diskReservation
	to     io.Writer
}

func (w *reservingWriter) Write(p []byte) (int, error) {
	if err := w.budget.grow(w.ctx, int64(len(p))); err != nil {
		return 0, err
	}
	if err := w.disk.grow(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := w.to.Write(p)
	return n, pratique.Wrap(pratique.Unavailable, "write layer", "", err)
}

// rulesVersion is the version of the checks that a layer has to pass. What passed those of an earlier version is checked again.
const rulesVersion = 2

// layerRecord is what is kept on disk beside a layer: how many headers it has, and the compressed forms that were verified.
type layerRecord struct {
	Rules    int          `json:"rules"`
	Entries  int64        `json:"entries"`
	Verified []compressed `json:"verified"`
}

// writeRecord writes the note of a layer. Without it the layer is fetched again.
func (s *Store) writeRecord(diffID pratique.Digest, n layerRecord) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "note layer", "", err)
	}
	tmp := filepath.Join(s.dir, "tmp", diffID.Hex()+".json")
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return pratique.Wrap(pratique.Unavailable, "note layer", "", err)
	}
	return pratique.Wrap(pratique.Unavailable, "note layer", "", os.Rename(tmp, s.recordPath(diffID)))
}

func (s *Store) recordPath(diffID pratique.Digest) string {
	return filepath.Join(s.dir, diffID.Hex()+".json")
}

// load removes leftovers and lists the layers that are there, oldest first.
func (s *Store) load() error {
	tmp := filepath.Join(s.dir, "tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	listed, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, item := range listed {
		if !strings.HasSuffix(item.Name(), ".tar") {
			continue
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		files = append(files, info)
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, info := range files {
		diffID, err := pratique.ParseDigestHex(strings.TrimSuffix(info.Name(), ".tar"))
		if err != nil || !info.Mode().IsRegular() {
			continue // not ours, leave it
		}
		s.uses++
		s.used += info.Size()
		kept := s.readRecord(diffID)
		s.entries[diffID] = &entry{busy: make(chan struct{}, 1), verified: kept.Verified, headers: kept.Entries, stored: true,
			size: info.Size(), lastUse: s.uses}
	}
	if err := s.removeOrphans(listed); err != nil {
		return err
	}
	return s.reserve(0) // the store may have been larger before
}

// readRecord reads a note. One that is missing or damaged means only that a layer is looked at again.
func (s *Store) readRecord(diffID pratique.Digest) layerRecord {
	var kept layerRecord
	raw, err := os.ReadFile(s.recordPath(diffID))
	if err != nil || json.Unmarshal(raw, &kept) != nil || kept.Rules != rulesVersion {
		return layerRecord{}
	}
	return kept
}

func (s *Store) removeOrphans(listed []fs.DirEntry) error {
	for _, item := range listed {
		hex, isNote := strings.CutSuffix(item.Name(), ".json")
		diffID, err := pratique.ParseDigestHex(hex)
		if !isNote || err != nil || s.entries[diffID] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, item.Name())); err != nil {
			return err
		}
	}
	return nil
}
