package reconcile

import (
	"context"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// Beyond these a sweep does not look for missing attestations, to bound its memory.
	maxProofs    = 200_000
	maxUnchanged = 100_000
	// maxRestored bounds the images that a sweep restores, maxFailed those that it fails to
	// restore. The next sweep continues.
	maxRestored = 100
	maxFailed   = 10
	// minEvaluatedFor is how long before the sweep an image must have been evaluated.
	minEvaluatedFor = 10 * time.Minute
)

// proofs are the attestations and images that a sweep of a whole repository finds. Retention rules
// of registries go by tags and ages, and may delete the attestations of an image that stays.
type proofs struct {
	attestations map[pratique.Digest]bool // digests that have a tag of attestations
	images       map[pratique.Digest]string
	overflow     bool
}

// addAttestation adds the image of a tag of attestations.
func (p *proofs) addAttestation(tag string) {
	hex, ok := strings.CutSuffix(strings.TrimPrefix(tag, "sha256-"), ".att")
	if p == nil || !ok {
		return
	}
	digest, err := pratique.ParseDigestHex(hex)
	if err != nil {
		return // not one of ours
	}
	if p.overflow = p.overflow || len(p.attestations) >= maxProofs; !p.overflow {
		p.attestations[digest] = true
	}
}

// addImage adds a known image, with one of its tags.
func (p *proofs) addImage(tag string, digest pratique.Digest) {
	if p == nil {
		return
	}
	if p.overflow = p.overflow || len(p.images) >= maxUnchanged; !p.overflow {
		p.images[digest] = tag
	}
}

// restore has images attested again that were allowed and attested, and whose attestations are
// missing. Errors are reported, and the next sweep tries again.
func (s *sweep) restore(ctx context.Context) {
	r := s.reconciler
	if s.proofs == nil || s.proofs.overflow || r.config.Attested == nil || r.config.Restore == nil {
		return
	}
	restored, failed := 0, 0
	for digest, tag := range s.proofs.images {
		if ctx.Err() != nil || restored == maxRestored || failed == maxFailed {
			return
		}
		if s.proofs.attestations[digest] {
			continue
		}
		ref := pratique.ImageRef{Repository: s.e.Repository.Repository, Tag: tag, Digest: digest}
		attested, err := r.config.Attested(pratique.Subject{Repository: ref.Repository, Digest: digest})
		// An image evaluated just now may have been attested after the list was read.
		if err == nil && !attested.IsZero() && attested.Before(s.e.mark.Started.Add(-minEvaluatedFor)) {
			now := r.config.Now().UTC()
			err = r.config.Restore(ctx, pratique.Event{
				ID: pratique.EventID(s.e.Source, ref, "attestations are gone "+
					s.e.mark.Started.UTC().String()),
				Ref: ref, Source: s.e.Source, Priority: pratique.PriorityManual, RefreshOnly: true,
				ReceivedAt: now,
			})
			if err == nil {
				restored++
				s.count(func(t *pratique.SweepTally) { t.Restored++ })
			}
		}
		if err != nil {
			failed++
			r.config.OnError(pratique.Wrap(pratique.Unknown, "look for attestations", ref.String(), err))
		}
	}
}
