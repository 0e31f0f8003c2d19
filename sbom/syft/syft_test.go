package syft

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

var generator *Generator

// TestMain builds the license scanner once.
func TestMain(m *testing.M) {
	var err error
	if generator, err = New(nil); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func smallImage(t *testing.T) layers.Image {
	t.Helper()
	return imagetest.Build(t, imagetest.Files{
		"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12\"\nNAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n",
		"var/lib/dpkg/status": "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.11-1~deb12u1\n\n" +
			"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2\nDepends: libssl3\n\n",
		"usr/share/doc/bash/copyright": "License: GPL-3+\n",
	}, imagetest.Files{
		"srv/node_modules/lodash/package.json": `{"name":"lodash","version":"4.17.20","license":"MIT"}`,
		"srv/node_modules/ms/package.json":     `{"name":"ms","version":"2.1.3","license":"MIT"}`,
	}, imagetest.Files{"srv/node_modules/.wh.ms": ""})
}

func generate(t *testing.T, img layers.Image) sbom.Documents {
	t.Helper()
	docs, err := generator.Generate(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestDocuments(t *testing.T) {
	img := smallImage(t)
	docs := generate(t, img)
	want := []sbom.Package{
		{Name: "bash", Version: "5.2.15-2",
			PURL: "pkg:deb/debian/bash@5.2.15-2?arch=amd64&distro=debian-12"},
		{Name: "libssl3", Version: "3.0.11-1~deb12u1",
			PURL: "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64&distro=debian-12&upstream=openssl"},
		{Name: "lodash", Version: "4.17.20", PURL: "pkg:npm/lodash@4.17.20"},
	}
	for name, decode := range map[string]func() (sbom.Summary, error){
		"SPDX-2.3": func() (sbom.Summary, error) { return sbom.DecodeSPDX(docs.SPDX) },
		"1.6":      func() (sbom.Summary, error) { return sbom.DecodeCycloneDX(docs.CycloneDX) },
	} {
		got, err := decode()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Packages); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		if got.Version != name || !got.Created.Equal(imagetest.Created) {
			t.Errorf("%s: version %q, created %v", name, got.Version, got.Created)
		}
		if !strings.Contains(got.Name, img.Subject.Repository.String()) {
			t.Errorf("%s: the document is named %q", name, got.Name)
		}
	}
	if docs.Packages != len(want) {
		t.Errorf("%d packages counted, want %d", docs.Packages, len(want))
	}
	if !strings.Contains(string(docs.SPDX), img.Subject.Digest.String()) ||
		!strings.Contains(string(docs.CycloneDX), img.Subject.Digest.String()) {
		t.Error("a document does not name the image's digest")
	}
}

func TestSameBytes(t *testing.T) {
	first := generate(t, smallImage(t))
	for range 3 {
		again := generate(t, smallImage(t)) // the same image in another directory
		if diff := cmp.Diff(string(first.SPDX), string(again.SPDX)); diff != "" {
			t.Fatal("SPDX (-first +again)\n", diff)
		}
		if diff := cmp.Diff(string(first.CycloneDX), string(again.CycloneDX)); diff != "" {
			t.Fatal("CycloneDX (-first +again)\n", diff)
		}
	}
	other := generate(t, imagetest.Build(t, imagetest.Files{"a": "b"}))
	ids := func(d sbom.Documents) [2]string {
		spdx, err := sbom.DecodeSPDX(d.SPDX)
		if err != nil {
			t.Fatal(err)
		}
		cyclone, err := sbom.DecodeCycloneDX(d.CycloneDX)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{spdx.ID, cyclone.ID}
	}
	a, b := ids(first), ids(other)
	if a[0] == b[0] || a[1] == b[1] || a[0] == "" || a[1] == "" {
		t.Errorf("two images, ids %v and %v", a, b)
	}
}

func TestNoTemporaryFilesAreLeft(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	img := smallImage(t)
	generate(t, img)
	if err := os.Truncate(img.Layers[0].Path, 520); err != nil {
		t.Fatal(err)
	}
	if _, err := generator.Generate(t.Context(), img); err == nil {
		t.Error("no error for a layer cut short")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*syft*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if _, err := os.Stat(img.Layers[0].Path); err != nil {
		t.Errorf("the layer itself was deleted: %v", err)
	}
}

func TestImagesThatCannotBeRead(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx   context.Context
		spoil func(*testing.T, *layers.Image)
		want  pratique.Kind
	}{
		"layer cut short": {t.Context(), func(t *testing.T, img *layers.Image) {
			if err := os.Truncate(img.Layers[0].Path, 520); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt},
		"layer gone": {t.Context(), func(t *testing.T, img *layers.Image) {
			if err := os.Remove(img.Layers[0].Path); err != nil {
				t.Fatal(err)
			}
		}, pratique.Unavailable},
		"layer that is none": {t.Context(), func(t *testing.T, img *layers.Image) {
			img.Layers[0].MediaType = "text/html"
		}, pratique.Corrupt},
		"another manifest": {t.Context(), func(_ *testing.T, img *layers.Image) {
			img.Manifest = append(img.Manifest, ' ')
		}, pratique.Corrupt},
		"no time left": {ended, func(*testing.T, *layers.Image) {}, pratique.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			img := smallImage(t)
			test.spoil(t, &img)
			_, err := generator.Generate(test.ctx, img)
			if got := pratique.KindOf(err); err == nil || got != test.want {
				t.Errorf("kind %v of error %v, want %v", got, err, test.want)
			}
		})
	}
}

// TestRealImages compares with the packages that the command line of the same version finds in real
// images. The data are not part of the repository: PRATIQUE_TEST_DATA names their directory.
func TestRealImages(t *testing.T) {
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set")
	}
	for _, name := range []string{"base", "app-go", "app-node", "app-clean", "app-flip", "alpine-syn"} {
		img := imagetest.Load(t, filepath.Join(data, "images"), name+":1")
		start := time.Now()
		docs := generate(t, img)
		t.Logf("%s: %d packages in %v, %d + %d bytes", name, docs.Packages, time.Since(start),
			len(docs.SPDX), len(docs.CycloneDX))
		again := generate(t, img)
		if string(again.SPDX) != string(docs.SPDX) || string(again.CycloneDX) != string(docs.CycloneDX) {
			t.Errorf("%s: the second run gave other bytes", name)
		}
		raw, err := os.ReadFile(filepath.Join(data, "oracle", name+".syft.json"))
		if err != nil {
			t.Fatal(err)
		}
		var oracle struct{ Packages [][3]string }
		if err := json.Unmarshal(raw, &oracle); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range oracle.Packages {
			want = append(want, p[1]+" "+p[2])
		}
		slices.Sort(want)
		for format, decode := range map[string]func() (sbom.Summary, error){
			"SPDX":      func() (sbom.Summary, error) { return sbom.DecodeSPDX(docs.SPDX) },
			"CycloneDX": func() (sbom.Summary, error) { return sbom.DecodeCycloneDX(docs.CycloneDX) },
		} {
			got, err := decode()
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, p := range got.Packages {
				have = append(have, p.Name+" "+p.Version)
			}
			slices.Sort(have)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s %s (-command line +here)\n%s", name, format, diff)
			}
		}
	}
}
