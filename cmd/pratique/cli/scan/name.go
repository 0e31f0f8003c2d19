package scan

import (
	"strings"
)

// renamedError is an error about an image in a file, in which the image has its own name.
type renamedError struct {
	error
	text string
}

func (r *renamedError) Error() string { return r.text }
func (r *renamedError) Unwrap() error { return r.error }

// renamed takes the name out of an error under which an image in a file is served while it is
// scanned: it is another one each time, and says nothing.
func (s *localScan) renamed(err error) error {
	if err == nil || s.named.IsZero() {
		return err
	}
	text := strings.ReplaceAll(err.Error(), s.served.String(), s.named.String())
	return &renamedError{err, strings.ReplaceAll(text, s.served.Registry, s.named.Registry)}
}
