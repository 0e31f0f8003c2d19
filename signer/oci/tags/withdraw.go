package tags

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
)

// Withdraw implements [oci.Session]. Signatures of others stay. A tag that holds no manifest of
// signatures is emptied: an index there, for example, may lead to our signature, and tools follow
// it.
func (s *session) Withdraw(ctx context.Context) error {
	release, err := s.store.locks.Lock(ctx, s.subject)
	if err != nil {
		return err
	}
	defer release()
	return s.withdraw(ctx)
}

// withdraw is [session.Withdraw], once, with the subject's lock held.
func (s *session) withdraw(ctx context.Context) error {
	if s.withdrawn {
		return nil
	}
	// No layer has to be read, so none that cannot be is in the way.
	format, err := signaturesOf(s.subject, s.verifier)
	if err != nil {
		return err
	}
	tag := tagOf(s.wire, sigSuffix)
	current, err := s.wire.Manifest(ctx, tag)
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(current.Layers), format.isOwn)
	if current.Odd != "" || len(kept) < len(current.Layers) {
		u := &update{format: format, denies: true}
		if err := s.replace(ctx, u, current, merged{kept: kept}); err != nil {
			return err
		}
		if current, err = s.wire.Manifest(ctx, tag); err != nil {
			return err
		}
		if current.Odd != "" || slices.ContainsFunc(current.Layers, format.isOwn) {
			return s.wire.Errorf(pratique.Conflict, "withdraw signature of",
				"%s holds it again: somebody else wrote at the same time", tag)
		}
	}
	s.withdrawn = true
	return nil
}
