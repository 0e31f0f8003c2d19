// Package wire makes the requests of those who attach something to an image in its registry: it
// reads manifests and blobs within limits, uploads blobs, and moves tags. It knows no signature
// format.
//
// A registry has no compare-and-swap: a writer of a tag replaces what it holds.
package wire

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
)

// Registry provides the credentials and the transport for a repository.
type Registry interface {
	// RemoteOptions must not contain a Pusher or Puller to reuse. A Pusher remembers blobs that the
	// registry may have lost.
	RemoteOptions(ctx context.Context, repository pratique.Repository) ([]remote.Option,
		[]name.Option, error)
	// Transport is authorized to pull and push. It decides where the registry may send us, in
	// redirects and in upload URLs.
	Transport(ctx context.Context, repository pratique.Repository) (http.RoundTripper, error)
}

// Limits bound what one [Session] reads from a registry, in which anybody who may push can store
// anything. A zero field means the default.
type Limits struct {
	// Layers is the maximum number of layers in a manifest: 1000, as in cosign.
	Layers int
	// ManifestBytes is the maximum size of a manifest: 16 MiB.
	ManifestBytes int
	// BlobBytes is the maximum size of one blob: 128 MiB, as in cosign.
	BlobBytes int64
	// TotalBytes is the maximum size of all blobs that are read: 512 MiB.
	TotalBytes int64
}

// OrDefaults sets the fields that are zero.
func (l Limits) OrDefaults() Limits {
	if l.Layers == 0 {
		l.Layers = 1000
	}
	if l.ManifestBytes == 0 {
		l.ManifestBytes = 16 << 20
	}
	if l.BlobBytes == 0 {
		l.BlobBytes = 128 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 512 << 20
	}
	return l
}
