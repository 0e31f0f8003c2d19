// Package wire talks to the registry of one image on behalf of those who attach something to it: it
// reads manifests and blobs within limits, uploads blobs, and moves tags. It knows no format of
// signatures.
//
// A registry has no compare-and-swap: who writes a tag replaces what is there.
package wire

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
)

// Registry says how to talk to the registry of a repository: credentials, transport, plain HTTP.
type Registry interface {
	// RemoteOptions must not contain a Pusher or Puller to reuse: a Pusher remembers blobs that the
	// registry may have forgotten.
	RemoteOptions(ctx context.Context, repository pratique.Repository) ([]remote.Option, []name.Option, error)
	// Transport is logged in for pull and push. It decides where a registry may send us, in
	// redirects and in the addresses of uploads.
	Transport(ctx context.Context, repository pratique.Repository) (http.RoundTripper, error)
}

// Limits bound what one [Session] reads from a registry, where anybody who may push can put what
// they like. A zero field means the default.
type Limits struct {
	// Layers is the greatest number of layers in a manifest: 1000, which is cosign's limit too.
	Layers int
	// ManifestBytes is the greatest size of a manifest: 16 MiB.
	ManifestBytes int
	// BlobBytes is the greatest size of one blob: 128 MiB, which is cosign's limit too.
	BlobBytes int64
	// TotalBytes is how much is read of all blobs together: 512 MiB.
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
