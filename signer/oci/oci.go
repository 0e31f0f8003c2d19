// Package oci attaches signatures and attestations to images in a registry, and reads them back, in the layout
// of cosign 2: the tag sha256-<hex>.sig with one layer for each signature, and sha256-<hex>.att with one layer
// for each DSSE envelope. policy-controller, Kyverno and cosign 2 and 3 read it for images signed with a key.
//
// The layout has no compare-and-swap: who writes a tag replaces what is there. A [Store] therefore lets one
// writer at a time work on a subject, keeps what others attached, and reads back from the registry before it
// says that something is attached. Writers in other processes have to be kept apart by the queue; if one
// slipped in between, that shows as a Conflict.
package oci

import (
	"context"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/keyed"
)

// Registry says how to talk to the registry of a repository: credentials, transport, plain HTTP.
type Registry interface {
	// RemoteOptions must not contain a Pusher or Puller to reuse: a Pusher remembers blobs that the registry may have
	// forgotten.
	RemoteOptions(ctx context.Context, repository pratique.Repository) ([]remote.Option, []name.Option, error)
	// Transport is logged in for pull and push. It decides where a registry may send us, in redirects and in the
	// addresses of uploads.
	Transport(ctx context.Context, repository pratique.Repository) (http.RoundTripper, error)
}

// Limits bound what is read from a registry, where anybody who may push can put what they like. A zero field means
// the default.
//
// One call reads at most two manifests of ManifestBytes and TotalBytes of layers. Of the layers it holds no more than
// one for each tag at a time, with its decoded form about three times its size, besides what the caller gave it and
// what it returns, which the caller's key signed. A [Store] that reads only summaries and signatures therefore holds
// a few times SummaryBytes, and one that attaches SBOMs a few times EnvelopeBytes if somebody planted such a layer.
type Limits struct {
	// Layers is the greatest number of layers in a .sig or .att manifest: 1000, which is cosign's limit too.
	Layers int
	// ManifestBytes is the greatest size of such a manifest: 16 MiB.
	ManifestBytes int
	// EnvelopeBytes is the greatest size of one envelope: 128 MiB, which is cosign's limit too.
	EnvelopeBytes int64
	// SummaryBytes is the greatest size of a verification summary, and of the payload of an image signature, where
	// it is less than EnvelopeBytes: 4 MiB. Ours have a few KiB.
	SummaryBytes int64
	// TotalBytes is how much one call reads of all layers together: 512 MiB.
	TotalBytes int64
}

func (l Limits) withDefaults() Limits {
	if l.Layers == 0 {
		l.Layers = 1000
	}
	if l.ManifestBytes == 0 {
		l.ManifestBytes = 16 << 20
	}
	if l.EnvelopeBytes == 0 {
		l.EnvelopeBytes = 128 << 20
	}
	if l.SummaryBytes == 0 {
		l.SummaryBytes = 4 << 20
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 512 << 20
	}
	return l
}

// layerBytes is the greatest size of a layer of the predicate type, which is empty for an image signature. A layer
// that is larger is nobody's of use, and is not fetched.
func (l Limits) layerBytes(predicateType string) int64 {
	switch predicateType {
	case "", pratique.PredicateVSA:
		return min(l.SummaryBytes, l.EnvelopeBytes)
	default:
		return l.EnvelopeBytes
	}
}

// Store attaches to and reads from registries. It is safe for concurrent use.
type Store struct {
	registry Registry
	limits   Limits
	locks    keyed.Mutex
}

// NewStore makes a store over the registries that r knows.
func NewStore(r Registry, limits Limits) *Store {
	return &Store{registry: r, limits: limits.withDefaults()}
}
