// Package analysiscache keeps on disk what was found in single layers, for example a scanner's
// analysis of one. An analysis serves every image that has the layer, in every process that parses
// images, also after a restart. One that is lost or damaged is made again.
package analysiscache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dircache"
)

// Key identifies an entry: the layer by its diff id, and the fingerprint of everything else that
// the content depends on, such as a tool, its version and its settings. Two tools whose results
// could differ in one byte must have two fingerprints.
type Key struct {
	Layer       pratique.Digest
	Fingerprint string
}

// Store is a bounded directory of entries. It is safe for concurrent use; one process at a time may
// use a directory, and only that process should be able to write there.
//
// A file's name is the hash of its key and the digest of its content, so one rename adds an entry.
// The content is checked at each use, so nothing relies on the disk having kept what was written.
type Store struct{ dir *dircache.Dir[struct{}] }

const (
	defaultMaxBytes = 2 << 30
	// block is what a file takes on most disks at least. Without it countless tiny entries would
	// fit the bound.
	block = 4 << 10
)

func diskSize(bytes int64) int64 { return (bytes + block) / block * block }

// Open opens the store in dir, and makes it if it is missing. With maxBytes at or below zero it
// holds 2 GiB. The error is Unavailable if another process has it open.
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	d, err := dircache.Open(dir, dircache.Options[struct{}]{MaxBytes: maxBytes, Size: diskSize,
		Key: func(file string) (string, bool) {
			key, _, ok := parse(file)
			return key, ok
		}})
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open analysis store", dir, err)
	}
	return &Store{dir: d}, nil
}

// Close lets another process use the directory.
func (s *Store) Close() error { return s.dir.Close() }

// Get returns the file with the content of k. It stays until release is called, which may be done
// more than once. A damaged entry is dropped; then ok is false.
func (s *Store) Get(k Key) (path string, release func(), ok bool) {
	p, ok := s.dir.Pin(k.hash())
	if !ok {
		return "", p.Release, false
	}
	_, content, _ := parse(filepath.Base(p.Path))
	if body, err := os.ReadFile(p.Path); err != nil || pratique.DigestOf(body) != content {
		p.Release()
		_ = s.dir.Drop(p) // a file that cannot be removed is found damaged again
		return "", func() {}, false
	}
	return p.Path, p.Release, true
}

// Put stores the content of k, unless there is one. It is no error if the entries in use leave no
// room for it.
func (s *Store) Put(k Key, body []byte) error {
	size := diskSize(int64(len(body)))
	if p, ok := s.dir.Pin(k.hash()); ok {
		p.Release()
		return nil
	}
	if s.dir.Reserve(size) != nil {
		return nil
	}
	if err := s.write(k, body, size); err != nil {
		s.dir.Unreserve(size)
		return pratique.Wrap(pratique.Unavailable, "store analysis", k.Layer.String(), err)
	}
	return nil
}

func (s *Store) write(k Key, body []byte, size int64) error {
	temp, err := os.CreateTemp(s.dir.TempDir(), "")
	if err != nil {
		return err
	}
	_, err = temp.Write(body)
	if err = errors.Join(err, temp.Close()); err == nil {
		var p dircache.Pinned[struct{}]
		if p, err = s.dir.Commit(temp.Name(), k.file(body), int64(len(body)), size,
			struct{}{}); err == nil {
			p.Release()
			return nil
		}
	}
	return errors.Join(err, os.Remove(temp.Name()))
}

func (k Key) hash() string {
	sum := sha256.Sum256([]byte(k.Layer.String() + "\n" + k.Fingerprint))
	return hex.EncodeToString(sum[:])
}

func (k Key) file(body []byte) string { return k.hash() + "-" + pratique.DigestOf(body).Hex() }

// parse reads the name of a file; ok is false for files that are not ours.
func parse(file string) (key string, content pratique.Digest, ok bool) {
	key, sum, _ := strings.Cut(file, "-")
	_, err := pratique.ParseDigestHex(key)
	if err == nil {
		content, err = pratique.ParseDigestHex(sum)
	}
	return key, content, err == nil
}
