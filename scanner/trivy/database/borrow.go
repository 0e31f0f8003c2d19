package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/pratique-dev/pratique"
)

// Borrow finds the newest valid generation in cfg.Dir, which another process may own and update,
// and keeps it there until release is called, which may be done more than once. It writes nothing
// and contacts nobody. Without a generation the error is Unavailable.
func Borrow(cfg Config) (g Generation, release func(), err error) {
	kind := cfg.Kind.orDefault()
	const attempts = 5 // the owner may be replacing it
	for range attempts {
		if g, release, err = borrow(kind, cfg.Dir); err == nil {
			return g, release, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return Generation{}, func() {}, pratique.Wrap(pratique.Unavailable, kind.op("borrow"), cfg.Dir, err)
}

func borrow(kind Kind, root string) (Generation, func(), error) {
	names, err := readPointer(root)
	if err == nil && len(names) == 0 {
		err = errors.New("there is none: pratique db update, or pratique db import FILE")
	}
	for _, name := range names {
		dir := filepath.Join(root, name)
		var release func()
		if release, err = lockShared(dir); err != nil {
			continue
		}
		var found stored
		if found, err = kind.verify(dir); err == nil {
			return found.generation(root), release, nil
		}
		release()
	}
	return Generation{}, nil, err
}

// lockShared keeps a generation from being removed. Readers lock its metadata.json, which is never
// replaced, and the owner removes a generation only while nobody holds that lock.
func lockShared(dir string) (release func(), err error) {
	path := filepath.Join(dir, metadataFile)
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY)) // readers may lack write permission
	locked, err := lock.TryRLock()
	if err == nil && !locked {
		err = fmt.Errorf("%s is being removed", dir)
	}
	if err == nil {
		_, err = os.Stat(path) // it may have been removed between opening and locking
	}
	if err != nil {
		_ = lock.Close() // the first error says more
		return nil, err
	}
	return func() { _ = lock.Close() }, nil // nothing was written
}

// removeUnlessBorrowed removes a generation. Another process finds all of it or nothing.
func removeUnlessBorrowed(dir string) error {
	lock := flock.New(filepath.Join(dir, metadataFile), flock.SetFlag(os.O_RDONLY))
	defer func() { _ = lock.Close() }() // nothing was written
	switch locked, err := lock.TryLock(); {
	case errors.Is(err, fs.ErrNotExist): // damaged, so nobody uses it
	case err != nil:
		return err
	case !locked:
		return nil
	}
	away := filepath.Join(filepath.Dir(dir), tempPrefix+filepath.Base(dir))
	if err := os.Rename(dir, away); err != nil {
		return err
	}
	return os.RemoveAll(away)
}
