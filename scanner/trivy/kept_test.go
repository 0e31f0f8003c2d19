//go:build goexperiment.jsonv2

package trivy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/log"
	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/scanner"
)

// kept keeps analyses in memory.
type kept map[pratique.Digest][]byte

func (k kept) Load(layer pratique.Digest) ([]byte, bool) {
	b, ok := k[layer]
	return b, ok
}

func (k kept) Store(layer pratique.Digest, analysis []byte) error {
	if k[layer] != nil {
		return errors.New("stored twice")
	}
	k[layer] = bytes.Clone(analysis)
	return nil
}

func (k kept) size() (n int) {
	for _, b := range k {
		n += len(b)
	}
	return n
}

func analyzeWith(t *testing.T, img layers.Image, k kept) pratique.Inventory {
	t.Helper()
	var store scanner.Cache
	if k != nil {
		store = k
	}
	analysis, err := newScanner(t).Analyze(t.Context(), img, store)
	if err != nil {
		t.Fatal(err)
	}
	return analysis.Inventory
}

// withoutFiles is an image whose layers cannot be read: what is not known of them cannot be found
// out.
func withoutFiles(t *testing.T, img layers.Image) layers.Image {
	t.Helper()
	img.Layers = slices.Clone(img.Layers)
	for i := range img.Layers {
		img.Layers[i].Path = filepath.Join(t.TempDir(), "gone")
	}
	return img
}

// forgetAll empties what the scanner remembers, as a restart would.
func forgetAll(t *testing.T) { newScanner(t).layers.trim(0) }

// TestStoredAnalyses checks that images made from stored analyses are those that were read: the
// inventory and the report, whichever image the analyses were made for.
func TestStoredAnalyses(t *testing.T) {
	db := buildDB(t, advisories())
	pom := "groupId=org.example\nartifactId=lib\nversion=1.2\n"
	alpine := imagetest.Files{
		"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n", "etc/alpine-release": "3.19.1\n",
		"lib/apk/db/installed": "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nL:MIT\n\n",
		"etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.19/main\n",
	}
	all := kept{}
	var imgs []layers.Image
	for _, spec := range []images.Spec{images.Clean(), images.Vulnerable()} {
		img, err := images.Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		imgs = append(imgs, imagetest.Unpack(t, img))
	}
	for _, files := range [][]imagetest.Files{
		{debianBase()},
		{debianBase(), nodeLayer()},
		{nodeLayer(), debianBase(), nodeLayer()}, // two equal layers
		{debianBase(), nodeLayer(), {"srv/node_modules/.wh.lodash": ""}},
		{debianBase(), nodeLayer(), {"srv/node_modules/.wh..wh..opq": ""}, nodeLayer()},
		{debianBase(), {"var/lib/dpkg/.wh.status": ""}, nodeLayer()},
		{alpine,
			{"app/lib-1.2.jar": jar(t,
				map[string]string{"META-INF/maven/org.example/lib/pom.properties": pom})}},
		{{"usr/share/doc/bash/copyright": "License: GPL-3+\n"}, debianBase()},
		{{"hello": "world"}},
		{},
	} {
		imgs = append(imgs, imagetest.Build(t, files...))
	}
	for _, img := range imgs {
		forgetAll(t)
		want := analyzeWith(t, img, nil)
		forgetAll(t)
		own := kept{}
		if diff := cmp.Diff(want, analyzeWith(t, img, own), digests); diff != "" {
			t.Error("while it is stored (-want +got)\n", diff)
		}
		distinct := map[pratique.Digest]bool{}
		for _, l := range img.Layers {
			distinct[l.DiffID] = true
		}
		if len(own) != len(distinct) {
			t.Errorf("%d analyses of %d layers are stored", len(own), len(distinct))
		}
		maps.Copy(all, own)
		for _, from := range []kept{own, all} {
			forgetAll(t)
			before := len(from)
			got, err := newScanner(t).Analyze(t.Context(), withoutFiles(t, img), from)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Inventory, digests); diff != "" {
				t.Error("from stored analyses (-want +got)\n", diff)
			}
			if len(from) != before {
				t.Error("what is stored was made again")
			}
			if diff := cmp.Diff(matchWith(t, want, db), matchWith(t, got.Inventory, db),
				digests); diff != "" {
				t.Error("report from stored analyses (-want +got)\n", diff)
			}
		}
	}
	// Whatever image a layer was seen in, the same is stored of it.
	forgetAll(t)
	other := kept{}
	analyzeWith(t, imagetest.Build(t, imagetest.Files{"a": "1"}, nodeLayer(),
		imagetest.Files{"b": "2"}), other)
	layer := imagetest.Build(t, nodeLayer()).Layers[0].DiffID
	if !bytes.Equal(other[layer], all[layer]) || len(other[layer]) == 0 {
		t.Errorf("one image leaves %s\nanother %s", all[layer], other[layer])
	}
}

