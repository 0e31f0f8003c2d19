package syft

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/sbom"
)

// WarmUp makes the SBOMs of a small image, so that the process loads dictionaries and patterns
// before the first real image: about 0.2 s of CPU.
func WarmUp(ctx context.Context, g sbom.Generator) error {
	return TinyImage(warmUpFiles(), func(img layers.Image) error {
		_, err := g.Generate(ctx, img)
		return err
	})
}

// TinyImage makes an image with one layer of these files, calls use with it, and deletes it.
func TinyImage(files map[string]string, use func(layers.Image) error) error {
	dir, err := os.MkdirTemp("", "pratique-syft-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a small file
	img, err := tiny(dir, files)
	if err != nil {
		return err
	}
	return use(img)
}

// warmUpFiles are files that make Syft use most of its features.
func warmUpFiles() map[string]string {
	return map[string]string{
		"etc/os-release":                   "NAME=Debian\nID=debian\nVERSION_ID=12\n",
		"var/lib/dpkg/status":              "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2\nDepends: libc6\n\n",
		"var/lib/dpkg/info/bash.md5sums":   "d41d8cd98f00b204e9800998ecf8427e  usr/share/bash\n",
		"usr/share/bash":                   "",
		"usr/share/doc/bash/copyright":     "License: GPL-3+\n This program is free software\n",
		"app/node_modules/ms/package.json": `{"name":"ms","version":"2.1.3","license":"MIT"}`,
	}
}

// tiny makes an image of these files, and writes its layer to dir.
func tiny(dir string, files map[string]string) (layers.Image, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644,
			Size: int64(len(files[name]))}); err != nil {
			return layers.Image{}, err
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return layers.Image{}, err
		}
	}
	if err := w.Close(); err != nil {
		return layers.Image{}, err
	}
	body := out.Bytes()
	digest := pratique.DigestOf(body)
	file := filepath.Join(dir, digest.Hex())
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return layers.Image{}, err
	}
	hash := v1.Hash{Algorithm: "sha256", Hex: digest.Hex()}
	config, err := json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{hash}}})
	if err != nil {
		return layers.Image{}, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(config)),
			Digest: v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf(config).Hex()}},
		Layers: []v1.Descriptor{{MediaType: types.OCIUncompressedLayer, Size: int64(len(body)),
			Digest: hash}},
	})
	if err != nil {
		return layers.Image{}, err
	}
	return layers.Image{
		Subject: pratique.Subject{Repository: pratique.Repository{Registry: "localhost",
			Path: "rehearsal"}, Digest: pratique.DigestOf(manifest)},
		MediaType: string(types.OCIManifestSchema1), Manifest: manifest, Config: config,
		Layers: []layers.Layer{{Digest: digest, DiffID: digest,
			MediaType: string(types.OCIUncompressedLayer), Size: int64(len(body)), Path: file}},
	}, nil
}
