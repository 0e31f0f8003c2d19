package pipeline

import (
	"context"
	"errors"

	"github.com/pratique-dev/pratique"
)

// A canceled event is completed where every stage can look without knowing what the ref was resolved to: with no
// subject. Stages look before they begin and before each effect that lasts. What they have done by then stands; only a
// commit that was being written meanwhile makes the event end as deployed after all, since Git says so.

// errCanceled is what a stage stops with when somebody canceled its event.
var errCanceled = errors.New("canceled")

// RoleOperate is the role in facts about what people do to the work of others.
const RoleOperate = "operate"

// Cancel ends the work for an event. By is who asks, the reason may be empty. The subject is what its ref was resolved
// to, zero if that is not known. The caller has looked that the event is not over: if it ends at the same moment, the
// end that comes first in the ledger counts.
func (b *Base) Cancel(ctx context.Context, e pratique.Event, s pratique.Subject, by, reason string) error {
	w := Work{Event: e, Subject: s}
	if s.IsZero() { // nothing may be on record about it
		if err := b.record(ctx, RoleOperate, w, s, pratique.Fact{Body: &e}); err != nil {
			return err
		}
	}
	completed := pratique.Completed{State: pratique.StateCanceled, By: by, Ref: e.Ref, Detail: "canceled by " + by}
	if reason != "" {
		completed.Detail += ": " + reason
	}
	completed.Detail = pratique.Excerpt(completed.Detail, mostText)
	fact := pratique.Fact{Body: &completed}
	if err := b.record(ctx, RoleOperate, w, pratique.Subject{}, fact); err != nil || s.IsZero() {
		return err
	}
	return b.record(ctx, RoleOperate, w, s, fact)
}

// goesOn returns nil unless the event was canceled: then errCanceled, after the subject has its end on record, too.
func (b *Base) goesOn(ctx context.Context, role string, w Work) error {
	f, over, err := b.Ledger.Completed(ctx, pratique.Subject{}, w.Event.ID)
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
	if _, over, err = b.Ledger.Completed(ctx, w.Subject, w.Event.ID); err != nil {
		return err
	}
	if !over {
		if err := b.record(ctx, role, w, w.Subject, pratique.Fact{Body: completed}); err != nil {
			return err
		}
	}
	return errCanceled
}

// unlessCanceled has the queue take a message away whose event was canceled.
func unlessCanceled(err error) error {
	if errors.Is(err, errCanceled) {
		return nil
	}
	return err
}

// Requeue takes the work for an event in anew, because by asks, as an event that names the old one. Doing it twice is
// doing it once. The push keeps its time, so that it does not overtake what was pushed since, and asks for no more than
// it did.
func (i *Intake) Requeue(ctx context.Context, old pratique.Event, by string) (pratique.Event, error) {
	e := old
	e.ID = pratique.EventID(old.Source, old.Ref, "requeue "+old.ID)
	e.Requeues, e.RequeuedBy, e.Priority = old.ID, by, pratique.PriorityManual
	return e, i.Submit(ctx, e)
}
