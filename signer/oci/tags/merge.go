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

// merged is what becomes of the layers of a tag when the wanted layers are added.
type merged struct {
	kept []v1.Descriptor
	// present has for each wanted layer the layer in the registry with the same claim, or nil.
	present []*v1.Descriptor
}

// layerState is what was found out about one layer.
type layerState struct {
	lost bool // the registry does not have it, or it cannot be read within the limits
	own  bool
	claim
}

// merge decides which layers stay. A layer of our own stays if it has the claim of a wanted layer,
// and goes if it has another claim with the same predicate type.
func (s *session) merge(ctx context.Context, u *update, layers []v1.Descriptor) (merged, error) {
	type key struct {
		wire.LayerKey
		predicateType, signature string
	}
	states := map[key]layerState{} // a manifest may name one layer a thousand times
	m := merged{
		kept:    []v1.Descriptor{}, // in JSON, a manifest without layers has an empty list
		present: make([]*v1.Descriptor, len(u.wanted)),
	}
	for _, desc := range layers {
		if !u.format.mayBeOwn(desc) {
			m.kept = append(m.kept, desc)
			continue
		}
		k := key{wire.KeyOf(desc), desc.Annotations[predicateAnnotation],
			desc.Annotations[static.SignatureAnnotationKey]}
		found, known := states[k]
		if !known {
			var err error
			if found, err = s.classify(ctx, u, desc); err != nil {
				return merged{}, err
			}
			states[k] = found
		}
		switch {
		case found.lost: // the registry would refuse a manifest that names it
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

// classify reads a layer and reports whether it is lost or our own.
func (s *session) classify(ctx context.Context, u *update, desc v1.Descriptor) (layerState, error) {
	content, err := s.wire.Layer(ctx, desc)
	switch pratique.KindOf(err) {
	case pratique.Corrupt:
		return layerState{}, nil
	case pratique.NotFound:
		return layerState{lost: true}, nil
	case pratique.Exhausted:
		if u.denies {
			s.addNote("layer %s of %s was left out: %v", desc.Digest,
				tagOf(s.wire, u.format.suffix()), err)
			return layerState{lost: true}, nil
		}
	}
	if err != nil {
		return layerState{}, err
	}
	c, err := u.format.open(desc, content)
	if err != nil {
		return layerState{}, nil //nolint:nilerr // it is somebody else's layer
	}
	return layerState{own: true, claim: c}, nil
}

// readBack finds every wanted layer in the registry. Layers that were present before have been
// fetched and verified. Layers that were written have been verified before, and must be there byte
// for byte.
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
					"%s does not hold what was written; somebody else wrote at the same time",
					tagOf(s.wire, suffix))
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
