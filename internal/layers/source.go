package layers

import (
	"context"
	"crypto/sha256"
	"io"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Source is where images come from: a registry.
type Source interface {
	// Image reads the manifest and the configuration of one platform image.
	Image(ctx context.Context, subject pratique.Subject) (Remote, error)
	// Layer opens the compressed bytes of one layer; they need not be verified yet.
	Layer(ctx context.Context, repo pratique.Repository, d Descriptor) (io.ReadCloser, error)
	// Has returns nil if the repository has the layer. It is called for layers that are known from
	// another repository.
	Has(ctx context.Context, repo pratique.Repository, d Descriptor) error
}

// Remote is one platform image in a registry. The manifest has the subject's digest, the
// configuration the digest in the manifest, and there are as many diff ids as layers.
type Remote struct {
	Subject   pratique.Subject
	Platform  pratique.Platform
	MediaType string
	Manifest  []byte
	Config    []byte
	// Layers are in the order of the manifest, lowest first.
	Layers []Descriptor
}

// Descriptor describes one layer, as manifest and configuration do.
type Descriptor struct {
	// Digest is that of the Size compressed bytes, DiffID that of the tar stream.
	Digest    pratique.Digest
	DiffID    pratique.Digest
	MediaType string
	Size      int64
	// Annotations are the layer's in the manifest; lazy runtimes read some.
	Annotations map[string]string
	// DigestName and DiffIDName are set if the manifest or the configuration uses sha512. Then the
	// sha256 digest is not known before the bytes have been read, and Digest or DiffID stands for
	// the name; see [DigestFor].
	DigestName pratique.ContentID
	DiffIDName pratique.ContentID
}

// DigestFor returns the digest that stands for a content id in a [Descriptor], and the id itself if
// it is not sha256. For sha512 it is the first half of the sum: no content has that as its digest
// unless both algorithms are broken.
func DigestFor(id pratique.ContentID) (pratique.Digest, pratique.ContentID) {
	if d, ok := id.Digest(); ok {
		return d, pratique.ContentID{}
	}
	return pratique.DigestFromSum([sha256.Size]byte(id.Sum())), id
}

// ID is the registry's name of the compressed bytes.
func (d Descriptor) ID() pratique.ContentID { return nameOf(d.Digest, d.DigestName) }

func (d Descriptor) diffID() pratique.ContentID { return nameOf(d.DiffID, d.DiffIDName) }

func nameOf(d pratique.Digest, name pratique.ContentID) pratique.ContentID {
	if !name.IsZero() {
		return name
	}
	return d.ContentID()
}

// The media types of layers of files. The compression of a compressed layer is detected from its
// first bytes, as runtimes do.
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

// IsLayerType reports whether a [Store] can expand layers of a media type.
func IsLayerType(mediaType string) bool {
	return slices.Contains(plainTypes, mediaType) || slices.Contains(compressedTypes, mediaType)
}
