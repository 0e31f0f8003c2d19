// Package analysiscache keeps on disk what was found in single layers, for example a scanner's
// analysis of one. It is made once, and serves every image that has the layer, in every process that
// parses images, and after a restart. Whatever is lost or damaged is made again.
package analysiscache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dirlock"
)

// Key says what an entry is: the layer by its diff id, and the fingerprint of everything else that its
// content depends on, such as a tool, its version and its settings. Two makers whose results could
// differ in one byte must have two fingerprints.
type Key struct {
	Layer       pratique.Digest
	Fingerprint string
}

// Store is a bounded directory of entries. It is safe for concurrent use; one process at a time may use a
// directory, and only that process should be able to write there.
//
// The name of an entry's file has the digest of its content, which is checked at each use, so nothing relies
// on the disk having kept what was written.
type Store struct {
	dir  string
	max  int64
	lock *flock.Flock

	mu      sync.Mutex
	entries map[name]*entry
	used    int64
	uses    int64 // counts, so that the least recently used is known
}

// name is the hash of a key.
type name [sha256.Size]byte

// entry is one file; one with users is not evicted.
type entry struct {
	content pratique.Digest
	size    int64 // on disk
	users   int
	lastUse int64
}

const (
	defaultMaxBytes = 2 << 30
	// block is what a file takes at least on most disks. Without it countless tiny entries would fit the bound.
	block = 4 << 10
)

func room(bytes int64) int64 { return (bytes + block) / block * block }

// Open opens the store in dir, which is made if need be, and removes what an interrupted process left. With
// maxBytes at or below zero it holds 2 GiB. It is an error of kind Unavailable if another process has it open.
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	s := &Store{dir: dir, max: maxBytes, entries: map[name]*entry{}}
	var err error
	if s.lock, err = dirlock.Lock(dir); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open analysis store", dir, err)
	}
	if err := s.load(); err != nil {
		_ = s.lock.Close() // the first error says more
		return nil, pratique.Wrap(pratique.Unavailable, "open analysis store", dir, err)
	}
	return s, nil
}

// Close lets another process use the directory.
func (s *Store) Close() error { return s.lock.Close() }

// Get returns the file with the content of k. It stays until release is called, which may be done more than
// once. An entry that is not what was put is dropped, and there is none then: ok is false.
func (s *Store) Get(k Key) (path string, release func(), ok bool) {
	n := k.name()
	s.mu.Lock()
	e, ok := s.entries[n]
	if !ok {
		s.mu.Unlock()
		return "", func() {}, false
	}
	s.uses++
	e.users, e.lastUse = e.users+1, s.uses
	s.mu.Unlock()
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.users--
	})
	path = s.path(n, e.content)
	body, err := os.ReadFile(path)
	if err != nil || pratique.DigestOf(body) != e.content {
		release()
		s.drop(n, e)
		return "", func() {}, false
	}
	// Only the order of eviction after a restart hangs on it.
	_ = os.Chtimes(path, time.Time{}, time.Now())
	return path, release, true
}

// Put stores the content of k. If there is one already, that one stays: whoever comes second has made the same.
// A body for which there is no room beside the entries in use is not kept, which is no error.
func (s *Store) Put(k Key, body []byte) error {
	const op = "store analysis"
	n, e := k.name(), &entry{content: pratique.DigestOf(body), size: room(int64(len(body)))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[n] != nil || !s.reserve(e.size) {
		return nil
	}
	// The lock is held while the file is written: it is small, and no other process may write here.
	tmp := filepath.Join(s.dir, tempDir, hex.EncodeToString(n[:]))
	err := os.WriteFile(tmp, body, 0o600)
	if err == nil {
		err = os.Rename(tmp, s.path(n, e.content))
	}
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, op, k.Layer.String(), errors.Join(err, removeAny(tmp)))
	}
	s.uses++
	e.lastUse = s.uses
	s.entries[n], s.used = e, s.used+e.size
	return nil
}

// reserve evicts the entries that were not used for longest until n more bytes fit; the mutex is held.
func (s *Store) reserve(n int64) bool {
	if n > s.max {
		return false
	}
	for s.used+n > s.max {
		var victim name
		var oldest *entry
		for candidate, e := range s.entries {
			if e.users == 0 && (oldest == nil || e.lastUse < oldest.lastUse) {
				victim, oldest = candidate, e
			}
		}
		if oldest == nil || s.remove(victim, oldest) != nil {
			return false
		}
	}
	return true
}

// drop forgets a damaged entry, unless that was done already.
func (s *Store) drop(n name, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[n] == e {
		_ = s.remove(n, e) // a file that cannot be removed is found damaged again
	}
}

// remove deletes the file of an entry and forgets it; the mutex is held.
func (s *Store) remove(n name, e *entry) error {
	if err := removeAny(s.path(n, e.content)); err != nil {
		return err
	}
	delete(s.entries, n)
	s.used -= e.size
	return nil
}

func removeAny(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
