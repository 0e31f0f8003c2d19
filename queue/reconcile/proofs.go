package reconcile

import (
	"context"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// Beyond these a sweep does not look for proofs that are gone: it would have to keep too much.
	maxProofs    = 200_000
	maxUnchanged = 100_000
	// maxRestored is how many images a sweep has attested again, maxFailed of how many it tells that they could not be;
	// the next one goes on.
	maxRestored = 100
	maxFailed   = 10
	// settling is how long before the sweep an image has to be evaluated.
	settling = 10 * time.Minute
)

// proofs are what a sweep that lists a whole repository sees of signatures and of images. Registries are cleaned up by
// rules that know tags and ages, and not what belongs together: then an image stays and its attestations go.
type proofs struct {
	attestations map[pratique.Digest]bool // digests that have a tag of attestations
	images       map[pratique.Digest]string
	overflow     bool
}

// sees notes a tag of attestations.
func (p *proofs) sees(tag string) {
	hex, ok := strings.CutSuffix(strings.TrimPrefix(tag, "sha256-"), ".att")
	if p == nil || !ok {
		return
	}
	digest, err := pratique.ParseDigestHex(hex)
	if err != nil {
		return // it looks like one, and is none of ours
	}
	if p.overflow = p.overflow || len(p.attestations) >= maxProofs; !p.overflow {
		p.attestations[digest] = true
	}
}

// names notes an image that is known, and one of its tags.
func (p *proofs) names(tag string, digest pratique.Digest) {
	if p == nil {
		return
	}
	if p.overflow = p.overflow || len(p.images) >= maxUnchanged; !p.overflow {
		p.images[digest] = tag
	}
}

// restore has images attested again whose attestations are gone although they were allowed and attested. Whatever goes
// wrong with one is told, and left to the next sweep.
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
		// What was evaluated a moment ago may have been attested after the list was read.
		if err == nil && !attested.IsZero() && attested.Before(s.e.mark.Started.Add(-settling)) {
			now := r.config.Now().UTC()
			err = r.config.Restore(ctx, pratique.Event{
				ID:  pratique.EventID(s.e.Source, ref, "attestations are gone "+s.e.mark.Started.UTC().String()),
				Ref: ref, Source: s.e.Source, Priority: pratique.PriorityManual, RefreshOnly: true, ReceivedAt: now,
			})
			if err == nil {
				restored++
				s.count(func(t *Tally) { t.Restored++ })
			}
		}
		if err != nil {
			failed++
			r.config.OnError(pratique.Wrap(pratique.Unknown, "look for attestations", ref.String(), err))
		}
	}
}
