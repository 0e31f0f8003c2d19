// Package durable makes changes of directories survive a power failure.
package durable

import (
	"errors"
	"os"
)

// SyncDir returns once what was created, renamed or removed in a directory is on the disk.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
