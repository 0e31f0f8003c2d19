//go:build !linux

package confine

import "errors"

// Probe returns no active part: the confinement is written for Linux.
func Probe() Parts { return Parts{Missing: []string{privileges, limits, landlock, Seccomp}} }

// Thread fails in mode Require.
func Thread(mode Mode, _ Access) error {
	if mode == Require {
		return ErrUnavailable
	}
	return nil
}

// Limit does nothing.
func Limit(int, int64) error { return nil }

// SealDescriptors does nothing.
func SealDescriptors() error { return nil }

func filterCalls() error { return errors.ErrUnsupported }
