package ledger_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
)

// TestBlobs is the suite that every bucket has to pass.
func TestBlobs(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) string{
		"mem":  func(*testing.T) string { return "mem://" },
		"file": func(t *testing.T) string { return "file://" + filepath.Join(t.TempDir(), "not", "there", "yet") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openBlobs(t, open(t))
			for _, document := range [][]byte{nil, []byte("x"), []byte(`{"a":1}`), bytes.Repeat([]byte("0123456789"), 3<<20)} {
				checkRoundTrip(t, b, document)
			}
			checkMissing(t, b)
			checkConcurrent(t, b)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if d, err := b.Put(ended, []byte("late")); err == nil {
				if _, err := b.Get(t.Context(), d); err != nil {
					t.Errorf("Put said nil, Get says %v", err)
				}
			}
		})
	}
}

func openBlobs(t testing.TB, url string) *ledger.Blobs {
	t.Helper()
	b, err := ledger.OpenBlobs(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func checkRoundTrip(t *testing.T, b *ledger.Blobs, document []byte) {
	t.Helper()
	for range 2 { // the second time it is there
		d, err := b.Put(t.Context(), document)
		if err != nil || d != pratique.DigestOf(document) {
			t.Fatalf("%s, %v", d, err)
		}
	}
	got, err := b.Get(t.Context(), pratique.DigestOf(document))
	if err != nil || !bytes.Equal(got, document) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(document), err)
	}
}

func checkMissing(t *testing.T, b *ledger.Blobs) {
	t.Helper()
	for _, d := range []pratique.Digest{{}, pratique.DigestOf([]byte("never put"))} {
		if _, err := b.Get(t.Context(), d); pratique.KindOf(err) != pratique.NotFound {
			t.Errorf("digest %q: %v", d, err)
		}
	}
}

func checkConcurrent(t *testing.T, b *ledger.Blobs) {
	t.Helper()
	document := bytes.Repeat([]byte("many write the same "), 1000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			d, err := b.Put(t.Context(), document)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := b.Get(t.Context(), d); err != nil || !bytes.Equal(got, document) {
				t.Errorf("after Put: %d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
}

// fileOf finds the one file of a directory.
func fileOf(t *testing.T, dir string) string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	return files[0]
}

// bomb is a frame that does not say its size: blocks of 128 KiB, each one byte repeated.
func bomb(size int) []byte {
	const block, repeated = 128 << 10, 1 << 1
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3}
	for n := block; n <= size; n += block {
		header := uint32(block<<3 | repeated)
		if n+block > size {
			header |= 1 // the last
		}
		out = append(out, byte(header), byte(header>>8), byte(header>>16), 'x')
	}
	return out
}

func TestDamagedBlobIsCorruptAndMended(t *testing.T) {
	t.Parallel()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	document := bytes.Repeat([]byte("an SBOM "), 1000)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut off":  func(b []byte) []byte { return b[:len(b)/2] },
		"bit flip": func(b []byte) []byte { b[len(b)-8] ^= 1; return b },
		"another":  func([]byte) []byte { return enc.EncodeAll([]byte("another document"), nil) },
		"no zstd":  func([]byte) []byte { return []byte("plain") },
		"bomb":     func([]byte) []byte { return bomb(9 << 20) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, err := ledger.OpenBlobsLimited(t.Context(), "file://"+dir, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			d, err := b.Put(t.Context(), document)
			if err != nil {
				t.Fatal(err)
			}
			path := fileOf(t, dir) // also: no temporary and no attribute files beside it
			packed, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(packed), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Get(t.Context(), d); pratique.KindOf(err) != pratique.Corrupt {
				t.Errorf("got %v", err)
			}
			checkRoundTrip(t, b, document)
		})
	}
}

func TestTooLargeIsExhausted(t *testing.T) {
	t.Parallel()
	b, err := ledger.OpenBlobsLimited(t.Context(), "mem://", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	noise := make([]byte, 1<<20+1)
	_, _ = rand.Read(noise) // never fails
	if _, err := b.Put(t.Context(), noise); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("got %v", err)
	}
	checkRoundTrip(t, b, noise[1:]) // just fits, and does not compress
}

func TestBlobIsNotRewritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBlobs(t, "file://"+dir)
	checkRoundTrip(t, b, []byte("x"))
	before, err := os.Stat(fileOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	checkRoundTrip(t, b, []byte("x"))
	after, err := os.Stat(fileOf(t, dir))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("written again: %v", err)
	}
}

func TestBlobsSurviveReopening(t *testing.T) {
	t.Parallel()
	url := "file://" + t.TempDir()
	d, err := openBlobs(t, url).Put(t.Context(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openBlobs(t, url).Get(t.Context(), d); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOpenBlobsRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "ftp://x", "file://host/dir", "file://", "://", "s3://bucket?secret=x"} {
		if _, err := ledger.OpenBlobs(t.Context(), url); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

func TestWriteTrouble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBlobs(t, "file://"+dir)
	if err := os.WriteFile(filepath.Join(dir, "sha256"), nil, 0o600); err != nil { // a file where a directory must be
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), []byte("x")); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("got %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	blobs := openBlobs(b, "file://"+b.TempDir())
	document := bytes.Repeat([]byte(`{"name":"libc6","version":"2.36-9+deb12u4"},`), 20_000)
	b.SetBytes(int64(len(document)))
	i := 0
	for b.Loop() {
		i++
		copy(document, []byte{byte(i), byte(i >> 8), byte(i >> 16)})
		if _, err := blobs.Put(b.Context(), document); err != nil {
			b.Fatal(err)
		}
	}
}
