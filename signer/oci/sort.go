package oci

import (
	"context"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

// says is what one layer was found to say. Its content is not kept.
type says struct {
	lost bool // the registry has it no more, or it cannot be read within the limits
	own  bool // own signed it about the subject; only then the rest is set

	predicateType string
	payload       pratique.Digest
}

// sort says which layers stay, and which of them are items already: found has nil for those that have to be added.
// An own layer stays if it says what an item says, and goes if it says something else under the same predicate type.
func (s *session) sort(ctx context.Context, h half, layers []v1.Descriptor) (kept []v1.Descriptor, found []*v1.Descriptor, err error) {
	type same struct {
		announced
		predicateType, signature string
	}
	read := map[same]says{} // somebody may name one layer a thousand times
	found = make([]*v1.Descriptor, len(h.items))
	kept = []v1.Descriptor{} // in JSON, a manifest without layers has an empty list
	for _, desc := range layers {
		if !h.candidate(desc) {
			kept = append(kept, desc)
			continue
		}
		key := same{announced{desc.Digest, desc.Size}, desc.Annotations[predicateAnnotation], desc.Annotations[static.SignatureAnnotationKey]}
		it, known := read[key]
		if !known {
			if it, err = s.ask(ctx, h, desc); err != nil {
				return nil, nil, err
			}
			read[key] = it
		}
		switch {
		case it.lost: // it attests nothing, and naming it would have the new manifest refused
			continue
		case !it.own:
			kept = append(kept, desc)
			continue
		}
		at := slices.IndexFunc(h.items, func(i item) bool { return i.predicateType == it.predicateType && i.payload == it.payload })
		if at >= 0 && found[at] == nil {
			found[at] = &desc
			kept = append(kept, desc)
		}
	}
	return kept, found, nil
}

// ask reads a layer and returns what it says.
func (s *session) ask(ctx context.Context, h half, desc v1.Descriptor) (says, error) {
	content, err := s.layer(ctx, desc)
	switch pratique.KindOf(err) {
	case pratique.Corrupt:
		return says{}, nil
	case pratique.NotFound:
		return says{lost: true}, nil
	case pratique.Exhausted:
		if h.denies {
			s.note("layer %s of %s was left out: %v", desc.Digest, s.tag(h.suffix), err)
			return says{lost: true}, nil
		}
	}
	if err != nil {
		return says{}, err
	}
	predicateType, payload, err := h.open(desc, content)
	if err != nil { // somebody else's
		return says{}, nil //nolint:nilerr // what does not hold says nothing, and is no failure of ours
	}
	return says{own: true, predicateType: predicateType, payload: payload}, nil
}

// readBack finds every item among the layers of the registry. Those that were found before have been fetched and
// verified; those that were written have to be there byte for byte, as they were verified before.
func (s *session) readBack(ctx context.Context, h half, found []*v1.Descriptor, layers []v1.Descriptor, keyID string) ([]pratique.Attestation, error) {
	const op = "read back"
	out := make([]pratique.Attestation, len(h.items))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	for n, i := range h.items {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			want := i.desc
			if found[n] != nil {
				want = *found[n]
			}
			there := slices.ContainsFunc(layers, func(d v1.Descriptor) bool {
				return d.Digest == want.Digest && d.Size == want.Size && maps.Equal(d.Annotations, want.Annotations)
			})
			if there && found[n] == nil {
				switch err := s.check(ctx, want, true); pratique.KindOf(err) {
				case pratique.Corrupt, pratique.NotFound:
					there = false
				default:
					if err != nil {
						return err
					}
				}
			}
			if !there {
				return s.errorf(pratique.Conflict, op, "%s does not hold what was written; somebody else wrote at the same time", s.tag(h.suffix))
			}
			digest, err := pratique.ParseDigest(want.Digest.String())
			if err != nil {
				return s.errorf(pratique.Internal, op, "%w", err)
			}
			out[n] = pratique.Attestation{
				PredicateType: i.predicateType, Digest: digest, Size: want.Size, Location: s.location(h.suffix), KeyID: keyID,
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
