package pipeline

import (
	"context"
	"errors"

	"github.com/pratique-dev/pratique"
)

// A cancellation is a completed fact of the event without a subject, so that every stage finds it,
// whether the event's ref is resolved or not. Stages look for it before they begin and before each
// lasting effect. What they have done by then stays. If a commit was being written at that moment,
// the event ends as deployed, because that is what Git says.

// errCanceled is the error of a stage whose event was canceled.
var errCanceled = errors.New("canceled")

// Cancel ends the work for an event, in the name of by. The reason may be empty, and the subject is
// zero if the event's ref is not resolved. The caller has checked that the event has not ended. If
// it ends at the same moment, the first end in the ledger counts.
func (r *Recorder) Cancel(ctx context.Context, e pratique.Event, s pratique.Subject, by,
	reason string) error {
	w := Work{Event: e, Subject: s}
	if s.IsZero() { // the ledger may not know the event yet
		if err := r.Record(ctx, w, s, &e); err != nil {
			return err
		}
	}
	completed := pratique.Completed{State: pratique.StateCanceled, By: by, Ref: e.Ref,
		Detail: "canceled by " + by}
	if reason != "" {
		completed.Detail += ": " + reason
	}
	completed.Detail = Excerpt(completed.Detail)
	if err := r.Record(ctx, w, pratique.Subject{}, &completed); err != nil || s.IsZero() {
		return err
	}
	return r.Record(ctx, w, s, &completed)
}

// CheckCanceled returns an error if the event was canceled, after it has recorded the end of the
// subject, too. [IgnoreCanceled] recognizes the error.
func (b *Base) CheckCanceled(ctx context.Context, w Work) error {
	f, over, err := b.Facts.Completed(ctx, pratique.Subject{}, w.Event.ID)
	if err != nil || !over {
		return err
	}
	completed := pratique.As[pratique.Completed](f)
	if completed.State != pratique.StateCanceled {
		return nil
	}
	if w.Subject.IsZero() {
		return errCanceled
	}
	if _, over, err = b.Facts.Completed(ctx, w.Subject, w.Event.ID); err != nil {
		return err
	}
	if !over {
		if err := b.Record(ctx, w, w.Subject, completed); err != nil {
			return err
		}
	}
	return errCanceled
}

// IgnoreCanceled returns nil for the error of a canceled event, so that the queue removes the
// message.
func IgnoreCanceled(err error) error {
	if errors.Is(err, errCanceled) {
		return nil
	}
	return err
}
