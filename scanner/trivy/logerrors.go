//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"context"
	"log/slog"
	"sync"

	"github.com/pratique-dev/pratique/internal/layers"
)

// logErrors is the handler of Trivy's logger. It prints nothing. Trivy logs it when a file could
// not be analyzed, and leaves that file out. That is right if the file is at fault, but an image
// must not look clean because this machine ran out of space or file handles, or because its
// packages could not be read.
type logErrors struct {
	mu          sync.Mutex
	machine     error // the first error of this machine
	damaged     error // the first about a database of dpkg
	withoutFile error // the first that does not name its file
}

// Enabled implements [slog.Handler]: the records are of level debug.
func (s *logErrors) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (s *logErrors) Handle(_ context.Context, r slog.Record) error {
	var err error
	var file string
	r.Attrs(func(a slog.Attr) bool {
		switch v := a.Value.Any().(type) {
		case error:
			err = v
		case string:
			if a.Key == fileKey {
				file = v
			}
		}
		return true
	})
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case layers.IsMachineError(err):
		s.machine = cmp.Or(s.machine, err)
	case dpkgStatus(file):
		s.damaged = cmp.Or(s.damaged, errUnread(file, err))
	case file == "":
		s.withoutFile = cmp.Or(s.withoutFile, err)
	}
	return nil
}

// fileKey is Trivy's attribute for the name of a file.
const fileKey = "file_path"

// WithAttrs implements [slog.Handler].
func (s *logErrors) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements [slog.Handler].
func (s *logErrors) WithGroup(string) slog.Handler { return s }

func (s *logErrors) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine, s.damaged, s.withoutFile = nil, nil, nil
}

func (s *logErrors) machineError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine
}

func (s *logErrors) parseErrors() (damaged, unnamed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged, s.withoutFile
}
