// Package durable makes names in directories last over a loss of power.
package durable

import (
	"errors"
	"os"
)

// SyncDir returns when what was made, renamed or removed in a directory is on disk.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
