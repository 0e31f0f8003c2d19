package tags

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Withdraw implements [oci.Session]. Signatures of others stay. A tag that holds no manifest of
// signatures is emptied, because an index, for example, may lead tools to our signature.
func (s *session) Withdraw(ctx context.Context) error {
	release, err := s.store.locks.Lock(ctx, s.subject)
	if err != nil {
		return err
	}
	defer release()
	return s.withdraw(ctx)
}

// withdraw withdraws the signature once. The caller holds the lock of the subject.
func (s *session) withdraw(ctx context.Context) error {
	if s.withdrawn {
		return nil
	}
	// It reads no layers, so a layer that cannot be read is no obstacle.
	format, err := newSignatures(s.subject, s.verifier)
	if err != nil {
		return err
	}
	tag := tagOf(s.wire, sigSuffix)
	current, err := s.wire.Manifest(ctx, tag)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(current.Layers), format.isOwn)
	if current.Unusable != "" || len(kept) < len(current.Layers) {
		u := &update{format: format, denies: true}
		if err := s.replace(ctx, u, current, merged{kept: kept}); err != nil {
			return err
		}
		if current, err = s.wire.Manifest(ctx, tag); err != nil {
			return err
		}
		if current.Unusable != "" || slices.ContainsFunc(current.Layers, format.isOwn) {
			return s.wire.Errorf(pratique.Conflict, "withdraw signature of",
				"%s holds it again: somebody else wrote at the same time", tag)
		}
	}
	s.withdrawn = true
	return nil
}