// TestRememberedLayersAreStored checks that a store which lost an analysis gets it again from a
// scanner that still remembers the layer.
func TestRememberedLayersAreStored(t *testing.T) {
	img := imagetest.Build(t, debianBase())
	first, second := kept{}, kept{}
	analyzeWith(t, img, first)
	analyzeWith(t, img, second)
	if len(second) != 1 || !bytes.Equal(first[img.Layers[0].DiffID], second[img.Layers[0].DiffID]) {
		t.Errorf("%d analyses", len(second))
	}
}

// TestUnfitAnalyses checks that what does not serve is made again, without an error.
func TestUnfitAnalyses(t *testing.T) {
	img := imagetest.Build(t, debianBase(), nodeLayer())
	good := kept{}
	want := analyzeWith(t, img, good)
	layer := img.Layers[1].DiffID
	version := fmt.Sprintf(`"SchemaVersion":%d`, ftypes.BlobJSONSchemaVersion)
	if !strings.Contains(string(good[layer]), version) {
		t.Fatalf("stored is %s", good[layer])
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "half": good[layer][:len(good[layer])/2],
		"another layer's": good[img.Layers[0].DiffID], "nothing": []byte("{}"),
		"null": []byte("null"), "another version": bytes.Replace(good[layer], []byte(version),
			[]byte(`"SchemaVersion":1`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			forgetAll(t)
			k := unfit{kept: kept{}, bad: bad, layer: layer, good: good}
			got, err := newScanner(t).Analyze(t.Context(), img, k)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Inventory, digests); diff != "" {
				t.Error("(-want +got)\n", diff)
			}
			if len(k.kept) != 1 || !bytes.Equal(k.kept[layer], good[layer]) {
				t.Errorf("stored %d", len(k.kept))
			}
		})
	}
}

// unfit loads a bad analysis of one layer.
type unfit struct {
	kept
	good  kept
	layer pratique.Digest
	bad   []byte
}

func (u unfit) Load(layer pratique.Digest) ([]byte, bool) {
	if layer == u.layer {
		return u.bad, true
	}
	return u.good.Load(layer)
}

// TestPartialAnalysesAreNotStored checks that of an image which cannot be read to its end nothing
// is kept, not even of the layers that could.
func TestPartialAnalysesAreNotStored(t *testing.T) {
	img := imagetest.Build(t, debianBase(), nodeLayer())
	forgetAll(t)
	if err := os.Truncate(img.Layers[1].Path, 520); err != nil {
		t.Fatal(err)
	}
	k := kept{}
	if _, err := newScanner(t).Analyze(t.Context(), img, k); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("error %v", err)
	}
	if n := len(newScanner(t).layers.blobs); len(k) != 0 || n != 0 {
		t.Errorf("%d analyses are stored, %d remembered", len(k), n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newScanner(t).Analyze(ended, imagetest.Build(t, nodeLayer()),
		k); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
	if n := len(newScanner(t).layers.blobs); len(k) != 0 || n != 0 {
		t.Errorf("%d analyses are stored, %d remembered", len(k), n)
	}
}

// TestSwallowedTrouble checks that errors which Trivy logs and goes on after are heard, if they are
// the machine's.
func TestSwallowedTrouble(t *testing.T) {
	heard := newScanner(t).logErrors
	for _, logger := range []*log.Logger{log.WithPrefix("analyzer"), log.WithPrefix("image config")} {
		for err, want := range map[error]bool{
			syscall.ENOSPC: true, syscall.EMFILE: true, context.Canceled: true,
			fs.ErrNotExist: false, errors.New("no such format"): false,
		} {
			heard.reset()
			logger.DebugContext(t.Context(), "Analysis error",
				log.Err(fmt.Errorf("while it was read: %w", err)))
			if got := errors.Is(heard.machineError(), err); got != want {
				t.Errorf("%v is heard: %v, want %v", err, got, want)
			}
		}
	}
	heard.reset()
}

func TestMaker(t *testing.T) {
	seen := map[string][]pratique.ExtraKind{}
	for _, extras := range [][]pratique.ExtraKind{
		nil, {pratique.ExtraSecrets}, {pratique.ExtraMisconfigurations},
		{pratique.ExtraSecrets, pratique.ExtraMisconfigurations},
	} {
		m, err := Config{Extras: extras}.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Config{Extras: slices.Clone(extras)}.Fingerprint()
		if err != nil || again != m {
			t.Errorf("%q, then %q, error %v", m, again, err)
		}
		if !strings.Contains(m, Tool().Version) {
			t.Errorf("%q does not name the version %q", m, Tool().Version)
		}
		if other, ok := seen[m]; ok {
			t.Errorf("%v has the fingerprint of %v", extras, other)
		}
		seen[m] = extras
	}
	// Licenses stand in the packages, which are analyzed in any case.
	plain, _ := Config{}.Fingerprint()
	licenses, err := Config{Extras: []pratique.ExtraKind{pratique.ExtraLicenses}}.Fingerprint()
	if err != nil || licenses != plain {
		t.Errorf("%q for licenses, %q without, error %v", licenses, plain, err)
	}
}
