package pipeline

import (
	"context"
	"encoding/json"

	"github.com/pratique-dev/pratique"
)

// Intake takes events in: from webhooks and from submissions.
type Intake struct {
	Base
}

// Publish enqueues the event. When it returns nil the event is durable and will be judged.
func (i *Intake) Publish(ctx context.Context, e pratique.Event) error {
	if err := e.Validate(); err != nil {
		return pratique.Wrap(pratique.Invalid, "accept event", "", err)
	}
	body, err := json.Marshal(Work{Event: e})
	if err != nil {
		return pratique.Wrap(pratique.Internal, "encode work", e.ID, err)
	}
	return i.Queue.Enqueue(ctx, StageInspect, e.Lane, e.ID, body)
}

// Submit is [Intake.Publish] for an event that somebody waits for: it is also recorded as received, so that
// its id is known from the start. A record that fails is no refusal: the event is taken in, and its next fact
// makes the id known.
func (i *Intake) Submit(ctx context.Context, e pratique.Event) error {
	if err := i.Publish(ctx, e); err != nil {
		return err
	}
	_ = i.record(ctx, "receive", Work{Event: e}, pratique.Subject{}, pratique.Fact{Kind: pratique.FactReceived, Received: &e})
	return nil
}
