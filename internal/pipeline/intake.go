package pipeline

import (
	"context"

	"github.com/pratique-dev/pratique"
)

// roleReceive is the author of received facts. The same fact by the same author is one.
const roleReceive = "receive"

// Intake puts events into the line: those that webhooks and sweeps left in the outbox, and submissions.
type Intake struct {
	Base
	Batches Batches
}

// Batches hands over much work at once.
type Batches interface {
	// PublishBatch puts messages into a stage's queue in their order and returns once they are durable. After an error
	// none or some may be; the same ids again are once.
	PublishBatch(ctx context.Context, stage pratique.Stage, all []pratique.Message) error
}

// Publish enqueues the events in their order. When it returns nil they are durable and will be evaluated.
func (i *Intake) Publish(ctx context.Context, events []pratique.Event) error {
	all := make([]pratique.Message, len(events))
	for n, e := range events {
		if err := e.Validate(); err != nil {
			return pratique.Wrap(pratique.Invalid, "accept event", "", err)
		}
		body, err := Work{Event: e}.encode()
		if err != nil {
			return pratique.Wrap(pratique.Internal, "encode work", e.ID, err)
		}
		all[n] = pratique.Message{Priority: e.Priority, ID: e.ID, Body: body}
	}
	return i.Batches.PublishBatch(ctx, pratique.StageInspect, all)
}

// Submit is [Intake.Publish] for an event that somebody waits for: it is also recorded as received, so that
// its id is known from the start. A record that fails is no refusal: the event is taken in, and its next fact
// makes the id known.
func (i *Intake) Submit(ctx context.Context, e pratique.Event) error {
	if err := i.Publish(ctx, []pratique.Event{e}); err != nil {
		return err
	}
	_ = i.record(ctx, roleReceive, Work{Event: e}, pratique.Subject{}, pratique.Fact{Body: &e})
	return nil
}
