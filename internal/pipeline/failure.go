package pipeline

import (
	"context"

	"github.com/pratique-dev/pratique"
)

// Failure is a delivery that ended with an error.
type Failure struct {
	Stage string
	Body  []byte
	// Attempt counts deliveries from 1. After the final one the event ends.
	Attempt int
	Final   bool
	Cause   error
}

// RecordFailure records a failed delivery, and after the final one that the event failed. A long
// outage may fail hundreds of deliveries, so only the first, the second, the fourth and so on are
// recorded.
func (b *Base) RecordFailure(ctx context.Context, f Failure) error {
	return b.RecordFailureAs(ctx, f, func(w Work, detail string) error {
		return b.Complete(ctx, w, pratique.StateFailed, detail)
	})
}

// RecordFailureAs is RecordFailure for a stage that ends an event in its own way. The detail names
// the stage and the cause.
func (b *Base) RecordFailureAs(ctx context.Context, f Failure,
	end func(w Work, detail string) error) error {
	w, err := DecodeWork(f.Body)
	if err != nil {
		if !f.Final && !pratique.KindOf(err).Permanent() { // another process may understand it
			return nil
		}
		f.Cause = err
		return b.failUnreadable(ctx, f)
	}
	if powerOfTwo := f.Attempt&(f.Attempt-1) == 0; !f.Final && !powerOfTwo {
		return nil
	}
	unresolved := w.Subject.IsZero()
	if unresolved && !w.Event.Ref.Digest.IsZero() {
		w.Subject = pratique.Subject{Repository: w.Event.Ref.Repository, Digest: w.Event.Ref.Digest}
	}
	if err := b.CheckCanceled(ctx, w); err != nil {
		return IgnoreCanceled(err)
	}
	if f.Final && unresolved && b.Role == pratique.RoleInspect {
		// Without this fact the ledger might not say what the event was about, and it could not be
		// requeued. The roles behind it get no such work, and may not record it.
		if err := b.as(pratique.RoleReceive).Record(ctx, w, pratique.Subject{}, &w.Event); err != nil {
			return err
		}
	}
	failed := pratique.Failed{
		Stage: f.Stage, Kind: pratique.KindOf(f.Cause), Message: Excerpt(f.Cause.Error()),
		Ref:    w.Event.Ref,
		Target: w.Target, Attempts: f.Attempt, Final: f.Final,
	}
	if err := b.Record(ctx, w, w.Subject, &failed); err != nil {
		return err
	}
	if !f.Final {
		return nil
	}
	detail := f.Stage + ": " + f.Cause.Error()
	if w.Subject.IsZero() {
		return IgnoreCanceled(b.Complete(ctx, w, pratique.StateFailed, detail))
	}
	return IgnoreCanceled(end(w, detail))
}
