package service

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/queue/reconcile"
)

// openReconciler checks what is to be swept.
func (s *Service) openReconciler(ctx context.Context) error {
	c, err := settings.Reconcile(s.conf)
	if err != nil {
		return err
	}
	c.Now, c.Trouble = s.now, s.trouble(ctx, "reconcile")
	c.Attested, c.Restore = s.wasAttested, s.submit
	s.reconciler, err = reconcile.New(c, s.registry, s.outbox, s.outbox)
	return err
}

// wasAttested is when an image was evaluated that was allowed and attested, for a sweep that finds it without attestations.
func (s *Service) wasAttested(subject pratique.Subject) (time.Time, error) {
	r, known, err := adapter.Record(s.index, subject)
	if !known || r.Attested == nil || r.Evaluated == nil || r.Evaluated.Verdict.Outcome != pratique.Allow {
		return time.Time{}, err
	}
	return r.Evaluated.Verdict.EvaluatedAt, err
}
