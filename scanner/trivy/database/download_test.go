package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	fixed "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/registry"
)

// bulky is a database that does not compress well.
func bulky(t testing.TB, id string, updatedAt time.Time) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), databaseFile)
	if err := os.WriteFile(path, boltWith(t, id), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 40<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("vulnerability")).Put([]byte("CVE-0000-0000"), noise)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return archive(t, file{databaseFile, raw}, file{metadataFile, metadataJSON(2, updatedAt)})
}

// flaky is a real registry whose connections break after so many bytes of a layer.
type flaky struct {
	ref    string
	mu     sync.Mutex
	after  int // 0: never
	ranges []string
	served int  // bytes of layers
	strip  bool // as if it knew no ranges
	before func()
}

func newFlaky(t *testing.T, layer []byte) *flaky {
	t.Helper()
	f := &flaky{}
	server, err := registry.Start(t.Context(),
		registry.Config{Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
					next.ServeHTTP(w, r)
					return
				}
				f.mu.Lock()
				f.ranges = append(f.ranges, r.Header.Get("Range"))
				after, before := f.after, f.before
				if f.strip {
					r.Header.Del("Range")
				}
				f.mu.Unlock()
				if before != nil {
					before()
				}
				next.ServeHTTP(&cutter{ResponseWriter: w, f: f, left: after}, r)
			})
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	f.ref = server.Host() + "/aqua/trivy-db"
	img, err := mutate.AppendLayers(empty.Image, fixed.NewLayer(layer, types.MediaType(layerType)))
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(f.ref+":2", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, mutate.MediaType(img, types.OCIManifestSchema1)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *flaky) set(after int, strip bool, before func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after, f.strip, f.before, f.ranges, f.served = after, strip, before, nil, 0
}

func (f *flaky) seen() (ranges []string, served int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ranges, f.served
}

type cutter struct {
	http.ResponseWriter
	f    *flaky
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	cut := c.left > 0 && len(p) >= c.left
	if cut {
		p = p[:c.left]
	}
	c.f.mu.Lock()
	c.f.served += len(p) // first: whoever has them may look at once
	c.f.mu.Unlock()
	n, err := c.ResponseWriter.Write(p)
	if cut {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if c.left > 0 {
		c.left -= n
	}
	return n, err
}

// TestCutAnywhere: wherever a connection breaks, nothing changes, and the next look goes on from
// there; no byte is sent twice.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	layer := bulky(t, "CVE-2026-0002", today)
	src := newFlaky(t, layer)
	for cut := 1; cut < len(layer); cut += max(1, len(layer)/23) {
		src.set(cut, false, nil)
		dir := t.TempDir()
		s := open(t, Config{Sources: []string{src.ref}, Dir: dir})
		var looks int
		for looks = 1; looks < 500; looks++ {
			changed, err := s.Update(t.Context())
			if err == nil && changed {
				break
			}
			wantKind(t, err, pratique.Unavailable)
			if _, err := s.Current(); err == nil {
				t.Fatal("half a database is in use")
			}
			src.mu.Lock()
			src.after = max(cut, len(layer)/20) // one byte at a time would take a while
			src.mu.Unlock()
		}
		mustHold(t, s, "CVE-2026-0002")
		ranges, served := src.seen()
		if served != len(layer) {
			t.Errorf("cut after %d: %d bytes came of %d", cut, served, len(layer))
		}
		if want := fmt.Sprintf("bytes=%d-", cut); len(ranges) < 2 || ranges[0] != "" ||
			ranges[1] != want {
			t.Errorf("cut after %d: ranges %v", cut, ranges)
		}
		wantNoPartial(t, dir)
	}
}

func wantNoPartial(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, partialPrefix+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	generations(t, dir)
}

// TestResumeAfterRestart: what came before the process ended is not fetched again.
func TestResumeAfterRestart(t *testing.T) {
	t.Parallel()
	layer := bulky(t, "CVE-2026-0001", today)
	src := newFlaky(t, layer)
	dir := t.TempDir()
	cfg := Config{Sources: []string{src.ref}, Dir: dir}
	s := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	// The process is told to stop when half of it is there.
	src.set(len(layer)/2, false, func() {
		if ranges, _ := src.seen(); len(ranges) > 1 {
			cancel()
			panic(http.ErrAbortHandler)
		}
	})
	if _, err := s.Update(ctx); err == nil {
		t.Fatal("no error")
	}
	if p := readSchedule(dir); p.Failures != 0 {
		t.Errorf("being told to stop counts as %d failures", p.Failures)
	}
	status, err := ReadStatus(cfg, today)
	if err != nil || status.PartialBytes != int64(len(layer)/2) {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	src.set(0, false, nil)
	mustUpdate(t, open(t, cfg), true, "CVE-2026-0001")
	ranges, served := src.seen()
	if want := fmt.Sprintf("bytes=%d-", len(layer)/2); len(ranges) != 1 || ranges[0] != want ||
		served != len(layer)-len(layer)/2 {
		t.Errorf("ranges %v, %d bytes, want %s", ranges, served, want)
	}
	wantNoPartial(t, dir)
}

// TestPartials: whatever lies there as a partial file, the database is whole in the end.
func TestPartials(t *testing.T) {
	t.Parallel()
	layer := bulky(t, "CVE-2026-0001", today)
	src := newFlaky(t, layer)
	wrong := bytes.Clone(layer)
	wrong[3] ^= 1
	tests := map[string]struct {
		content []byte
		strip   bool
		want    pratique.Kind // of the first look; Unknown is none
	}{
		"a part":                     {content: layer[:1000]},
		"all of it":                  {content: layer},
		"a part, no ranges":          {content: layer[:1000], strip: true},
		"too much":                   {content: append(bytes.Clone(layer), 'x')},
		"a wrong part":               {content: wrong[:1000], want: pratique.Corrupt},
		"wrong as a whole":           {content: wrong, want: pratique.Corrupt},
		"a wrong part and no ranges": {content: wrong[:1000], strip: true},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			src.set(0, test.strip, nil)
			dir := t.TempDir()
			s := open(t, Config{Sources: []string{src.ref}, Dir: dir})
			for _, name := range []string{pratique.DigestOf(layer).Hex(), pratique.DigestOf(nil).Hex()} {
				if err := os.WriteFile(filepath.Join(dir, partialPrefix+name), test.content,
					0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.want != pratique.Unknown {
				_, err := s.Update(t.Context())
				wantKind(t, err, test.want)
			}
			mustUpdate(t, s, true, "CVE-2026-0001")
			wantNoPartial(t, dir)
		})
	}
	dir := t.TempDir()
	old := filepath.Join(dir, partialPrefix+"old")
	if err := errors.Join(os.WriteFile(old, layer, 0o600),
		os.Chtimes(old, time.Time{}, time.Now().Add(-partialAge-time.Hour))); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: dir})
	wantNoPartial(t, dir)
}

// TestProgress: who waits is told how far it is.
func TestProgress(t *testing.T) {
	t.Parallel()
	layer := bulky(t, "CVE-2026-0001", today)
	src := newFlaky(t, layer)
	var last, total int64
	s := open(t, Config{Sources: []string{src.ref}, Progress: func(d, of int64) {
		if d < last {
			t.Errorf("%d after %d", d, last)
		}
		last, total = d, of
	}})
	mustUpdate(t, s, true, "CVE-2026-0001")
	if last != int64(len(layer)) || total != last {
		t.Errorf("%d of %d, want %d", last, total, len(layer))
	}
}
