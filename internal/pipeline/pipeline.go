// Package pipeline is the order of the stages: what each one reads, what it leaves behind, and which stage
// comes next. It knows contracts only; adapters are given to it by the composition root.
//
// Every stage is written for redelivery. It first looks in the ledger for the fact that it would record; if
// the fact is there for the same inputs, the work is not repeated. It records its fact before it asks for the
// next stage, and the queue acknowledges only after both. So a process may die between any two lines here,
// and the next delivery resumes.
package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// Ledger is where facts are kept.
type Ledger interface {
	// Append records a fact and returns its position.
	Append(ctx context.Context, f pratique.Fact) (uint64, error)
	// Last returns the newest fact of that kind about the subject, and whether there is one.
	Last(ctx context.Context, s pratique.Subject, kind pratique.FactKind) (pratique.Fact, bool, error)
	// Completed returns how the work for the event ended, and whether it has; Answered, how it ended in one target.
	Completed(ctx context.Context, s pratique.Subject, event string) (pratique.Fact, bool, error)
	Answered(ctx context.Context, s pratique.Subject, event, target string) (pratique.Fact, bool, error)
}

// Documents is where evidence is kept, by digest.
type Documents interface {
	Put(ctx context.Context, content []byte) (pratique.Digest, error)
	Get(ctx context.Context, d pratique.Digest) ([]byte, error)
}

// Queue hands work to the next stage. Publish returns once the work is durable; the same id twice is once.
type Queue interface {
	Publish(ctx context.Context, stage pratique.Stage, priority pratique.Priority, id string, body []byte) error
}

// Base is what all stages share.
type Base struct {
	Ledger    Ledger
	Documents Documents
	Queue     Queue
	Now       func() time.Time
	// Instance names this process in facts, for example a host name.
	Instance string
	// Edge is told each point at which a process could die with something half done; nil outside tests.
	Edge func(point string)
}

func (b *Base) edge(point string) {
	if b.Edge != nil {
		b.Edge(point)
	}
}

// record completes the fact and appends it.
func (b *Base) record(ctx context.Context, role string, w Work, s pratique.Subject, f pratique.Fact) error {
	f.Subject, f.Event = s, w.Event.ID
	f.At, f.By = b.Now().UTC(), role+"@"+b.Instance
	b.edge(role + ":before-" + string(f.Kind()))
	if _, err := b.Ledger.Append(ctx, f); err != nil {
		return err
	}
	b.edge(role + ":after-" + string(f.Kind()))
	return nil
}

// complete records the end of the work for an event, unless it was canceled. What is in Git is deployed all the same.
func (b *Base) complete(ctx context.Context, role string, w Work, state pratique.State, detail string) error {
	return b.completeAs(ctx, role, w, pratique.Completed{State: state, Detail: detail})
}

// completeAs is complete for an end that says more.
func (b *Base) completeAs(ctx context.Context, role string, w Work, completed pratique.Completed) error {
	if completed.State != pratique.StateDeployed {
		if err := b.goesOn(ctx, role, w); err != nil {
			return err
		}
	}
	if w.Unconfirmed != "" {
		completed.Detail = strings.TrimPrefix(completed.Detail+"; "+w.Unconfirmed, "; ")
	}
	completed.Ref, completed.Detail = w.Event.Ref, pratique.Excerpt(completed.Detail, mostText)
	if outcome := completed.State.Outcome(); outcome != "" {
		completed.Outcome, completed.Verdict = outcome, w.Verdict
	}
	return b.record(ctx, role, w, w.Subject, pratique.Fact{Body: &completed})
}

// sendBack has an earlier stage do its part anew, because what it left behind does not serve. Once: the second
// time the cause stands.
func (b *Base) sendBack(ctx context.Context, stage pratique.Stage, w Work, cause error) error {
	if w.Round > 0 {
		return cause
	}
	w.Round++
	return b.pass(ctx, stage, w)
}

