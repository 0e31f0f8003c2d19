// Package dirlock locks a directory for one process.
package dirlock

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrInUse is the error for a directory that another process has locked.
var ErrInUse = errors.New("another process uses it: give each its own directory")

// Lock creates the directory if it does not exist, and locks the file "lock" in it. The lock ends
// with the process.
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
		_ = lock.Close() // the first error matters
		return nil, err
	}
	return lock, nil
}
