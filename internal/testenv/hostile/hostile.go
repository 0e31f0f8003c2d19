// Package hostile makes images that somebody made to do harm, byte by byte: what a registry would
// refuse to store can be served by one that is in the plot. For tests.
package hostile

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

// Image is a manifest and the blobs that it names.
type Image struct {
	MediaType string
	Manifest  []byte
	Blobs     map[pratique.Digest][]byte
}

// Digest is that of the manifest.
func (i Image) Digest() pratique.Digest { return pratique.DigestOf(i.Manifest) }

// Layer is one layer in the making.
type Layer struct {
	Bytes     []byte // as the registry serves them
	DiffID    pratique.Digest
	MediaType string
	URLs      []string
}

const (
	gzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip"
	zstdLayer = "application/vnd.oci.image.layer.v1.tar+zstd"
)

type descriptor struct {
	MediaType string          `json:"mediaType"`
	Digest    pratique.Digest `json:"digest"`
	Size      int             `json:"size"`
	URLs      []string        `json:"urls,omitempty"`
}

// Of makes an image of layers, lowest first.
func Of(layers ...Layer) Image { return of(map[string]any{"User": "65532"}, layers) }

// Labeled is an image with a label of n bytes.
func Labeled(n int) Image {
	return of(map[string]any{"User": "65532",
		"Labels": map[string]string{"a": strings.Repeat("b", n)}}, []Layer{Base()})
}

func of(runs map[string]any, layers []Layer) Image {
	img := Image{MediaType: pratique.TypeOCIManifest, Blobs: map[pratique.Digest][]byte{}}
	add := func(mediaType string, b []byte) descriptor {
		d := pratique.DigestOf(b)
		img.Blobs[d] = b
		return descriptor{MediaType: mediaType, Digest: d, Size: len(b)}
	}
	diffIDs, all := []string{}, []descriptor{}
	for _, l := range layers {
		d := add(l.MediaType, l.Bytes)
		d.URLs = l.URLs
		all = append(all, d)
		diffIDs = append(diffIDs, l.DiffID.String())
	}
	config := add("application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"os": "linux", "architecture": "amd64", "created": "2024-01-02T03:04:05Z", "config": runs,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	}))
	img.Manifest = encode(map[string]any{"schemaVersion": 2, "mediaType": img.MediaType,
		"config": config, "layers": all})
	return img
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of values made here
	}
	return b
}

// Gzip packs a tar stream with gzip.
func Gzip(stream io.Reader) Layer {
	return pack(gzipLayer, stream, func(w io.Writer) io.WriteCloser {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		must(err)
		return z
	})
}

// Zstd packs a tar stream with zstd.
func Zstd(stream io.Reader) Layer {
	return pack(zstdLayer, stream, func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		must(err)
		return z
	})
}

func pack(mediaType string, stream io.Reader, through func(io.Writer) io.WriteCloser) Layer {
	var out bytes.Buffer
	z, sum := through(&out), newHash()
	_, err := io.Copy(io.MultiWriter(z, sum), stream)
	must(err)
	must(z.Close())
	return Layer{Bytes: out.Bytes(), DiffID: sum.digest(), MediaType: mediaType}
}

func must(err error) {
	if err != nil {
		panic(err) // writing to memory
	}
}

// Entry is one entry of a tar stream: a regular file unless the header says otherwise.
type Entry struct {
	tar.Header
	Content []byte
}

// File makes a regular file.
func File(name string, content []byte) Entry {
	return Entry{Header: tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)),
		Typeflag: tar.TypeReg}, Content: content}
}

// Link makes a symbolic link, Hard a hard link.
func Link(name, target string) Entry {
	return Entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777}}
}

// Hard makes a hard link.
func Hard(name, target string) Entry {
	return Entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink, Mode: 0o777}}
}

// Tar makes a stream of entries.
func Tar(entries ...Entry) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		must(w.WriteHeader(&e.Header))
		_, err := w.Write(e.Content)
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// Many is a stream of n empty files.
func Many(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		for i := range n {
			if err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/f%d", i%100, i),
				Typeflag: tar.TypeReg}); err != nil {
				_ = w.CloseWithError(err)
				return
			}
		}
		_ = w.CloseWithError(t.Close())
	}()
	return r
}

// Zeros is a stream of one file of n zeros.
func Zeros(name string, n int64) io.Reader {
	var head bytes.Buffer
	must(tar.NewWriter(&head).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: n,
		Typeflag: tar.TypeReg}))
	return io.MultiReader(&head, io.LimitReader(zeros{}, n+(-n&511)+1024))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Base is a small Debian.
func Base() Layer {
	return Gzip(bytes.NewReader(Tar(
		File("etc/os-release",
			[]byte("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")),
		File("etc/debian_version", []byte("12.5\n")),
		File("var/lib/dpkg/status", []byte(stanza("base-files", "12.4+deb12u5"))),
	)))
}

func stanza(name, version string) string {
	return strings.Join([]string{"Package: " + name, "Status: install ok installed",
		"Priority: required", "Section: admin",
		"Maintainer: Nobody <nobody@example.com>", "Architecture: amd64", "Version: " + version,
		"Description: none", "", ""}, "\n")
}
