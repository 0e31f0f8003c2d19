// Package imagetest makes images on disk for tests: small ones from files given in code, and those
// of an OCI layout.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Files are the files of one layer, content by path. A file whose name starts with ".wh." removes
// another, a path that ends in a slash is a directory, and a content that starts with [Symlink] or
// [Hardlink] is a link to what follows.
type Files map[string]string

// What makes a link of a file.
const (
	Symlink  = "symlink to "
	Hardlink = "hardlink to "
)

// Created is the time of creation of every image made by [Build].
var Created = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// repository is the name that all images here have.
func repository() pratique.Repository {
	return pratique.Repository{Registry: "registry.example:5000", Path: "team/app"}
}

// Build makes a linux/amd64 image with one layer for each argument. It lies below a directory that
// ends with the test.
func Build(t testing.TB, contents ...Files) layers.Image {
	t.Helper()
	return BuildAs(t, func(*v1.ConfigFile) {}, contents...)
}

// BuildAs is [Build] with another configuration.
func BuildAs(t testing.TB, change func(*v1.ConfigFile), contents ...Files) layers.Image {
	t.Helper()
	streams := make([][]byte, len(contents))
	for i, files := range contents {
		streams[i] = archive(t, files)
	}
	return buildOf(t, change, streams)
}

// BuildOf is [Build] of layers that are packed already.
func BuildOf(t testing.TB, streams ...[]byte) layers.Image {
	t.Helper()
	return buildOf(t, func(*v1.ConfigFile) {}, streams)
}

func buildOf(t testing.TB, change func(*v1.ConfigFile), streams [][]byte) layers.Image {
	t.Helper()
	dir := t.TempDir()
	config := v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Created: v1.Time{Time: Created},
		Config: v1.Config{User: "65532",
			Labels: map[string]string{"org.opencontainers.image.title": "small"}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Layers: []v1.Descriptor{}}
	img := layers.Image{Platform: "linux/amd64", MediaType: string(types.OCIManifestSchema1)}
	for _, body := range streams {
		digest := pratique.DigestOf(body)
		path := filepath.Join(dir, digest.Hex())
		must(t, os.WriteFile(path, body, 0o600))
		hash := v1.Hash{Algorithm: "sha256", Hex: digest.Hex()}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, hash)
		manifest.Layers = append(manifest.Layers, v1.Descriptor{
			MediaType: types.OCIUncompressedLayer, Size: int64(len(body)), Digest: hash,
		})
		img.Layers = append(img.Layers, layers.Layer{
			Digest: digest, DiffID: digest, MediaType: string(types.OCIUncompressedLayer),
			Size: int64(len(body)), Path: path,
		})
	}
	change(&config)
	img.Config = encode(t, config)
	manifest.Config = v1.Descriptor{
		MediaType: types.OCIConfigJSON, Size: int64(len(img.Config)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf(img.Config).Hex()},
	}
	img.Manifest = encode(t, manifest)
	img.Subject = pratique.Subject{Repository: repository(), Digest: pratique.DigestOf(img.Manifest)}
	return img
}

// RPMDatabase is a database of RPM in the format of SQLite: bash, openssl-libs and a key.
func RPMDatabase(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	packed, err := os.Open(filepath.Join(filepath.Dir(here), "rpmdb", "rpmdb.sqlite.gz"))
	must(t, err)
	defer func() { _ = packed.Close() }() // only read
	r, err := gzip.NewReader(packed)
	must(t, err)
	body, err := io.ReadAll(r)
	must(t, err)
	return string(body)
}

// Layout writes an image made by [Build] as an OCI layout, and returns its directory.
func Layout(t testing.TB, img layers.Image) string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	must(t, os.MkdirAll(blobs, 0o700))
	put := func(body []byte) {
		must(t, os.WriteFile(filepath.Join(blobs, pratique.DigestOf(body).Hex()), body, 0o600)) //nolint:gosec // a digest is no path
	}
	put(img.Manifest)
	put(img.Config)
	for _, l := range img.Layers {
		body, err := os.ReadFile(l.Path)
		must(t, err)
		put(body)
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Size: int64(len(img.Manifest)),
			Digest: v1.Hash{Algorithm: "sha256", Hex: img.Subject.Digest.Hex()},
		}}}
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), encode(t, index), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`),
		0o600))
	return dir
}

// Load takes the image that is called name out of an OCI layout and decompresses its layers.
func Load(t testing.TB, dir, name string) layers.Image {
	t.Helper()
	return Unpack(t, find(t, dir, name))
}

// Single copies the image that is called name out of an OCI layout into one of its own, and returns
// its directory: command lines take no names.
func Single(t testing.TB, dir, name string) string {
	t.Helper()
	to, err := layout.Write(t.TempDir(), empty.Index)
	must(t, err)
	must(t, to.AppendImage(find(t, dir, name)))
	return string(to)
}

func find(t testing.TB, dir, name string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	must(t, err)
	manifest, err := index.IndexManifest()
	must(t, err)
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == name {
			src, err := index.Image(d.Digest)
			must(t, err)
			return src
		}
	}
	t.Fatalf("no image %s in %s", name, dir)
	return nil
}

// Unpack writes the layers of src to a directory that ends with the test.
func Unpack(t testing.TB, src v1.Image) layers.Image {
	t.Helper()
	dir := t.TempDir()
	var img layers.Image
	var err error
	img.Manifest, err = src.RawManifest()
	must(t, err)
	img.Config, err = src.RawConfigFile()
	must(t, err)
	mediaType, err := src.MediaType()
	must(t, err)
	img.MediaType, img.Platform = string(mediaType), "linux/amd64"
	img.Subject = pratique.Subject{Repository: repository(), Digest: pratique.DigestOf(img.Manifest)}
	parts, err := src.Layers()
	must(t, err)
	for _, part := range parts {
		var l layers.Layer
		digest, err := part.Digest()
		must(t, err)
		l.Digest, err = pratique.ParseDigest(digest.String())
		must(t, err)
		diffID, err := part.DiffID()
		must(t, err)
		l.DiffID, err = pratique.ParseDigest(diffID.String())
		must(t, err)
		partType, err := part.MediaType()
		must(t, err)
		l.MediaType = string(partType)
		l.Size, err = part.Size()
		must(t, err)
		l.Path = filepath.Join(dir, l.DiffID.Hex())
		content, err := part.Uncompressed()
		must(t, err)
		f, err := os.Create(l.Path)
		must(t, err)
		_, err = io.Copy(f, content)
		must(t, err)
		must(t, f.Close())
		must(t, content.Close())
		img.Layers = append(img.Layers, l)
	}
	return img
}

func archive(t testing.TB, files Files) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, ModTime: Created}
		content := files[name]
		if to, ok := strings.CutPrefix(content, Symlink); ok {
			header.Typeflag, header.Linkname, content = tar.TypeSymlink, to, ""
		} else if to, ok := strings.CutPrefix(content, Hardlink); ok {
			header.Typeflag, header.Linkname, content = tar.TypeLink, to, ""
		} else if strings.HasSuffix(name, "/") {
			header.Typeflag = tar.TypeDir
		}
		header.Size = int64(len(content))
		must(t, w.WriteHeader(&header))
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
