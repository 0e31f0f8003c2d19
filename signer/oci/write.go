package oci

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
)

// attach brings one tag to hold the half's items, and reads it back.
func (s *session) attach(ctx context.Context, h half, keyID string) ([]pratique.Attestation, error) {
	current, err := s.read(ctx, h.suffix)
	if err != nil {
		return nil, err
	}
	if current.over && !h.denies {
		return nil, s.errorf(pratique.Exhausted, "attach to", "%s: %s", s.tag(h.suffix), current.odd)
	}
	kept, found, err := s.sort(ctx, h, current.layers)
	if err != nil {
		return nil, err
	}
	if slices.Contains(found, nil) || len(kept) < len(current.layers) {
		if err := s.replace(ctx, h, current, kept, found); err != nil {
			return nil, err
		}
		if current, err = s.read(ctx, h.suffix); err != nil {
			return nil, err
		}
		if !current.there {
			return nil, s.errorf(pratique.Conflict, "read back", "%s is not there any more", s.tag(h.suffix))
		}
	}
	return s.readBack(ctx, h, found, current.layers, keyID)
}

// replace writes a tag with the layers that are kept and the items that are missing. What others attached is in
// nobody's way but a denial's: who may push could fill the tag, and keep the denial out of it.
func (s *session) replace(ctx context.Context, h half, current tagged, kept []v1.Descriptor, found []*v1.Descriptor) error {
	if current.odd != "" {
		s.note("%s was replaced: %s", s.tag(h.suffix), current.odd)
	}
	var missing []item
	var added, own []v1.Descriptor
	for n, i := range h.items {
		if found[n] == nil {
			added, missing = append(added, i.desc), append(missing, i)
			continue
		}
		own = append(own, *found[n])
	}
	// A subject in the old manifest is not kept: it would have us write a referrers tag of its choice.
	next := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: slices.Concat([]v1.Descriptor{}, kept, added), Annotations: current.annotations,
	}
	err := s.errorf(pratique.Exhausted, "attach to", "%s would have %d layers, the limit is %d", s.tag(h.suffix), len(next.Layers), s.limits.Layers)
	if len(next.Layers) <= s.limits.Layers {
		err = s.write(ctx, h.suffix, next, missing, current.there)
	}
	if foreign := len(kept) - len(own); h.denies && foreign > 0 && refusesContent(err) {
		s.note("%d layers of others were left out of %s: %v", foreign, s.tag(h.suffix), err)
		next.Layers, next.Annotations = slices.Concat([]v1.Descriptor{}, own, added), nil
		err = s.write(ctx, h.suffix, next, missing, current.there)
	}
	return err
}

// refusesContent says whether the same tag may be written with less in it.
func refusesContent(err error) bool {
	switch pratique.KindOf(err) {
	case pratique.Exhausted, pratique.NotFound:
		return true
	case pratique.Invalid:
		return !isImmutable(err)
	}
	return false
}
