package pipeline

import (
	"context"
	"errors"

	"github.com/pratique-dev/pratique"
)

// A cancelled event is settled where every stage can look without knowing what the ref was resolved to: with no
// subject. Stages look before they begin and before each effect that lasts. What they have done by then stands; only a
// commit that was being written meanwhile makes the event end as deployed after all, since Git says so.

// errCancelled is what a stage stops with when somebody cancelled its event.
var errCancelled = errors.New("cancelled")

// RoleOperate is the role in facts about what people do to the work of others.
const RoleOperate = "operate"

// Cancel ends the work for an event. By is who asks, the reason may be empty. The subject is what its ref was resolved
// to, zero if that is not known. The caller has looked that the event is not over: if it ends at the same moment, the
// end that comes first in the ledger counts.
func (b *Base) Cancel(ctx context.Context, e pratique.Event, s pratique.Subject, by, reason string) error {
	w := Work{Event: e, Subject: s}
	if s.IsZero() { // nothing may be on record about it
		if err := b.record(ctx, RoleOperate, w, s, pratique.Fact{Kind: pratique.FactReceived, Received: &e}); err != nil {
			return err
		}
	}
	settled := pratique.Settled{State: pratique.StateCancelled, By: by, Ref: e.Ref, Detail: "cancelled by " + by}
	if reason != "" {
		settled.Detail += ": " + reason
	}
	settled.Detail = pratique.Excerpt(settled.Detail, mostText)
	fact := pratique.Fact{Kind: pratique.FactSettled, Settled: &settled}
	if err := b.record(ctx, RoleOperate, w, pratique.Subject{}, fact); err != nil || s.IsZero() {
		return err
	}
	return b.record(ctx, RoleOperate, w, s, fact)
}

// goesOn returns nil unless the event was cancelled: then errCancelled, after the subject has its end on record, too.
func (b *Base) goesOn(ctx context.Context, role string, w Work) error {
	f, over, err := b.Ledger.Settled(ctx, pratique.Subject{}, w.Event.ID)
	if err != nil {
		return err
	}
	if !over || f.Settled.State != pratique.StateCancelled {
		return nil
	}
	if w.Subject.IsZero() {
		return errCancelled
	}
	if _, over, err = b.Ledger.Settled(ctx, w.Subject, w.Event.ID); err != nil {
		return err
	}
	if !over {
		if err := b.record(ctx, role, w, w.Subject, pratique.Fact{Kind: pratique.FactSettled, Settled: f.Settled}); err != nil {
			return err
		}
	}
	return errCancelled
}

// unlessCancelled has the queue take a message away whose event was cancelled.
func unlessCancelled(err error) error {
	if errors.Is(err, errCancelled) {
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
	e.Requeues, e.RequeuedBy, e.Lane = old.ID, by, pratique.LaneManual
	return e, i.Submit(ctx, e)
}