// pass hands the work to the next stage. The id makes a redelivered hand-over one message.
func (b *Base) pass(ctx context.Context, stage pratique.Stage, w Work) error {
	body, err := w.encode()
	if err != nil {
		return err
	}
	id := w.Event.ID + "." + string(stage)
	if w.Round > 0 {
		id += "." + strconv.Itoa(w.Round)
	}
	if w.Target != "" {
		id += "." + pratique.DigestOf([]byte(w.Target)).Hex()[:16]
	}
	b.edge(string(stage) + ":before-enqueue")
	if err := b.Queue.Publish(ctx, stage, w.Event.Priority, id, body); err != nil {
		return err
	}
	b.edge(string(stage) + ":after-enqueue")
	return nil
}

// Failed records that a delivery could not find out. After the last one the event is completed as failed. Of the
// others, which may be hundreds in a long outage, it records the first, the second, the fourth, and so on.
func (b *Base) Failed(ctx context.Context, stage string, body []byte, attempt int, cause error, final bool) error {
	return b.failed(ctx, stage, body, attempt, cause, final, func(w Work, detail string) error {
		return b.complete(ctx, stage, w, pratique.StateFailed, detail)
	})
}

// ending ends what could not be worked on. The detail says in which stage, and why.
type ending func(w Work, detail string) error

func (b *Base) failed(ctx context.Context, stage string, body []byte, attempt int, cause error, final bool, end ending) error {
	w, err := DecodeWork(body)
	if err != nil {
		if !final && !pratique.KindOf(err).Permanent() { // another process may understand it
			return nil
		}
		return b.failedUnread(ctx, stage, body, attempt, err)
	}
	if powerOfTwo := attempt&(attempt-1) == 0; !final && !powerOfTwo {
		return nil
	}
	subject, unseen := w.Subject, w.Subject.IsZero()
	if subject.IsZero() && !w.Event.Ref.Digest.IsZero() {
		subject = pratique.Subject{Repository: w.Event.Ref.Repository, Digest: w.Event.Ref.Digest}
	}
	w.Subject = subject
	if err := b.goesOn(ctx, stage, w); err != nil {
		return unlessCanceled(err)
	}
	if final && unseen {
		// Maybe nothing else says what it was about, and then nobody could take it in anew.
		received := pratique.Fact{Body: &w.Event}
		if err := b.record(ctx, roleReceive, w, pratique.Subject{}, received); err != nil {
			return err
		}
	}
	failed := pratique.Failed{
		Stage: stage, Kind: pratique.KindOf(cause), Message: pratique.Excerpt(cause.Error(), mostText), Ref: w.Event.Ref,
		Target: w.Target, Attempts: attempt, Final: final,
	}
	if err := b.record(ctx, stage, w, subject, pratique.Fact{Body: &failed}); err != nil {
		return err
	}
	if !final {
		return nil
	}
	detail := stage + ": " + cause.Error()
	if subject.IsZero() {
		return unlessCanceled(b.complete(ctx, stage, w, pratique.StateFailed, detail))
	}
	return unlessCanceled(end(w, detail))
}

// putJSON stores v as a JSON document.
func (b *Base) putJSON(ctx context.Context, v any) (pratique.Digest, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Internal, "encode document", "", err)
	}
	return b.Documents.Put(ctx, content)
}

// lostDocument is the error about a document that a fact names and that is gone or damaged. Then the fact is
// worth nothing, and its stage has to run anew.
type lostDocument struct{ error }

func (l lostDocument) Unwrap() error { return l.error }

// document returns a document that a fact names.
func (b *Base) document(ctx context.Context, d pratique.Digest) ([]byte, error) {
	content, err := b.Documents.Get(ctx, d)
	if kind := pratique.KindOf(err); kind == pratique.NotFound || kind == pratique.Corrupt {
		return nil, lostDocument{err}
	}
	return content, err
}

func isLost(err error) bool {
	var lost lostDocument
	return errors.As(err, &lost)
}
