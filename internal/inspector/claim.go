package inspector

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	rootPrefix = "pratique-inspector-"
	lockName   = "lock"
)

// claimTime is how old a directory without a held lock has to be before it counts as abandoned. A
// pool needs the time between making its directory and locking it.
const claimTime = time.Minute

// claim makes and locks a directory for a pool. It deletes the directories in base whose owner is
// gone: a killed process cannot clean up. The kernel drops the lock with the process.
func claim(base string) (root string, lock *os.File, err error) {
	if err := sweep(base); err != nil {
		return "", nil, err
	}
	root, err = os.MkdirTemp(base, rootPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err = os.Create(filepath.Join(root, lockName))
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(root))
	}
	return root, lock, nil
}

func sweep(base string) error {
	roots, err := filepath.Glob(filepath.Join(base, rootPrefix+"*"))
	if err != nil {
		return err
	}
	for _, root := range roots {
		if !abandoned(root) {
			continue
		}
		if err := os.RemoveAll(root); err != nil {
			return err
		}
	}
	return nil
}

// abandoned reports whether nobody holds the lock in root. If that cannot be determined, for
// example because root belongs to another user, it is not abandoned.
func abandoned(root string) bool {
	info, err := os.Lstat(root)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < claimTime {
		return false
	}
	lock, err := os.Open(filepath.Join(root, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return false
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	_ = lock.Close() // nothing was written, and closing gives the lock back
	return err == nil
}
