package ledger_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/attest/ledger/blobtest"
)

// TestBuckets: a directory and an object store do what a bucket has to.
func TestBuckets(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, url string) ledger.Bucket {
		t.Helper()
		b, err := ledger.OpenBucket(t.Context(), url)
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
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		blobtest.Run(t, func(t *testing.T) func(*testing.T) ledger.Bucket {
			url := "file://" + filepath.Join(t.TempDir(), "not", "there", "yet")
			return func(t *testing.T) ledger.Bucket { return open(t, url) }
		})
	})
	t.Run("mem", func(t *testing.T) {
		t.Parallel()
		blobtest.Run(t, func(t *testing.T) func(*testing.T) ledger.Bucket {
			b := open(t, "mem://") // each is its own place
			return func(*testing.T) ledger.Bucket { return b }
		})
	})
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
	for _, url := range []string{"", "ftp://x", "file://host/dir", "file://", "://",
		"s3://bucket?secret=x"} {
		if _, err := ledger.OpenBlobs(t.Context(), url); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

func TestWriteTrouble(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBlobs(t, "file://"+dir)
	// a file where a directory must be
	if err := os.WriteFile(filepath.Join(dir, "sha256"), nil, 0o600); err != nil {
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
