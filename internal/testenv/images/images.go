// Package images builds small container images in code, from the metadata of real packages: what a
// scanner reads of an installed package, without the package itself. For the demo and for tests.
package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Package is an installed Debian package: the fields of its stanza in the dpkg database.
type Package struct {
	Name, Source, Version, Maintainer, Section, Description string
}

// Module is an installed Python or Node.js package.
type Module struct {
	Name, Version, License string
}

// Spec says what an image contains.
type Spec struct {
	Debian []Package
	Python []Module
	Node   []Module
	// Platform defaults to linux/amd64. Text changes the image without changing its packages.
	Architecture string
	Text         string
}

const (
	opensslMaintainer = "Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>"
	zlibMaintainer    = "Mark Brown <broonie@debian.org>"
)

// debian12 is a few packages of Debian 12 with the given release of OpenSSL.
func debian12(openssl string) []Package {
	return []Package{
		{"base-files", "", "12.4+deb12u5", "Santiago Vila <sanvila@debian.org>", "admin",
			"Debian base system miscellaneous files"},
		{"zlib1g", "zlib", "1:1.2.13.dfsg-1", zlibMaintainer, "libs", "compression library - runtime"},
		{"libssl3", "openssl", openssl, opensslMaintainer, "libs",
			"Secure Sockets Layer toolkit - shared libraries"},
		{"openssl", "", openssl, opensslMaintainer, "utils",
			"Secure Sockets Layer toolkit - cryptographic utility"},
		{"ca-certificates", "", "20230311", "Julien Cristau <jcristau@debian.org>", "misc",
			"Common CA certificates"},
	}
}

// Clean is Debian 12 with OpenSSL and PyYAML in releases that the excerpt of advisories knows
// nothing against.
func Clean() Spec {
	return Spec{Debian: debian12("3.0.14-1~deb12u2"), Python: []Module{{"PyYAML", "6.0.1", "MIT"}}}
}

// Vulnerable is Debian 12 as first released, with an old PyYAML.
func Vulnerable() Spec {
	return Spec{Debian: debian12("3.0.9-1"), Python: []Module{{"PyYAML", "5.3.1", "MIT"}}}
}

// created is fixed, so that an image is a function of its spec.
var created = time.Date(2024, 9, 4, 0, 0, 0, 0, time.UTC)

// Build makes the image: a base layer with the distribution, and a layer with the application.
func Build(s Spec) (v1.Image, error) {
	base := map[string]string{
		"etc/os-release":      "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
		"etc/debian_version":  "12.5\n",
		"var/lib/dpkg/status": dpkgStatus(s.Debian),
	}
	app := map[string]string{"app/README": "Pratique test image\n" + s.Text}
	for _, m := range s.Python {
		dir := fmt.Sprintf("usr/lib/python3/dist-packages/%s-%s.dist-info/", m.Name, m.Version)
		app[dir+
			"METADATA"] = fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\nLicense: %s\n",
			m.Name, m.Version, m.License)
		app[dir+"RECORD"] = ""
	}
	for _, m := range s.Node {
		app["app/node_modules/"+m.Name+
			"/package.json"] = fmt.Sprintf("{\"name\":%q,\"version\":%q,\"license\":%q}\n", m.Name,
			m.Version, m.License)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON)
	for _, files := range []map[string]string{base, app} {
		layer, err := Layer(files)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	architecture := s.Architecture
	if architecture == "" {
		architecture = "amd64"
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: architecture, OS: "linux", Created: v1.Time{Time: created}, RootFS: rootFS(image),
		Config: v1.Config{
			User: "65532", Cmd: []string{"/app/run"},
			Labels: map[string]string{"org.opencontainers.image.source": "https://github.com/pratique-dev/pratique"},
		},
	})
}

func rootFS(image v1.Image) v1.RootFS {
	config, err := image.ConfigFile()
	if err != nil { // only of an image that was read from elsewhere
		return v1.RootFS{Type: "layers"}
	}
	return config.RootFS
}

// Index makes a multi-arch index of the images, whose configurations name their platforms.
func Index(all ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range all {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		platform := &v1.Platform{OS: config.OS, Architecture: config.Architecture}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index, nil
}

// Layer packs files into a gzip layer, sorted and without times.
func Layer(files map[string]string) (v1.Layer, error) {
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, path := range paths {
		header := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path])),
			ModTime: created, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(archive, files[path]); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

func dpkgStatus(packages []Package) string {
	var b bytes.Buffer
	for _, p := range packages {
		fmt.Fprintf(&b,
			"Package: %s\nStatus: install ok installed\nPriority: optional\nSection: %s\nMaintainer: %s\nArchitecture: amd64\n", p.Name, p.Section, p.Maintainer)
		if p.Source != "" {
			fmt.Fprintf(&b, "Source: %s\n", p.Source)
		}
		fmt.Fprintf(&b, "Version: %s\nDescription: %s\n\n", p.Version, p.Description)
	}
	return b.String()
}
