package tags

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// Verified implements [oci.Store]. It skips layers that are too large, broken, of another identity
// or about something else. If none is left, the error says how many there are.
func (s *Store) Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier,
	predicateType string) ([]oci.Verified, error) {
	if predicateType == "" {
		return s.verifiedSignatures(ctx, subject, v)
	}
	const op = "read attestations of"
	w, layers, err := s.attached(ctx, subject, attSuffix)
	if err != nil {
		return nil, err
	}
	var out []oci.Verified
	seen := map[wire.LayerKey]bool{}
	for _, desc := range layers {
		if desc.Annotations[predicateAnnotation] != predicateType || seen[wire.KeyOf(desc)] {
			continue
		}
		seen[wire.KeyOf(desc)] = true
		content, err := s.readLayer(ctx, w, desc, predicateType)
		if err != nil {
			return nil, err
		}
		envelope, err := signer.DecodeEnvelope(content)
		if err != nil {
			continue
		}
		st, by, err := openAbout(v, subject, envelope)
		if err != nil || st.PredicateType != predicateType {
			continue
		}
		a := attestationOf(w, attSuffix, predicateType, pratique.DigestOf(content),
			int64(len(content)), by)
		out = append(out, oci.Verified{Statement: st, Attestation: a})
	}
	if len(seen) == 0 {
		return nil, w.Errorf(pratique.NotFound, op, "no attestation of type %s", predicateType)
	}
	if len(out) == 0 {
		return nil, w.Errorf(pratique.Unverified, op, "%d attestations of type %s, none holds", len(seen),
			predicateType)
	}
	return out, nil
}

// verifiedSignatures returns the image signatures that v accepts, once for each signer.
func (s *Store) verifiedSignatures(ctx context.Context, subject pratique.Subject,
	v signer.Verifier) ([]oci.Verified, error) {
	const op = "read signatures of"
	w, layers, err := s.attached(ctx, subject, sigSuffix)
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 {
		return nil, w.Errorf(pratique.NotFound, op, "all were withdrawn")
	}
	// All signatures that cosign makes for an image have the same payload. The signatures are in the
	// annotations.
	signed := map[wire.LayerKey][]signer.Signature{}
	for _, desc := range layers {
		if raw, err := annotatedSignature(desc); err == nil {
			key := wire.KeyOf(desc)
			signed[key] = append(signed[key], raw)
		}
	}
	var out []oci.Verified
	known := map[pratique.Attestation]bool{}
	for _, desc := range layers {
		key := wire.KeyOf(desc)
		if signed[key] == nil {
			continue
		}
		payload, err := s.readLayer(ctx, w, desc, "")
		if err != nil {
			return nil, err
		}
		for _, raw := range signed[key] {
			by, err := signer.VerifyImage(v, subject, signer.SimpleSignature{Payload: payload,
				Signature: raw})
			if err != nil {
				continue
			}
			a := attestationOf(w, sigSuffix, "", pratique.DigestOf(payload), int64(len(payload)), by)
			if !known[a] {
				known[a] = true
				out = append(out, oci.Verified{Attestation: a})
			}
		}
		delete(signed, key)
	}
	if len(out) == 0 {
		return nil, w.Errorf(pratique.Unverified, op, "%d signatures, none holds", len(layers))
	}
	return out, nil
}

// attached reads one of the subject's tags. A missing tag is NotFound. A tag that holds no manifest
// of signatures or attestations is Unverified: attaching again replaces it.
func (s *Store) attached(ctx context.Context, subject pratique.Subject, suffix string) (
	*wire.Session, []v1.Descriptor, error,
) {
	w, err := wire.Open(ctx, s.registry, subject, s.limits.Limits)
	if err != nil {
		return nil, nil, err
	}
	const op = "read what is attached to"
	tag := tagOf(w, suffix)
	found, err := w.Manifest(ctx, tag)
	switch {
	case err != nil:
		return nil, nil, err
	case !found.Exists:
		return nil, nil, w.Errorf(pratique.NotFound, op, "there is no tag %s", tag)
	case found.Unusable != "":
		return nil, nil, w.Errorf(pratique.Unverified, op, "%s holds no attestations: %s", tag,
			found.Unusable)
	}
	return w, found.Layers, nil
}

// readLayer reads a layer. It returns nil if the layer is bad, and an error if it cannot be read
// now.
func (s *Store) readLayer(ctx context.Context, w *wire.Session, desc v1.Descriptor,
	predicateType string) ([]byte, error) {
	if desc.Size > s.limits.layerBytes(predicateType) {
		return nil, nil
	}
	content, err := w.Layer(ctx, desc)
	switch pratique.KindOf(err) {
	case pratique.Corrupt, pratique.NotFound:
		return nil, nil
	default:
		return content, err
	}
}
