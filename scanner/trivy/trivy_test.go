//go:build goexperiment.jsonv2

package trivy

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

var (
	digests = cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })
	today   = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	shared  *Scanner
)

// TestMain makes the one scanner that a process may have.
func TestMain(m *testing.M) {
	var err error
	if shared, err = New(Config{}, func() time.Time { return today }); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := shared.Close(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func newScanner(*testing.T) *Scanner { return shared }
