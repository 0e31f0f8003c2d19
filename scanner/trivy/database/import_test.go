package database

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	fixed "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
)

// write puts a file into a new directory.
func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// layoutOf is an OCI layout with the layers as artifacts, by their names.
func layoutOf(t testing.TB, mediaType string, layers map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	to, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for name, layer := range layers {
		img, err := mutate.AppendLayers(empty.Image, fixed.NewLayer(layer, types.MediaType(mediaType)))
		if err == nil {
			err = to.AppendImage(mutate.MediaType(img, types.OCIManifestSchema1),
				layout.WithAnnotations(map[string]string{refName: name}))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tarOf packs a directory.
func tarOf(t testing.TB, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestImport takes a database from everything that people have.
func TestImport(t *testing.T) {
	t.Parallel()
	layer := good(t, "CVE-2026-0002", today)
	one := layoutOf(t, layerType, map[string][]byte{"trivy-db:2": layer})
	two := layoutOf(t, layerType, map[string][]byte{"a": good(t, "CVE-2026-0001", today), "b": layer})
	plain := t.TempDir()
	if _, err := Vulnerabilities().unpack(bytes.NewReader(layer), plain, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(plain, metadataFile), metadataJSON(2, today),
		0o600); err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]Request{
		"the layer":          {File: write(t, "db.tar.gz", layer)},
		"a layout":           {File: one},
		"a layout, packed":   {File: write(t, "db.tar", tarOf(t, one))},
		"a layout, zipped":   {File: write(t, "db.tar.gz", gzipped(t, tarOf(t, one)))},
		"one of two":         {File: two, Ref: "b"},
		"one of two, packed": {File: write(t, "db.tar", tarOf(t, two)), Ref: "b"},
		"a directory":        {File: plain},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{})
			a, err := s.Do(t.Context(), w)
			if err != nil || !a.Changed {
				t.Fatalf("answer %+v, error %v", a, err)
			}
			g := mustHold(t, s, "CVE-2026-0002")
			if g.Database != a.Database || g.Source != w.File || !g.UpdatedAt.Equal(today) {
				t.Errorf("in use %+v, answer %+v", g, a)
			}
			generations(t, s.cfg.Dir)
			if left, _ := filepath.Glob(filepath.Join(g.Dir, "*")); len(left) != 3 {
				t.Errorf("the generation has %v", left)
			}
			if a, err := s.Do(t.Context(), w); err != nil || a.Changed {
				t.Errorf("the second time: %+v, %v", a, err)
			}
		})
	}
}

