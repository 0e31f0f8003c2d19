package tags

import (
	"encoding/base64"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	cosign "github.com/sigstore/cosign/v2/pkg/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// claim identifies what a layer states: its predicate type, empty for the image signature, and the
// digest of the signed payload.
type claim struct {
	predicateType string
	payload       pratique.Digest
}

// layer is one signature or envelope to attach.
type layer struct {
	claim
	wire.Blob
}

// signatureLayer is the layer of an image signature.
func signatureLayer(s signer.SimpleSignature) layer {
	b := wire.NewBlob(cosign.SimpleSigningMediaType, s.Payload)
	b.Descriptor.Annotations = map[string]string{static.SignatureAnnotationKey: base64.StdEncoding.EncodeToString(s.Signature.Bytes)}
	return layer{claim{payload: pratique.DigestOf(s.Payload)}, b}
}

// envelopeLayer is the layer of an envelope.
func envelopeLayer(e signer.Signed) layer {
	desc := v1.Descriptor{
		MediaType: types.MediaType(cosign.DssePayloadType), Size: int64(len(e.Content())),
		Digest: v1.Hash{Algorithm: "sha256", Hex: e.Digest().Hex()},
		// cosign writes the empty signature, too; some readers look for the name only.
		Annotations: map[string]string{static.SignatureAnnotationKey: "",
			predicateAnnotation: e.PredicateType()},
	}
	return layer{claim{e.PredicateType(), e.Payload()}, wire.Blob{Descriptor: desc, Content: e.Content()}}
}

// tagFormat is the format of the layers under one of the two tags, signatures or attestations. It is
// made for one subject and the identity whose layers are our own.
type tagFormat interface {
	suffix() string
	// mayBeOwn reports, without fetching the layer, whether it may be one of our own that has to be
	// replaced.
	mayBeOwn(desc v1.Descriptor) bool
	// open returns the claim of a layer of our own, and an error for any other layer.
	open(desc v1.Descriptor, content []byte) (claim, error)
}

// signatures is the format of the tag .sig.
type signatures struct {
	subject pratique.Subject
	own     signer.Verifier
	// payload is the signed payload. Everybody who signs the subject with cosign signs the same
	// bytes; the signature is in the annotation.
	payload []byte
	digest  v1.Hash
}

func newSignatures(subject pratique.Subject, own signer.Verifier) (signatures, error) {
	payload, err := signer.ImagePayload(subject)
	if err != nil {
		return signatures{}, err
	}
	return signatures{subject: subject, own: own, payload: payload, digest: wire.HashOf(payload)}, nil
}

func (signatures) suffix() string { return sigSuffix }

func (f signatures) mayBeOwn(desc v1.Descriptor) bool { return desc.Digest == f.digest }

func (f signatures) open(desc v1.Descriptor, content []byte) (claim, error) {
	raw, err := annotatedSignature(desc)
	if err != nil {
		return claim{}, err
	}
	signed := signer.SimpleSignature{Payload: content, Signature: raw}
	if _, err := signer.VerifyImage(f.own, f.subject, signed); err != nil {
		return claim{}, err
	}
	return claim{payload: pratique.DigestOf(content)}, nil
}

// isOwn reports whether the layer is our own signature. The payload is known, so it fetches nothing.
func (f signatures) isOwn(desc v1.Descriptor) bool {
	if !f.mayBeOwn(desc) {
		return false
	}
	_, err := f.open(desc, f.payload)
	return err == nil
}

// annotatedSignature is the signature in the annotation of a layer under .sig.
func annotatedSignature(desc v1.Descriptor) (signer.Signature, error) {
	raw, err := base64.StdEncoding.DecodeString(desc.Annotations[static.SignatureAnnotationKey])
	if err != nil || len(raw) == 0 {
		return signer.Signature{}, pratique.Errorf(pratique.Unverified, "read signature",
			"the layer has none in base64")
	}
	return signer.Signature{Bytes: raw}, nil
}

// attestations is the format of the tag .att.
type attestations struct {
	subject pratique.Subject
	own     signer.Verifier
	limits  Limits
	// types are the predicate types to attach.
	types map[string]bool
}

func (attestations) suffix() string { return attSuffix }

func (f attestations) mayBeOwn(desc v1.Descriptor) bool {
	predicateType := desc.Annotations[predicateAnnotation]
	return f.types[predicateType] && desc.Size <= f.limits.layerBytes(predicateType)
}

func (f attestations) open(desc v1.Descriptor, content []byte) (claim, error) {
	e, err := signer.DecodeEnvelope(content)
	if err != nil {
		return claim{}, err
	}
	st, _, err := openAbout(f.own, f.subject, e)
	if err != nil {
		return claim{}, err
	}
	if annotated := desc.Annotations[predicateAnnotation]; st.PredicateType != annotated {
		return claim{}, pratique.Errorf(pratique.Unverified, "read attestation",
			"the layer is annotated as %.100q, the statement is %.100q", annotated, st.PredicateType)
	}
	return claim{st.PredicateType, pratique.DigestOf(e.Payload)}, nil
}

// openAbout opens an envelope and checks that it is about the subject.
func openAbout(v signer.Verifier, subject pratique.Subject, e pratique.Envelope) (
	pratique.Statement, pratique.Identity, error,
) {
	st, by, err := signer.OpenEnvelope(v, e)
	if err != nil {
		return pratique.Statement{}, nil, err
	}
	if !signer.IsAbout(st, subject.Digest) {
		return pratique.Statement{}, nil, pratique.Errorf(pratique.Unverified, "open envelope",
			"the statement is not about %s", subject)
	}
	return st, by, nil
}
