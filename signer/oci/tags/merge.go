package tags

import (
	"context"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// merged says how the layers of a tag and the wanted ones go together.
type merged struct {
	kept []v1.Descriptor
	// present has for each wanted layer the one in the registry that says the same already, or nil.
	present []*v1.Descriptor
}

// finding is what one layer was found to be. Its content is not kept.
type finding struct {
	lost bool // the registry does not have it any more, or it cannot be read within the limits
	own  bool
	claim
}

// merge says which layers stay. One of our own stays if it says what a wanted layer says, and goes
// if it says something else under the same predicate type.
func (s *session) merge(ctx context.Context, u *update, layers []v1.Descriptor) (merged, error) {
	type key struct {
		wire.Announced
		predicateType, signature string
	}
	findings := map[key]finding{} // somebody may name one layer a thousand times
	m := merged{
		kept:    []v1.Descriptor{}, // in JSON, a manifest without layers has an empty list
		present: make([]*v1.Descriptor, len(u.wanted)),
	}
	for _, desc := range layers {
		if !u.format.candidate(desc) {
			m.kept = append(m.kept, desc)
			continue
		}
		k := key{wire.AnnouncedBy(desc), desc.Annotations[predicateAnnotation],
			desc.Annotations[static.SignatureAnnotationKey]}
		found, known := findings[k]
		if !known {
			var err error
			if found, err = s.find(ctx, u, desc); err != nil {
				return merged{}, err
			}
			findings[k] = found
		}
		switch {
		case found.lost: // it attests nothing, and naming it would have the new manifest refused
			continue
		case !found.own:
			m.kept = append(m.kept, desc)
			continue
		}
		at := slices.IndexFunc(u.wanted, func(l layer) bool { return l.claim == found.claim })
		if at >= 0 && m.present[at] == nil {
			m.present[at] = &desc
			m.kept = append(m.kept, desc)
		}
	}
	return m, nil
}

// find reads a layer.
func (s *session) find(ctx context.Context, u *update, desc v1.Descriptor) (finding, error) {
	content, err := s.wire.Layer(ctx, desc)
	switch pratique.KindOf(err) {
	case pratique.Corrupt:
		return finding{}, nil
	case pratique.NotFound:
		return finding{lost: true}, nil
	case pratique.Exhausted:
		if u.denies {
			s.note("layer %s of %s was left out: %v", desc.Digest, tagOf(s.wire, u.format.suffix()), err)
			return finding{lost: true}, nil
		}
	}
	if err != nil {
		return finding{}, err
	}
	c, err := u.format.open(desc, content)
	if err != nil { // somebody else's
		return finding{}, nil //nolint:nilerr // what does not hold says nothing, and is no failure of ours
	}
	return finding{own: true, claim: c}, nil
}

// readBack finds every wanted layer among those of the registry. Those that were present before
// have been fetched and verified; those that were written have to be there byte for byte, as they
// were verified before.
func (s *session) readBack(ctx context.Context, u *update, present []*v1.Descriptor,
	layers []v1.Descriptor) ([]pratique.Attestation, error) {
	const op = "read back"
	suffix := u.format.suffix()
	out := make([]pratique.Attestation, len(u.wanted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(wire.Concurrency)
	for n, l := range u.wanted {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			want := l.Descriptor
			if present[n] != nil {
				want = *present[n]
			}
			there := slices.ContainsFunc(layers, func(d v1.Descriptor) bool {
				return d.Digest == want.Digest && d.Size == want.Size &&
					maps.Equal(d.Annotations, want.Annotations)
			})
			if there && present[n] == nil {
				switch err := s.wire.Check(ctx, want, true); pratique.KindOf(err) {
				case pratique.Corrupt, pratique.NotFound:
					there = false
				default:
					if err != nil {
						return err
					}
				}
			}
			if !there {
				return s.wire.Errorf(pratique.Conflict, op,
					"%s does not hold what was written; somebody else wrote at the same time", tagOf(s.wire, suffix))
			}
			digest, err := pratique.ParseDigest(want.Digest.String())
			if err != nil {
				return s.wire.Errorf(pratique.Internal, op, "%w", err)
			}
			out[n] = attestationOf(s.wire, suffix, l.predicateType, digest, want.Size, s.own)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
