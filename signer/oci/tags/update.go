package tags

import (
	"context"
	"encoding/json"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// update is what one of the two tags is to hold.
type update struct {
	format tagFormat
	wanted []layer
	// denies says that the update is part of a denial, so layers of others may be removed if they
	// are in the way.
	denies bool
}

// signatureUpdate checks the signature to attach under .sig.
func (s *session) signatureUpdate(sig signer.SimpleSignature) (*update, error) {
	if _, err := signer.VerifyImage(s.verifier, s.subject, sig); err != nil {
		return nil, err
	}
	if err := s.checkBare(sig.Signature); err != nil {
		return nil, err
	}
	format, err := newSignatures(s.subject, s.verifier)
	if err != nil {
		return nil, err
	}
	wanted := signatureLayer(sig)
	format.payload, format.digest = sig.Payload, wanted.Descriptor.Digest
	s.wire.AddKnown(format.digest, format.payload)
	return &update{format: format, wanted: []layer{wanted}}, nil
}

// attestationUpdate checks the envelopes to attach under .att.
func (s *session) attestationUpdate(envelopes []signer.Signed) (*update, error) {
	wanted := make([]layer, len(envelopes))
	var checks errgroup.Group // concurrently: an SBOM has megabytes, which are hashed
	for i, e := range envelopes {
		checks.Go(func() (err error) {
			wanted[i], err = s.check(e)
			return err
		})
	}
	if err := checks.Wait(); err != nil {
		return nil, err
	}
	predicates := map[string]bool{}
	for _, l := range wanted {
		if predicates[l.predicateType] {
			return nil, pratique.Errorf(pratique.Invalid, opAttach, "%s: two envelopes of type %s",
				s.subject, l.predicateType)
		}
		predicates[l.predicateType] = true
		s.wire.AddKnown(l.Descriptor.Digest, l.Content)
	}
	format := attestations{subject: s.subject, own: s.verifier, limits: s.store.limits, types: predicates}
	return &update{format: format, wanted: wanted}, nil
}

// apply makes a tag hold the wanted layers, and reads it back.
func (s *session) apply(ctx context.Context, u *update) ([]pratique.Attestation, error) {
	tag := tagOf(s.wire, u.format.suffix())
	current, err := s.wire.Manifest(ctx, tag)
	if err != nil {
		return nil, err
	}
	if current.TooLarge && !u.denies {
		return nil, s.wire.Errorf(pratique.Exhausted, "attach to", "%s: %s", tag, current.Unusable)
	}
	m, err := s.merge(ctx, u, current.Layers)
	if err != nil {
		return nil, err
	}
	if slices.Contains(m.present, nil) || len(m.kept) < len(current.Layers) {
		if err := s.replace(ctx, u, current, m); err != nil {
			return nil, err
		}
		if current, err = s.wire.Manifest(ctx, tag); err != nil {
			return nil, err
		}
		if !current.Exists {
			return nil, s.wire.Errorf(pratique.Conflict, "read back", "%s is not there any more", tag)
		}
	}
	return s.readBack(ctx, u, m.present, current.Layers)
}

// replace writes a tag with the layers that stay and those that are missing. Layers of others are
// removed only for a denial: anybody who may push could fill the tag to keep a denial out of it.
func (s *session) replace(ctx context.Context, u *update, current wire.Manifest, m merged) error {
	tag := tagOf(s.wire, u.format.suffix())
	if current.Unusable != "" {
		s.addNote("%s was replaced: %s", tag, current.Unusable)
	}
	var missing []wire.Blob
	var added, own []v1.Descriptor
	for n, l := range u.wanted {
		if present := m.present[n]; present != nil {
			own = append(own, *present)
		} else {
			added, missing = append(added, l.Descriptor), append(missing, l.Blob)
		}
	}
	// A subject field of the old manifest is dropped: with it, we would write a referrers tag of
	// somebody else's choice.
	next := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Layers: slices.Concat([]v1.Descriptor{}, m.kept, added), Annotations: current.Annotations,
	}
	write := func() error {
		config, err := configOf(next.Layers)
		if err != nil {
			return s.wire.Errorf(pratique.Internal, "attach to", "%w", err)
		}
		return s.wire.Write(ctx, tag, next, config, missing, current.Exists)
	}
	limit := s.store.limits.Layers
	err := s.wire.Errorf(pratique.Exhausted, "attach to",
		"%s would have %d layers, the limit is %d", tag, len(next.Layers), limit)
	if len(next.Layers) <= limit {
		err = write()
	}
	if foreign := len(m.kept) - len(own); u.denies && foreign > 0 && refusesContent(err) {
		s.addNote("%d layers of others were left out of %s: %v", foreign, tag, err)
		next.Layers, next.Annotations = slices.Concat([]v1.Descriptor{}, own, added), nil
		err = write()
	}
	return err
}

// refusesContent reports whether the tag may be written with less in it.
func refusesContent(err error) bool {
	switch pratique.KindOf(err) {
	case pratique.Exhausted, pratique.NotFound:
		return true
	case pratique.Invalid:
		return !wire.IsImmutable(err)
	}
	return false
}

// configOf is the image configuration that cosign would write for these layers. They are not
// compressed, so their digests are their diff ids.
func configOf(layers []v1.Descriptor) (wire.Blob, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		config.History = append(config.History, v1.History{})
	}
	raw, err := json.Marshal(config)
	return wire.NewBlob(types.OCIConfigJSON, raw), err
}
