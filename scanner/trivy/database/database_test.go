package database

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	fixed "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

var today = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return today }

// boltWith makes a trivy.db with one vulnerability of the given id, or an empty one.
func boltWith(t testing.TB, id string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), databaseFile)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("vulnerability"))
		if err != nil || id == "" {
			return err
		}
		return bucket.Put([]byte(id), []byte(`{"Title":"for tests"}`))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func metadataJSON(version int, updatedAt time.Time) []byte {
	return fmt.Appendf(nil,
		`{"Version":%d,"NextUpdate":%q,"UpdatedAt":%q,"DownloadedAt":"0001-01-01T00:00:00Z"}`,
		version, updatedAt.Add(6*time.Hour).Format(time.RFC3339), updatedAt.Format(time.RFC3339))
}

type file struct {
	name    string
	content []byte
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o644})
		if err == nil {
			_, err = w.Write(f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func good(t testing.TB, id string, updatedAt time.Time) []byte {
	return archive(t, file{databaseFile, boltWith(t, id)}, file{metadataFile, metadataJSON(2, updatedAt)})
}

// source is a registry with one database in it, whose answers can be spoilt.
type source struct {
	ref   string
	mu    sync.Mutex
	spoil func(w http.ResponseWriter, r *http.Request) bool
	blobs int // requests for the layer
	asked int
}

func newSource(t testing.TB) *source {
	s := &source{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		spoil := s.spoil
		s.asked++
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.blobs++
		}
		s.mu.Unlock()
		if spoil == nil || !spoil(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.ref = strings.TrimPrefix(server.URL, "http://") + "/mirror/trivy-db"
	return s
}

func (s *source) set(spoil func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil = spoil
}

func (s *source) downloads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
}

func (s *source) publish(t testing.TB, layer []byte) { s.publishAs(t, layer, layerType) }

func (s *source) publishAs(t testing.TB, layer []byte, mediaType types.MediaType) {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, fixed.NewLayer(layer, mediaType))
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.MediaType(img, types.OCIManifestSchema1)
	tag, err := name.NewTag(s.ref+":2", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wantKind(t testing.TB, err error, want pratique.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	if got := pratique.KindOf(err); got != want {
		t.Errorf("kind %v, want %v: %v", got, want, err)
	}
}

// mustUpdate updates and checks what is in use afterwards.
func mustUpdate(t testing.TB, s *Store, wantChanged bool, id string) Generation {
	t.Helper()
	changed, err := s.Update(t.Context())
	if err != nil || changed != wantChanged {
		t.Fatalf("changed %v, error %v", changed, err)
	}
	return mustHold(t, s, id)
}

func mustHold(t testing.TB, s *Store, id string) Generation {
	t.Helper()
	g, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(g.Dir, databaseFile))
	if err != nil || pratique.DigestOf(raw) != g.Digest {
		t.Fatalf("%s is not what its digest says: %v", g.Dir, err)
	}
	if !bytes.Contains(raw, []byte(id)) {
		t.Errorf("in use is another database than that of %s", id)
	}
	return g
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	src.publish(t, good(t, "CVE-2026-0001", today.Add(-time.Hour)))
	dir := t.TempDir()
	s := open(t, Config{Sources: []string{src.ref}, Dir: dir})
	_, err := s.Current()
	wantKind(t, err, pratique.Unavailable)

	first := mustUpdate(t, s, true, "CVE-2026-0001")
	if first.Version != 2 || !first.UpdatedAt.Equal(today.Add(-time.Hour)) ||
		!first.DownloadedAt.Equal(today) ||
		!first.NextUpdate.Equal(today.Add(5*time.Hour)) || first.Source != src.ref {
		t.Errorf("generation %+v", first)
	}
	var meta metadata
	raw, err := os.ReadFile(filepath.Join(first.Dir, metadataFile))
	if err != nil || json.Unmarshal(raw, &meta) != nil || meta.Version != 2 ||
		!meta.DownloadedAt.Equal(today) || !meta.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("metadata.json: %s, %v", raw, err)
	}
	mustUpdate(t, s, false, "CVE-2026-0001")
	if n := src.downloads(); n != 1 {
		t.Errorf("%d downloads of one database", n)
	}
	for i := 2; i <= 4; i++ {
		id := fmt.Sprintf("CVE-2026-000%d", i)
		src.publish(t, good(t, id, today.Add(time.Duration(i)*time.Minute)))
		before, _ := s.Current()
		mustUpdate(t, s, true, id)
		if _, err := os.Stat(before.Dir); err != nil {
			t.Errorf("a generation that may be in use is gone: %v", err)
		}
	}
	if _, err := os.Stat(first.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest generation is still there: %v", err)
	}
	if n := generations(t, dir); n != 2 {
		t.Errorf("%d generations on disk", n)
	}
}

func generations(t testing.TB, dir string) int {
	t.Helper()
	items, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, item := range items {
		if strings.HasPrefix(item.Name(), tempPrefix) {
			t.Errorf("leftover %s", item.Name())
		}
		if _, err := pratique.ParseDigestHex(item.Name()); err == nil {
			n++
		}
	}
	return n
}

func TestSources(t *testing.T) {
	t.Parallel()
	down, limited, second := newSource(t), newSource(t), newSource(t)
	down.set(status(500))
	limited.set(status(429))
	s := open(t, Config{Sources: []string{down.ref, limited.ref, second.ref}})
	_, err := s.Update(t.Context())
	wantKind(t, err, pratique.Unavailable)
	for _, part := range []string{down.ref, "500", limited.ref, "429", second.ref, "404"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	_, err = s.Current()
	wantKind(t, err, pratique.Unavailable)
	if !strings.Contains(err.Error(), "429") {
		t.Errorf("Current does not say why: %v", err)
	}
	second.publish(t, good(t, "CVE-2026-0002", today))
	g := mustUpdate(t, s, true, "CVE-2026-0002")
	if g.Source != second.ref {
		t.Errorf("source %s", g.Source)
	}
	// The same database, packed otherwise, by a source that is up again: no change, and no second
	// download.
	down.set(nil)
	down.publish(t, archive(t, file{metadataFile, metadataJSON(2, today)},
		file{"./" + databaseFile, boltWith(t, "CVE-2026-0002")}))
	mustUpdate(t, s, false, "CVE-2026-0002")
	mustUpdate(t, s, false, "CVE-2026-0002")
	if n := down.downloads(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	// A mirror that is behind does not take us back.
	down.publish(t, good(t, "CVE-2026-0000", today.Add(-24*time.Hour)))
	mustUpdate(t, s, false, "CVE-2026-0002")
	mustUpdate(t, s, false, "CVE-2026-0002")
	if n := down.downloads(); n != 2 {
		t.Errorf("%d downloads", n)
	}
	only := open(t, Config{Sources: []string{limited.ref}})
	_, err = only.Update(t.Context())
	wantKind(t, err, pratique.RateLimited)
}

func TestBadDatabases(t *testing.T) {
	t.Parallel()
	db := boltWith(t, "CVE-2026-0009")
	later := today.Add(time.Minute)
	meta := file{metadataFile, metadataJSON(2, later)}
	fine := archive(t, file{databaseFile, db}, meta)
	swap := func(change func([]byte) []byte) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			_, _ = w.Write(change(bytes.Clone(fine)))
			return true
		}
	}
	tests := map[string]struct {
		layer     []byte
		mediaType types.MediaType
		spoil     func(w http.ResponseWriter, r *http.Request) bool
		want      pratique.Kind
	}{
		"old schema": {layer: archive(t, file{databaseFile, db},
			file{metadataFile, metadataJSON(1, later)}), want: pratique.Invalid},
		"future": {layer: archive(t, file{databaseFile, db},
			file{metadataFile, metadataJSON(2, today.Add(48*time.Hour))}), want: pratique.Invalid},
		"no date": {layer: archive(t, file{databaseFile, db},
			file{metadataFile, []byte(`{"Version":2}`)}), want: pratique.Invalid},
		"metadata junk": {layer: archive(t, file{databaseFile, db},
			file{metadataFile, []byte(`<html>`)}), want: pratique.Invalid},
		"metadata huge": {layer: archive(t, file{databaseFile, db},
			file{metadataFile, make([]byte, 1<<20)}), want: pratique.Exhausted},
		"no metadata": {layer: archive(t, file{databaseFile, db}), want: pratique.Invalid},
		"no database": {layer: archive(t, meta), want: pratique.Invalid},
		"third file": {layer: archive(t, file{databaseFile, db}, meta,
			file{"../../etc/cron.d/x", []byte("x")}), want: pratique.Invalid},
		"database twice": {layer: archive(t, file{databaseFile, db}, file{databaseFile, db}, meta),
			want: pratique.Invalid},
		"not bbolt": {layer: archive(t, file{databaseFile, bytes.Repeat([]byte("x"), 1<<16)},
			meta), want: pratique.Invalid},
		"bbolt cut": {layer: archive(t, file{databaseFile, db[:len(db)/2]}, meta),
			want: pratique.Invalid},
		"no advisories": {layer: archive(t, file{databaseFile, boltWith(t, "")}, meta),
			want: pratique.Invalid},
		"not gzip":       {layer: []byte("hello"), want: pratique.Invalid},
		"not a database": {layer: fine, mediaType: types.OCILayer, want: pratique.Corrupt},
		"too large": {layer: archive(t, file{databaseFile, make([]byte, 2<<20)}, meta),
			want: pratique.Exhausted},
		"wrong bytes": {layer: fine, spoil: swap(func(b []byte) []byte {
			b[len(b)/2] ^= 1
			return b
		}), want: pratique.Corrupt},
		"truncated": {layer: fine, spoil: swap(func(b []byte) []byte {
			return b[:len(b)/2]
		}), want: pratique.Unavailable},
		"longer": {layer: fine, spoil: swap(func(b []byte) []byte {
			return append(b, b...)
		}), want: pratique.Corrupt},
		"forbidden": {layer: fine, spoil: status(403), want: pratique.Denied},
		"aborted": {layer: fine, want: pratique.Unavailable, spoil: func(w http.ResponseWriter,
			r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(fine)))
			_, _ = w.Write(fine[:100])
			panic(http.ErrAbortHandler)
		}},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			src := newSource(t)
			dir := t.TempDir()
			src.publish(t, good(t, "CVE-2026-0001", today))
			s := open(t, Config{Sources: []string{src.ref}, Dir: dir, MaxBytes: 1 << 20})
			mustUpdate(t, s, true, "CVE-2026-0001")
			if test.mediaType == "" {
				test.mediaType = layerType
			}
			src.publishAs(t, test.layer, test.mediaType)
			src.set(test.spoil)
			changed, err := s.Update(t.Context())
			wantKind(t, err, test.want)
			if changed {
				t.Error("changed")
			}
			mustHold(t, s, "CVE-2026-0001")
			if n := generations(t, dir); n != 1 {
				t.Errorf("%d generations", n)
			}
			// What is the publisher's fault is not downloaded again.
			before := src.downloads()
			_, err = s.Update(t.Context())
			wantKind(t, err, test.want)
			if test.want == pratique.Invalid && src.downloads() != before {
				t.Error("downloaded a second time")
			}
			src.set(nil)
			src.publish(t, good(t, "CVE-2026-0003", later))
			mustUpdate(t, s, true, "CVE-2026-0003")
		})
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	dir := t.TempDir()
	cfg := Config{Sources: []string{src.ref}, Dir: dir}
	s := open(t, cfg)
	src.publish(t, good(t, "CVE-2026-0001", today.Add(-time.Hour)))
	mustUpdate(t, s, true, "CVE-2026-0001")
	src.publish(t, good(t, "CVE-2026-0002", today))
	newest := mustUpdate(t, s, true, "CVE-2026-0002")
	if _, err := Open(cfg, clock); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("opened twice: %v", err)
	}
	reopen := func() *Store {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, cfg)
		return s
	}
	// What a crash during a download leaves.
	if err := os.MkdirAll(filepath.Join(dir, tempPrefix+"123", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if g := mustHold(t, reopen(), "CVE-2026-0002"); g.Database != newest.Database {
		t.Errorf("after a restart %+v, before %+v", g, newest)
	}
	if n := generations(t, dir); n != 2 {
		t.Errorf("%d generations", n)
	}
	downloads := src.downloads()
	mustUpdate(t, s, false, "CVE-2026-0002")
	if src.downloads() != downloads {
		t.Error("a restart downloads what is there")
	}
	// A record that names another database than the one beside it is not believed.
	record := filepath.Join(newest.Dir, recordFile)
	note, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.ReplaceAll(note, []byte(newest.Digest.Hex()), []byte(pratique.DigestOf(nil).Hex()))
	if err := os.WriteFile(record, other, 0o600); err != nil {
		t.Fatal(err)
	}
	mustHold(t, reopen(), "CVE-2026-0001")
	if err := os.WriteFile(record, note, 0o600); err != nil {
		t.Fatal(err)
	}
	// The newest is damaged on disk: the one before takes over, and the next update repairs it.
	path := filepath.Join(newest.Dir, databaseFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	mustHold(t, reopen(), "CVE-2026-0001")
	mustUpdate(t, s, true, "CVE-2026-0002")
	// The pointer is gone or torn: as if there were none.
	if err := os.WriteFile(filepath.Join(dir, pointerFile), []byte("../../etc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = reopen().Current()
	wantKind(t, err, pratique.Unavailable)
	mustUpdate(t, s, true, "CVE-2026-0002")
}

func TestStatic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{StaticDir: dir, Sources: []string{"never.example/asked"}})
	_, err := s.Current()
	wantKind(t, err, pratique.Unavailable)
	put(databaseFile, boltWith(t, "CVE-2026-0001"))
	put(metadataFile, metadataJSON(2, today))
	first := mustUpdate(t, s, true, "CVE-2026-0001")
	if first.Dir != dir || first.Source != dir || !first.UpdatedAt.Equal(today) {
		t.Errorf("generation %+v", first)
	}
	mustUpdate(t, s, false, "CVE-2026-0001")
	put(databaseFile, boltWith(t, "CVE-2026-0002"))
	if err := os.Chtimes(filepath.Join(dir, databaseFile), today, today.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if g := mustHold(t, s, "CVE-2026-0002"); g.Digest == first.Digest {
		t.Error("the change was not noticed")
	}
	put(metadataFile, metadataJSON(3, today))
	_, err = s.Current()
	wantKind(t, err, pratique.Unavailable)
	put(metadataFile, metadataJSON(2, today.Add(time.Minute)))
	put(databaseFile, boltWith(t, "CVE-2026-0002")[:5000])
	_, err = s.Current()
	wantKind(t, err, pratique.Unavailable)
	if err := os.Remove(filepath.Join(dir, databaseFile)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Current()
	wantKind(t, err, pratique.Unavailable)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{Dir: t.TempDir(), Sources: []string{"https://not a reference"}}, clock)
	wantKind(t, err, pratique.Invalid)
	_, err = Open(Config{}, clock)
	wantKind(t, err, pratique.Invalid)
	s := open(t, Config{})
	_, err = s.Current()
	wantKind(t, err, pratique.Unavailable)
	if !strings.Contains(err.Error(), "--db-dir") {
		t.Errorf("does not say what to do: %v", err)
	}
	_, err = s.Update(t.Context())
	wantKind(t, err, pratique.Invalid)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	src.publish(t, good(t, "CVE-2026-0001", today))
	src.set(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "u" && password == "p" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	_, err := open(t, Config{Sources: []string{src.ref}}).Update(t.Context())
	wantKind(t, err, pratique.Denied)
	host, _, _ := strings.Cut(src.ref, "/")
	s := open(t, Config{Sources: []string{src.ref},
		Hosts: []Host{{Name: host, PlainHTTP: true, Username: "u", Password: "p"}}})
	mustUpdate(t, s, true, "CVE-2026-0001")
}

func TestRun(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	began := time.Now()
	running := func() time.Time { return today.Add(time.Since(began)) }
	type told struct {
		g   Generation
		err error
	}
	heard := make(chan told)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(Config{Dir: t.TempDir(), Sources: []string{src.ref},
		Interval: 20 * time.Millisecond, OnUpdate: func(g Generation, err error) {
			select {
			case heard <- told{g, err}:
			case <-ctx.Done():
			}
		}}, running)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.retry = time.Millisecond
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	if got := <-heard; pratique.KindOf(got.err) != pratique.NotFound || !got.g.Digest.IsZero() {
		t.Errorf("told %+v", got)
	}
	// Their next ones were due long ago.
	src.publish(t, good(t, "CVE-2026-0001", today.Add(-24*time.Hour)))
	var first told
	for first = <-heard; first.err != nil; first = <-heard {
		continue
	}
	src.publish(t, good(t, "CVE-2026-0002", today.Add(-12*time.Hour)))
	second := <-heard
	if second.err != nil || second.g.Digest == first.g.Digest || second.g.Digest.IsZero() {
		t.Errorf("told %+v", second)
	}
	src.set(status(404))
	if third := <-heard; third.err == nil || third.g.Digest != second.g.Digest {
		t.Errorf("told %+v", third)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(good(f, "CVE-2026-0001", today))
	f.Add(archive(f, file{"x", nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		got, err := Vulnerabilities().unpack(bytes.NewReader(b), dir, 1<<20)
		if err == nil && (got.digest.IsZero() || got.metadata == nil) {
			t.Error("accepted without both files")
		}
		items, _ := os.ReadDir(dir)
		for _, item := range items {
			if item.Name() != databaseFile {
				t.Errorf("wrote %s", item.Name())
			}
		}
	})
}
