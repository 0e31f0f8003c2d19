//go:build goexperiment.jsonv2

package trivy

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// expected is a finding as the command line reports it.
type expected struct {
	ID, Pkg, Version, Fixed, Severity, Status, Type, Class, Path, Source string
}

// TestRealImages compares with what the command line of the same version finds in real images. The
// data are not part of the repository: PRATIQUE_TEST_DATA names their directory.
func TestRealImages(t *testing.T) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set")
	}
	s := newScanner(t)
	dbs := map[string]scanner.DatabaseDir{}
	bases := map[pratique.Digest]bool{}
	for _, name := range []string{"db-a", "db-b"} {
		dbs[name] = scanner.DatabaseDir{Dir: unpackDB(t, data, "trivy-"+name+":2"),
			Database: pratique.Database{Version: 2}}
	}
	for _, name := range []string{"base", "app-go", "app-node", "app-clean", "app-flip", "alpine-syn"} {
		img := imagetest.Load(t, filepath.Join(data, "images"), name+":1")
		start := time.Now()
		kept := kept{}
		s.layers.trim(0)
		inv := analyzeWith(t, img, kept)
		cold := time.Since(start)
		start = time.Now()
		again := analyzeWith(t, img, nil)
		t.Logf("%s: %d packages, analyzed in %v, again in %v", name, inv.Packages(), cold,
			time.Since(start))
		if diff := cmp.Diff(inv, again, digests); diff != "" {
			t.Errorf("%s: the second inventory differs (-first +second)\n%s", name, diff)
		}
		s.layers.trim(0)
		start = time.Now()
		stored := analyzeWith(t, withoutFiles(t, img), kept)
		t.Logf("%s: from %d stored analyses of %d bytes in %v", name, len(kept), kept.size(),
			time.Since(start))
		if diff := cmp.Diff(inv, stored, digests); diff != "" {
			t.Errorf("%s: the inventory from stored analyses differs (-analyzed +stored)\n%s", name, diff)
		}
		for db, dir := range dbs {
			want := oracle(t, filepath.Join(data, "oracle", name+"."+db+".json"))
			start = time.Now()
			report, err := s.Match(t.Context(), inv, dir)
			if err != nil {
				t.Fatal(name, db, err)
			}
			t.Logf("%s with %s: %d findings in %v", name, db, len(report.Findings), time.Since(start))
			if diff := cmp.Diff(want, asExpected(report.Findings), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s with %s: (-command line +here)\n%s", name, db, diff)
			}
			if odd := slices.DeleteFunc(slices.Clone(report.Coverage.Unmatched),
				func(u pratique.Unmatched) bool {
					return u.Name == ""
				}); len(odd) > 0 {
				t.Errorf("%s with %s: honest packages are unmatched: %+v", name, db, odd)
			}
			parts := checkParts(t, s, inv, dir, report)
			if inv.OS.Family == "debian" {
				bases[parts[0]] = true
			}
		}
	}
	if len(bases) != 1 {
		t.Errorf("the base that three images share is stored %d times", len(bases))
	}
}

func asExpected(findings []pratique.Finding) []expected {
	var out []expected
	for _, f := range findings {
		out = append(out, expected{
			ID: f.ID, Pkg: f.Package, Version: f.Installed, Fixed: f.Fixed,
			Severity: f.Severity.String(), Status: f.Status,
			Type: f.Type, Class: string(f.Class), Path: f.Path, Source: f.DataSource.ID,
		})
	}
	sortExpected(out)
	return out
}

func sortExpected(e []expected) {
	key := func(e expected) string {
		return strings.Join([]string{e.ID, e.Pkg, e.Version, e.Type, e.Path}, "\x00")
	}
	slices.SortFunc(e, func(a, b expected) int { return strings.Compare(key(a), key(b)) })
}

func oracle(t *testing.T, path string) []expected {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Findings []expected }
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	sortExpected(doc.Findings)
	return doc.Findings
}

func unpackDB(t *testing.T, data, name string) string {
	t.Helper()
	index, err := layout.ImageIndexFromPath(filepath.Join(data, "db", "oci"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(manifest.Manifests, func(d v1.Descriptor) bool {
		return d.Annotations["org.opencontainers.image.ref.name"] == name
	})
	img, err := index.Image(manifest.Manifests[i].Digest)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := parts[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
