// Package tags attaches signatures and attestations to images in a registry, and reads them back, in
// the layout of cosign 2: the tag sha256-<hex>.sig with one layer for each signature, and
// sha256-<hex>.att with one layer for each DSSE envelope. policy-controller, Kyverno and cosign 2
// and 3 read this layout for images signed with a key.
//
// The layout has no compare-and-swap: a writer of a tag replaces what it holds. A [Store] therefore
// lets one writer at a time work on a subject, keeps what others attached, and reads back before it
// reports something as attached. The queue has to keep writers in other processes apart. If one
// wrote in between, the error is Conflict.
package tags

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
	cosign "github.com/sigstore/cosign/v2/pkg/oci/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// The endings of cosign's tags.
const (
	sigSuffix = cosign.SignatureTagSuffix
	attSuffix = cosign.AttestationTagSuffix
)

// predicateAnnotation is the annotation in which cosign stores the predicate type of an attestation.
// It is not signed.
const predicateAnnotation = "predicateType"

// Limits bound what is read from a registry. A zero field means the default.
//
// One call reads at most two manifests of ManifestBytes, and TotalBytes of layers. It holds at most
// one layer for each tag at a time, with its decoded form about three times its size, besides its
// arguments and results. A [Store] that reads only summaries and signatures therefore holds a few
// times SummaryBytes. One that attaches SBOMs holds a few times BlobBytes if somebody planted such a
// layer.
type Limits struct {
	wire.Limits
	// SummaryBytes is the maximum size of a verification summary, and of the payload of an image
	// signature, if that is less than BlobBytes: 4 MiB. Ours have a few KiB.
	SummaryBytes int64
}

func (l Limits) orDefaults() Limits {
	l.Limits = l.OrDefaults()
	if l.SummaryBytes == 0 {
		l.SummaryBytes = 4 << 20
	}
	return l
}

// layerBytes is the maximum size of a layer of the predicate type, which is empty for an image
// signature. A larger layer is not fetched.
func (l Limits) layerBytes(predicateType string) int64 {
	switch predicateType {
	case "", pratique.PredicateVSA:
		return min(l.SummaryBytes, l.BlobBytes)
	default:
		return l.BlobBytes
	}
}

// Store attaches to and reads from registries. It is safe for concurrent use.
type Store struct {
	registry wire.Registry
	limits   Limits
	locks    keyed.Mutex[pratique.Subject]
}

var _ oci.Store = (*Store)(nil)

// NewStore returns a store over the registries that r knows.
func NewStore(r wire.Registry, limits Limits) *Store {
	return &Store{registry: r, limits: limits.orDefaults()}
}

// Open implements [oci.Store].
func (s *Store) Open(ctx context.Context, subject pratique.Subject, v signer.Verifier,
	own pratique.Identity) (oci.Session, error) {
	w, err := wire.Open(ctx, s.registry, subject, s.limits.Limits)
	if err != nil {
		return nil, err
	}
	return &session{
		store: s, wire: w, subject: subject, own: own, verifier: signer.Only(v, own),
		checked: map[pratique.Digest]layer{},
	}, nil
}

// tagOf is one of the two tags of the session's subject.
func tagOf(w *wire.Session, suffix string) name.Tag {
	return w.Repository().Tag("sha256-" + w.Subject().Digest.Hex() + "." + suffix)
}

// attestationOf describes a layer under one of the two tags.
func attestationOf(
	w *wire.Session, suffix, predicateType string, digest pratique.Digest, size int64,
	by pratique.Identity,
) pratique.Attestation {
	return pratique.Attestation{
		PredicateType: predicateType, Digest: digest, Size: size, Signer: by,
		Format:   pratique.FormatCosignTags,
		Location: w.Subject().Repository.String() + ":" + tagOf(w, suffix).TagStr(),
	}
}
