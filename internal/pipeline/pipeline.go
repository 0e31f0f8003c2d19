// Package pipeline has what the stages share: the work that travels between them, how they record
// facts and hand work on, and how work fails, is canceled and ends. Each stage is a package below
// this one. All of them know contracts only; the composition root gives them their adapters.
//
// Every stage expects redelivery. It first looks in the ledger for the fact that it would record.
// If the fact is there for the same inputs, the work is not repeated. A stage records its fact
// before it enqueues the next stage, and the queue acknowledges only after both. So a process may
// die between any two lines, and the next delivery resumes.
package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Appender records facts.
type Appender interface {
	// Append records a fact and returns its position in the ledger.
	Append(ctx context.Context, f pratique.Fact) (uint64, error)
}

// Facts finds facts in the ledger.
type Facts interface {
	// Last returns the newest fact of a kind about the subject, and whether there is one.
	Last(ctx context.Context, s pratique.Subject, kind pratique.FactKind) (pratique.Fact, bool, error)
	// Completed returns how the work for the event ended, and whether it has.
	Completed(ctx context.Context, s pratique.Subject, event string) (pratique.Fact, bool, error)
}

// Queue holds the work of the stages. Publish returns once the work is durable. The same id
// published twice is one message.
type Queue interface {
	Publish(ctx context.Context, stage pratique.Stage, priority pratique.Priority, id string,
		body []byte) error
}

// Matcher matches package lists against a database, in processes of its own. It returns a report
// for each list, in their order.
type Matcher interface {
	Match(ctx context.Context, lists []pratique.Inventory,
		db scanner.DatabaseDir) ([]pratique.Report, error)
}

// Process is this process, as facts and tests see it.
type Process struct {
	Now func() time.Time
	// Instance names the process in facts, for example by its host name.
	Instance string
	// Edge, if set, is called at each point at which a process could die with something half done.
	Edge func(point string)
}

// AtEdge calls Edge.
func (p *Process) AtEdge(point string) {
	if p.Edge != nil {
		p.Edge(point)
	}
}

// By is the author of a role's facts.
func (p *Process) By(role pratique.Role) string { return string(role) + "@" + p.Instance }

// Recorder records facts in the name of a role of a process.
type Recorder struct {
	Process
	Role pratique.Role
	// Ledger takes the kinds of facts that the role may record.
	Ledger Appender
}

// as returns a recorder in the name of another role, with the rights that this one has.
func (r Recorder) as(role pratique.Role) *Recorder {
	r.Role = role
	return &r
}

// Record appends a fact about the subject.
func (r *Recorder) Record(ctx context.Context, w Work, s pratique.Subject,
	body pratique.Body) error {
	f := pratique.Fact{Subject: s, Event: w.Event.ID, At: r.Now().UTC(), By: r.By(r.Role), Body: body}
	r.AtEdge(string(r.Role) + ":before-" + string(f.Kind()))
	if _, err := r.Ledger.Append(ctx, f); err != nil {
		return err
	}
	r.AtEdge(string(r.Role) + ":after-" + string(f.Kind()))
	return nil
}

// Base is what the stages with a queue share.
type Base struct {
	Recorder
	Facts Facts
	Queue Queue
	// Unreadable stores messages that cannot be read.
	Unreadable DocumentWriter
}

// Begin decodes the message of a stage behind the resolution of its subject. Ended says that the
// event has ended, and the message was redelivered.
func (b *Base) Begin(ctx context.Context, body []byte) (w Work, ended bool, err error) {
	if w, err = DecodeWork(body); err != nil {
		return w, false, err
	}
	if w.Subject.IsZero() {
		return w, false, pratique.Errorf(pratique.Invalid, string(b.Role)+" "+w.Event.Ref.String(),
			"the message has no subject")
	}
	if err := b.CheckCanceled(ctx, w); err != nil {
		return w, false, err
	}
	_, ended, err = b.Facts.Completed(ctx, w.Subject, w.Event.ID)
	return w, ended, err
}

// Complete records the end of the work for an event. If the event was canceled it records nothing
// and returns an error, unless the state is deployed: what is in Git is deployed all the same.
func (b *Base) Complete(ctx context.Context, w Work, state pratique.State, detail string) error {
	return b.CompleteAs(ctx, w, pratique.Completed{State: state, Detail: detail})
}

// CompleteAs is Complete for an end with more than a state and a detail.
func (b *Base) CompleteAs(ctx context.Context, w Work, completed pratique.Completed) error {
	if completed.State != pratique.StateDeployed {
		if err := b.CheckCanceled(ctx, w); err != nil {
			return err
		}
	}
	if w.Unconfirmed != "" {
		completed.Detail = strings.TrimPrefix(completed.Detail+"; "+w.Unconfirmed, "; ")
	}
	completed.Ref, completed.Detail = w.Event.Ref, Excerpt(completed.Detail)
	if outcome := completed.State.Outcome(); outcome != "" {
		completed.Outcome, completed.Verdict = outcome, w.Verdict
	}
	return b.Record(ctx, w, w.Subject, &completed)
}

// Restart sends the work back to an earlier stage, whose results cannot be used. It does so once
// for each event; the second time it returns the cause.
func (b *Base) Restart(ctx context.Context, stage pratique.Stage, w Work, cause error) error {
	if w.Round > 0 {
		return cause
	}
	w.Round++
	return b.Enqueue(ctx, stage, w)
}

// Enqueue hands the work to a stage. The id of the message depends on the work alone, so work that
// is handed over again after a redelivery is still one message.
func (b *Base) Enqueue(ctx context.Context, stage pratique.Stage, w Work) error {
	body, err := w.Encode()
	if err != nil {
		return err
	}
	id := w.Event.ID + "." + string(stage)
	if w.Round > 0 {
		id += "." + strconv.Itoa(w.Round)
	}
	if w.Target != "" {
		// The targets may differ after a redelivery, if they were configured anew in between. Then
		// those of the first delivery wait for answers that nobody gives.
		id += "." + pratique.DigestOf(fmt.Appendf(nil, "%q %q", w.Target, w.Targets)).Hex()[:16]
	}
	b.AtEdge(string(stage) + ":before-enqueue")
	if err := b.Queue.Publish(ctx, stage, w.Event.Priority, id, body); err != nil {
		return err
	}
	b.AtEdge(string(stage) + ":after-enqueue")
	return nil
}
