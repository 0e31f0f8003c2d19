package tags

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

const opAttach = "attach attestations to"

// session implements [oci.Session].
type session struct {
	store    *Store
	wire     *wire.Session
	subject  pratique.Subject
	own      pratique.Identity
	verifier signer.Verifier // of the own identity only

	mu        sync.Mutex
	checked   map[pratique.Digest]layer // by the digest of the envelope
	notes     []string
	withdrawn bool // the signature is withdrawn, as read back
}

// Upload implements [oci.Session].
func (s *session) Upload(ctx context.Context, e signer.Signed) error {
	l, err := s.check(e)
	if err != nil {
		return err
	}
	return s.wire.Upload(ctx, l.Blob)
}

// Attach implements [oci.Session].
func (s *session) Attach(ctx context.Context, signature signer.SimpleSignature,
	envelopes []signer.Signed) ([]pratique.Attestation, error) {
	denies := signature.IsZero()
	var updates []*update
	if !denies {
		u, err := s.signatureUpdate(signature)
		if err != nil {
			return nil, err
		}
		updates = append(updates, u)
	}
	if len(envelopes) > 0 {
		u, err := s.attestationUpdate(envelopes)
		if err != nil {
			return nil, err
		}
		u.denies = denies
		updates = append(updates, u)
	}
	release, err := s.store.locks.Lock(ctx, s.subject)
	if err != nil {
		return nil, err
	}
	defer release()
	var withdrawErr error
	if denies {
		withdrawErr = s.withdraw(ctx)
	}
	results := make([][]pratique.Attestation, len(updates))
	g, ctx := errgroup.WithContext(ctx)
	for i, u := range updates {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, opAttach, &err)
			results[i], err = s.apply(ctx, u)
			return err
		})
	}
	if err := g.Wait(); err != nil || withdrawErr != nil {
		return nil, errors.Join(withdrawErr, err)
	}
	return slices.Concat(results...), nil
}

// Notes implements [oci.Session].
func (s *session) Notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

// addNote notes what was removed of others, for people who look for it.
func (s *session) addNote(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// check verifies an envelope once, and returns its layer.
func (s *session) check(e signer.Signed) (layer, error) {
	s.mu.Lock()
	checked, ok := s.checked[e.Digest()]
	s.mu.Unlock()
	if ok {
		return checked, nil
	}
	if err := e.Check(s.verifier, s.subject.Digest); err != nil {
		return layer{}, err
	}
	if err := s.checkBare(e.Signature()); err != nil {
		return layer{}, err
	}
	if limit := s.store.limits.layerBytes(e.PredicateType()); int64(len(e.Content())) > limit {
		return layer{}, &pratique.Error{Op: opAttach, Subject: s.subject.String(),
			Kind: pratique.Exhausted,
			Err: pratique.Errorf(pratique.Exhausted, "envelope of type "+e.PredicateType(),
				"%d bytes, the limit is %d", len(e.Content()), limit)}
	}
	checked = envelopeLayer(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked[e.Digest()] = checked
	return checked, nil
}

// checkBare refuses signatures with a certificate, a bundle or a timestamp. cosign stores those in
// annotations of their own, which are neither written nor read here yet.
func (s *session) checkBare(sig signer.Signature) error {
	if !sig.IsBare() {
		return s.wire.Errorf(pratique.Invalid, opAttach,
			"only signatures by a key are attached as tags; this one has a certificate, a bundle or a timestamp")
	}
	return nil
}
