package oci

import (
	"context"
	"encoding/base64"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/oci/static"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Verified is an attestation whose signature and subject were checked.
type Verified struct {
	Statement   pratique.Statement
	Envelope    pratique.Envelope
	Attestation pratique.Attestation
}

// Verified returns the attestations of a predicate type that v's key signed about the subject, in the order of
// the registry. Layers that are too large, broken, of another key or about something else are passed over, as
// anybody who may push can put them there. No attestation of the type at all is NotFound; some, but none that
// holds, is Unverified, and says how many. The type is taken from what was signed, never from the annotation.
func (s *Store) Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier, predicateType string) ([]Verified, error) {
	const op = "read attestations of"
	ses, layers, err := s.attached(ctx, subject, attSuffix)
	if err != nil {
		return nil, err
	}
	var out []Verified
	seen := map[announced]bool{}
	for _, desc := range layers {
		if desc.Annotations[predicateAnnotation] != predicateType || seen[announced{desc.Digest, desc.Size}] {
			continue
		}
		seen[announced{desc.Digest, desc.Size}] = true
		content, err := ses.usable(ctx, desc, predicateType)
		if err != nil {
			return nil, err
		}
		envelope, err := signer.DecodeEnvelope(content)
		if err != nil {
			continue
		}
		st, err := openAbout(v, subject, envelope)
		if err != nil || st.PredicateType != predicateType {
			continue
		}
		out = append(out, Verified{Statement: st, Envelope: envelope, Attestation: pratique.Attestation{
			PredicateType: st.PredicateType, Digest: pratique.DigestOf(content), Size: int64(len(content)),
			Location: ses.location(attSuffix), KeyID: v.KeyID(),
		}})
	}
	if len(seen) == 0 {
		return nil, ses.errorf(pratique.NotFound, op, "no attestation of type %s", predicateType)
	}
	if len(out) == 0 {
		return nil, ses.errorf(pratique.Unverified, op, "%d attestations of type %s, none holds with key %s", len(seen), predicateType, v.KeyID())
	}
	return out, nil
}

// VerifiedSignature returns the image signature by v's key. No signature at all is NotFound; some, but none by
// this key about this subject, is Unverified.
func (s *Store) VerifiedSignature(ctx context.Context, subject pratique.Subject, v signer.Verifier) (pratique.Attestation, error) {
	const op = "read signatures of"
	ses, layers, err := s.attached(ctx, subject, sigSuffix)
	if err != nil {
		return pratique.Attestation{}, err
	}
	// All signatures of this image that cosign made have one payload; the signatures are in the annotations.
	signatures := map[announced][][]byte{}
	for _, desc := range layers {
		raw, err := base64.StdEncoding.DecodeString(desc.Annotations[static.SignatureAnnotationKey])
		if key := (announced{desc.Digest, desc.Size}); err == nil && len(raw) > 0 {
			signatures[key] = append(signatures[key], raw)
		}
	}
	for _, desc := range layers {
		key := announced{desc.Digest, desc.Size}
		if signatures[key] == nil {
			continue
		}
		payload, err := ses.usable(ctx, desc, "")
		if err != nil {
			return pratique.Attestation{}, err
		}
		for _, raw := range signatures[key] {
			if signer.VerifyImage(v, subject, signer.SimpleSignature{Payload: payload, Signature: raw}) == nil {
				return pratique.Attestation{
					Digest: pratique.DigestOf(payload), Size: int64(len(payload)), Location: ses.location(sigSuffix), KeyID: v.KeyID(),
				}, nil
			}
		}
		delete(signatures, key)
	}
	return pratique.Attestation{}, ses.errorf(pratique.Unverified, op, "%d signatures, none holds with key %s", len(layers), v.KeyID())
}

// attached reads one of the subject's tags. A tag that is not there is NotFound, one that is no manifest of signatures
// or attestations Unverified: attaching again replaces it.
func (s *Store) attached(ctx context.Context, subject pratique.Subject, suffix string) (*session, []v1.Descriptor, error) {
	ses, err := s.open(ctx, subject)
	if err != nil {
		return nil, nil, err
	}
	const op = "read what is attached to"
	found, err := ses.read(ctx, suffix)
	switch {
	case err != nil:
		return nil, nil, err
	case !found.there:
		return nil, nil, ses.errorf(pratique.NotFound, op, "there is no tag %s", ses.tag(suffix))
	case found.odd != "":
		return nil, nil, ses.errorf(pratique.Unverified, op, "%s holds nothing of ours: %s", ses.tag(suffix), found.odd)
	}
	return ses, found.layers, nil
}

// usable reads a layer, or nothing if the layer itself is bad; an error means that it could not be found out.
func (s *session) usable(ctx context.Context, desc v1.Descriptor, predicateType string) ([]byte, error) {
	if desc.Size > s.limits.layerBytes(predicateType) {
		return nil, nil
	}
	content, err := s.layer(ctx, desc)
	switch pratique.KindOf(err) {
	case pratique.Corrupt, pratique.NotFound:
		return nil, nil
	default:
		return content, err
	}
}
