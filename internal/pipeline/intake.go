package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Intake puts events into the queue of the first stage: those that webhooks and sweeps left in the
// outbox, and submissions.
type Intake struct {
	Recorder
	Batches Batches
	// Dropped stores the bodies of requests of which something was dropped. Only [Intake.Drop] needs
	// it.
	Dropped DocumentWriter
}

// Batches enqueues many messages at once.
type Batches interface {
	// PublishBatch puts messages into a stage's queue in their order, and returns once they are
	// durable. After an error none or some of them may be; the same ids published again are the same
	// messages.
	PublishBatch(ctx context.Context, stage pratique.Stage, all []pratique.Message) error
}

// Publish enqueues the events in their order. When it returns nil they are durable and will be
// evaluated.
func (i *Intake) Publish(ctx context.Context, events []pratique.Event) error {
	all := make([]pratique.Message, len(events))
	for n, e := range events {
		if err := e.Validate(); err != nil {
			return pratique.Wrap(pratique.Invalid, "accept event", "", err)
		}
		body, err := Work{Event: e}.Encode()
		if err != nil {
			return err
		}
		all[n] = pratique.Message{Priority: e.Priority, ID: e.ID, Body: body}
	}
	return i.Batches.PublishBatch(ctx, pratique.StageInspect, all)
}

// Submit is [Intake.Publish] for an event that somebody waits for: it also records the event as
// received, so that its id is known from the start: in the name of the role that receives, whoever
// asks, because the same fact by the same author is one. If recording fails the event is accepted
// all the same, and its next fact makes the id known.
func (i *Intake) Submit(ctx context.Context, e pratique.Event) error {
	if err := i.Publish(ctx, []pratique.Event{e}); err != nil {
		return err
	}
	_ = i.as(pratique.RoleReceive).Record(ctx, Work{Event: e}, pratique.Subject{}, &e)
	return nil
}

// Requeue enqueues the work for an event again, in the name of by, as an event that names the old
// one. Requeuing twice is requeuing once. The new event keeps the time of the push, so that it does
// not overtake later pushes, and asks for no more than the old one did.
func (i *Intake) Requeue(ctx context.Context, old pratique.Event, by string) (pratique.Event, error) {
	e := old
	e.ID = pratique.EventID(old.Source, old.Ref, "requeue "+old.ID)
	e.Requeues, e.RequeuedBy, e.Priority = old.ID, by, pratique.PriorityManual
	return e, i.Submit(ctx, e)
}

// Bounds of [Intake.Drop]: the reasons that a fact names, and the body that is kept beside it.
const (
	maxDropReasons = 20
	maxDropBody    = 256 << 10
)

// Drop records why something that a sender reported was dropped, in one fact for a request, and
// keeps the body: somebody may want to see what was sent, or send it again. Without a reason there
// is nothing to record.
func (i *Intake) Drop(ctx context.Context, receiver string, reasons []string, body []byte) error {
	if len(reasons) == 0 {
		return nil
	}
	named := slices.Clone(reasons[:min(len(reasons), maxDropReasons)])
	if more := len(reasons) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	kept := "no body"
	if len(body) > 0 && len(body) <= maxDropBody {
		digest, err := i.Dropped.Put(ctx, body)
		if err != nil {
			return err
		}
		kept = "body " + digest.String()
	}
	message := strings.Join(append(named, kept), "; ")
	w := Work{Event: pratique.Event{ID: pratique.EventID(receiver, pratique.ImageRef{}, message)}}
	return i.as(pratique.RoleReceive).Record(ctx, w, pratique.Subject{}, &pratique.Failed{
		Stage: string(pratique.RoleReceive), Kind: pratique.Invalid, Message: message, Attempts: 1,
		Final: true,
	})
}
