// Package dirlock keeps a directory for one process at a time.
package dirlock

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrInUse is the error for a directory that another process has.
var ErrInUse = errors.New("another process uses it: give each its own directory")

// Lock makes the directory if need be and locks the file "lock" in it. The kernel drops the lock with the process.
func Lock(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = ErrInUse
	}
	if err != nil {
		_ = lock.Close() // the first error says more
		return nil, err
	}
	return lock, nil
}
