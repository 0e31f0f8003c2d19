//go:build !linux

package powercut

import (
	"errors"
	"fmt"
	"runtime"
)

func mount(*disk, string) (unmount func() error, err error) {
	return nil, fmt.Errorf("there is no such disk on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
