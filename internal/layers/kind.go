package layers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/pratique-dev/pratique"
)

// KindOf classifies an error of a parser of images. Temporary problems of this machine are
// Unavailable: no disk space, too many open files, no temporary directory, a canceled context. A
// file that grew beyond what a parser may write is Exhausted. Everything else is Corrupt: the image
// is at fault, also if it made a parser open a file that is missing or forbidden. An error that has
// a kind keeps it.
func KindOf(ctx context.Context, err error) pratique.Kind {
	if kind := pratique.KindOf(err); kind != pratique.Unknown {
		return kind
	}
	if ctx.Err() != nil {
		return pratique.Unavailable
	}
	if errors.Is(err, syscall.EFBIG) { // the process may not make larger files
		return pratique.Exhausted
	}
	if IsMachineError(err) {
		return pratique.Unavailable
	}
	if _, statErr := os.Stat(os.TempDir()); errors.Is(err, fs.ErrNotExist) && statErr != nil {
		return pratique.Unavailable
	}
	return pratique.Corrupt
}

// IsMachineError reports whether an error is a temporary problem of this machine, and not the
// image's. A missing file is not: parsers look for many that an image need not have.
func IsMachineError(err error) bool {
	for _, e := range []error{
		context.Canceled, context.DeadlineExceeded, syscall.ENOSPC, syscall.EDQUOT,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
