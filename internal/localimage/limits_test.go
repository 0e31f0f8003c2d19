package localimage

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb is a compressed archive with one file of n zeros.
func bomb(t *testing.T, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bomb.tgz")
	f, err := os.Create(path)
	must(t, err)
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	must(t, w.WriteHeader(&tar.Header{Name: "blobs/x", Typeflag: tar.TypeReg, Mode: 0o644, Size: n}))
	_, err = io.CopyN(w, zeros{}, n)
	must(t, err)
	must(t, w.Close())
	must(t, z.Close())
	must(t, f.Close())
	return path
}

// TestLimits: a small file does not become as large as it likes, and nothing is left of it.
func TestLimits(t *testing.T) {
	t.Parallel()
	image := bomb(t, 32<<20)
	for what, test := range map[string]struct {
		limits Limits
		says   string
	}{
		"ratio": {Limits{RatioFloor: 1 << 20}, "at most 200 times as many"},
		"bytes": {Limits{Bytes: 2 << 20}, "the limit of a layer (inspect.layerSize)"},
	} {
		temp := t.TempDir()
		_, err := Serve(t.Context(), image, temp, test.limits)
		if pratique.KindOf(err) != pratique.Exhausted || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", what, err)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", what, left, err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	temp := t.TempDir()
	if _, err := Serve(stopped, image, temp, Limits{}); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("nobody waits for it: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("nobody waits for it: %v is left, %v", left, err)
	}
	if _, err := Serve(t.Context(), image, t.TempDir(),
		Limits{}); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("within limits it is no image: %v", err) // and no more than that
	}
}

func TestMost(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]int64{0: 1 << 30, 3 << 20: 1 << 30, 50 << 20: 200 * 50 << 20,
		200 << 20: 20 << 30, 1 << 62: 20 << 30} {
		if got, why := (Limits{}).most(size); got != want || why == "" {
			t.Errorf("a file of %d bytes may become %d, want %d (%s)", size, got, want, why)
		}
	}
	if got, _ := (Limits{Bytes: 100}).most(1); got != 100 {
		t.Errorf("a small limit is %d", got)
	}
}
