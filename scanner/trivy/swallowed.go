//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
)

// swallowed is the handler of the logger that Trivy writes to. It prints nothing. Trivy logs it when a file could
// not be analysed, and leaves that file out: rightly so if the file is at fault, but an image must not look
// clean because this machine had no room or no file handle left.
type swallowed struct {
	mu    sync.Mutex
	first error
}

// Enabled implements [slog.Handler]: the records in question are of level debug.
func (s *swallowed) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (s *swallowed) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && ours(err) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.first == nil {
				s.first = err
			}
		}
		return true
	})
	return nil
}

// WithAttrs implements [slog.Handler].
func (s *swallowed) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements [slog.Handler].
func (s *swallowed) WithGroup(string) slog.Handler { return s }

func (s *swallowed) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = nil
}

func (s *swallowed) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// ours reports whether an error is this machine's and not the file's. A file that is missing is no such error:
// analysers look for many that an image need not have.
func ours(err error) bool {
	for _, e := range []error{
		context.Canceled, context.DeadlineExceeded, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE,
		syscall.ENOMEM, syscall.EIO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
