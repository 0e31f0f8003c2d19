package layers

import (
	"context"
	"io"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Source is where images come from: a registry.
type Source interface {
	// Image reads the manifest and the configuration of one platform image.
	Image(ctx context.Context, subject pratique.Subject) (Remote, error)
	// Layer opens the compressed bytes of one layer, which need not be checked yet.
	Layer(ctx context.Context, repo pratique.Repository, d Descriptor) (io.ReadCloser, error)
}

// Remote is one platform image in a registry. The manifest has the subject's digest, the configuration the
// digest that the manifest names, and there are as many diff ids as layers.
type Remote struct {
	Subject   pratique.Subject
	Platform  pratique.Platform
	MediaType string
	Manifest  []byte
	Config    []byte
	// Layers are in the order of the manifest, lowest first.
	Layers []Descriptor
}

// Descriptor is what a manifest and a configuration say of one layer.
type Descriptor struct {
	// Digest is that of the compressed bytes, of which there are Size; DiffID that of the tar stream.
	Digest    pratique.Digest
	DiffID    pratique.Digest
	MediaType string
	Size      int64
}

// The media types of layers that hold files. In a compressed one the first bytes say how it is compressed,
// for runtimes go by these too.
var (
	plainTypes = []string{
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
	}
	compressedTypes = []string{
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	}
)

// Known reports whether the media type is that of a layer of files which a [Store] can expand.
func Known(mediaType string) bool {
	return slices.Contains(plainTypes, mediaType) || slices.Contains(compressedTypes, mediaType)
}