// TestImportRefuses: a file is taken under the conditions of a download, and what is refused
// changes nothing.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	layer := good(t, "CVE-2026-0002", today.Add(time.Minute))
	sound := layoutOf(t, layerType, map[string][]byte{"a": layer})
	damage := func(change func(dir string)) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
		change(dir)
		return dir
	}
	spoil := func(path string) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(dir string) string {
		var found string
		_ = fs.WalkDir(os.DirFS(dir), "blobs/sha256", func(path string, _ fs.DirEntry, _ error) error {
			if raw, err := os.ReadFile(filepath.Join(dir, path)); err == nil &&
				bytes.Contains(raw, []byte(`"layers"`)) {
				found = filepath.Join(dir, path)
			}
			return nil
		})
		return found
	}
	blob := "blobs/sha256/" + pratique.DigestOf(layer).Hex()
	tests := map[string]struct {
		w    Request
		want pratique.Kind
	}{
		"no file":         {Request{File: filepath.Join(t.TempDir(), "none")}, pratique.Invalid},
		"empty directory": {Request{File: t.TempDir()}, pratique.Invalid},
		"text":            {Request{File: write(t, "x", []byte("hello"))}, pratique.Invalid},
		"a tar of others": {Request{File: write(t, "x", archive(t, file{"x", nil}))}, pratique.Invalid},
		"older": {Request{File: write(t, "x",
			good(t, "CVE-2026-0000", today.Add(-time.Hour)))}, pratique.Stale},
		"from the future": {Request{File: write(t, "x",
			good(t, "CVE-2026-0009", today.Add(48*time.Hour)))}, pratique.Invalid},
		"no advisories": {Request{File: write(t, "x", good(t, "", today.Add(time.Minute)))},
			pratique.Invalid},
		"wrong type": {Request{File: layoutOf(t, "application/vnd.oci.image.layer.v1.tar+gzip",
			map[string][]byte{"a": layer})}, pratique.Corrupt},
		"wrong name": {Request{File: sound, Ref: "b"}, pratique.Invalid},
		"no blob": {Request{File: damage(func(dir string) {
			_ = os.Remove(filepath.Join(dir, blob))
		})}, pratique.Invalid},
		"wrong blob": {Request{File: damage(func(dir string) {
			spoil(filepath.Join(dir, blob))
		})}, pratique.Corrupt},
		"wrong manifest": {Request{File: damage(func(dir string) {
			spoil(manifest(dir))
		})}, pratique.Corrupt},
		"index junk": {Request{File: damage(func(dir string) {
			_ = os.WriteFile(filepath.Join(dir, "index.json"), []byte("x"), 0o600)
		})}, pratique.Invalid},
	}
	for _, kept := range []int{1, 2, 3, 10, 18, 100, 200, 300, len(layer) - 200, len(layer) - 9,
		len(layer) - 8, len(layer) - 4, len(layer) - 1} {
		name := "cut to " + time.Duration(kept).String()
		tests[name] = struct {
			w    Request
			want pratique.Kind
		}{Request{File: write(t, "db.tar.gz", layer[:kept])}, pratique.Invalid}
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{MaxBytes: 1 << 20})
			if _, err := s.Do(t.Context(),
				Request{File: write(t, "db.tar.gz", good(t, "CVE-2026-0001", today))}); err != nil {
				t.Fatal(err)
			}
			a, err := s.Do(t.Context(), test.w)
			wantKind(t, err, test.want)
			if a.Changed {
				t.Error("changed")
			}
			mustHold(t, s, "CVE-2026-0001")
			if n := generations(t, s.cfg.Dir); n != 1 {
				t.Errorf("%d generations", n)
			}
		})
	}
	s := open(t, Config{})
	older := Request{File: write(t, "x", good(t, "CVE-2026-0000", today.Add(-time.Hour))), Force: true}
	for _, w := range []Request{{File: write(t, "db.tar.gz", layer)}, older} {
		if a, err := s.Do(t.Context(), w); err != nil || !a.Changed {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	mustHold(t, s, "CVE-2026-0000")
	large := open(t, Config{MaxBytes: 4 << 10})
	_, err := large.Do(t.Context(), older)
	wantKind(t, err, pratique.Exhausted)
}

// TestAsk: another process has the owner do things, while it is running and while it is not.
func TestAsk(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	src.publish(t, good(t, "CVE-2026-0002", today))
	dir := t.TempDir()
	heard := make(chan Generation, 10)
	cfg := Config{Sources: []string{src.ref}, Dir: dir, OnUpdate: func(g Generation, err error) {
		if err == nil {
			heard <- g
		}
	}}
	owner := open(t, cfg)
	// The first look is not due yet, so that nothing but the wishes happens.
	if err := owner.updateSchedule(func(p *schedule) {
		p.LookedAt, p.TriedAt = today, today
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Do(t.Context(),
		Request{File: write(t, "x", good(t, "CVE-2026-0001", today.Add(-time.Minute)))}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- owner.Run(ctx) }()
	if g := <-heard; !strings.Contains(g.Source, "x") {
		t.Errorf("told %+v", g)
	}
	ask := func(w Request) (Response, error) { return Send(t.Context(), cfg, w, clock) }
	a, err := ask(Request{})
	if err != nil || a.Changed || src.downloads() != 0 || !a.Due.After(today) {
		t.Errorf("an update that is not due: %+v, %v", a, err)
	}
	a, err = ask(Request{Force: true})
	if err != nil || !a.Changed || src.downloads() != 1 {
		t.Errorf("an update: %+v, %v", a, err)
	}
	if g := <-heard; g.Database != a.Database {
		t.Errorf("told %+v, answer %+v", g, a)
	}
	mustHold(t, owner, "CVE-2026-0002")
	older := Request{File: write(t, "older", good(t, "CVE-2026-0000", today.Add(-time.Hour)))}
	_, err = ask(older)
	wantKind(t, err, pratique.Stale)
	_, err = ask(Request{File: write(t, "junk", []byte("junk"))})
	wantKind(t, err, pratique.Invalid)
	older.Force = true
	if a, err = ask(older); err != nil || !a.Changed {
		t.Errorf("%+v, %v", a, err)
	}
	mustHold(t, owner, "CVE-2026-0000")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Nobody answers: the wish is taken back.
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err = Send(short, cfg, older, clock)
	wantKind(t, err, pratique.Unavailable)
	if left, _ := os.ReadDir(filepath.Join(dir, requestDir)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	generations(t, dir)
}
