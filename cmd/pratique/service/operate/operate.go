// Package operate lists, cancels and requeues work for the API.
package operate

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/queue/outbox"
)

// Operator fits the queues and the intake to the API. Recorder records cancellations, Refused are
// the events that the queue will never take, Paused says how long a registry is paused.
type Operator struct {
	Broker   *queue.Broker
	Intake   *pipeline.Intake
	Recorder pipeline.Recorder
	Refused  func() ([]outbox.Refused, error)
	Paused   func(pratique.Repository) time.Duration
}

// maxLooked bounds the jobs that are looked at for one answer: each costs a request to NATS, and
// an outage may leave hundreds of thousands. findTime bounds the search for one of them.
const (
	maxLooked = 10_000
	findTime  = 20 * time.Second
)

// Jobs implements [api.Operator].
func (o Operator) Jobs(ctx context.Context, state string, limit int) (queued []api.Job, more bool,
	refused []api.Job, err error) {
	if state == api.JobRefused {
		refused, more, err = o.refusals(limit)
		return nil, more, refused, err
	}
	all, looked := o.Broker.Jobs(ctx), 0
	if state == api.JobRunning {
		all = o.Broker.Running()
	}
	for q, err := range all {
		if err != nil {
			return nil, false, nil, err
		}
		if looked++; len(queued) == limit || looked > maxLooked {
			more = true
			break
		}
		if state != "" && state != stateOf(q) {
			continue
		}
		attempts, err := o.Broker.Attempts(ctx, q)
		if err != nil {
			return nil, false, nil, err
		}
		j := api.Job{Event: q.ID, State: stateOf(q), Stage: string(q.Stage), Priority: q.Priority,
			Attempts: attempts, Since: q.EnqueuedAt, NextAttempt: q.Due}
		// what is no work of ours is listed by the id of its message
		if w, err := pipeline.DecodeWork(q.Job.Body); err == nil {
			j.Event, j.Ref, j.Target = w.Event.ID, w.Event.Ref.String(), w.Target
			if wait := o.Paused(w.Event.Ref.Repository); wait > 0 && !q.Running {
				j.Reason = "the registry is paused for another " + wait.Round(time.Second).String()
			}
		}
		queued = append(queued, j)
	}
	if state == "" {
		var others bool
		refused, others, err = o.refusals(limit)
		more = more || others
	}
	return queued, more, refused, err
}

// NextAttempt returns when the work for an event comes back to a stage, zero if that is not known.
func (o Operator) NextAttempt(stage, event string) time.Time {
	next, _ := o.Broker.Due(pratique.Stage(stage), func(job queue.Job) bool {
		w, err := pipeline.DecodeWork(job.Body)
		return err == nil && w.Event.ID == event
	})
	return next
}

func stateOf(q queue.Queued) string {
	if q.Running {
		return api.JobRunning
	}
	return api.JobWaiting
}

// refusals are the last of those that the queue will never take.
func (o Operator) refusals(limit int) (refused []api.Job, more bool, err error) {
	aside, err := o.Refused()
	if len(aside) > limit {
		aside, more = aside[len(aside)-limit:], true
	}
	for _, r := range aside {
		refused = append(refused, api.Job{
			Event: r.Event.ID, State: api.JobRefused, Ref: r.Event.Ref.String(),
			Priority: r.Event.Priority, Reason: r.Reason, Since: r.At,
		})
	}
	return refused, more, err
}

// Find implements [api.Operator].
func (o Operator) Find(ctx context.Context, id string) (pratique.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	for q, err := range o.Broker.Jobs(ctx) {
		if err != nil {
			return pratique.Event{}, err
		}
		if w, err := pipeline.DecodeWork(q.Job.Body); err == nil && w.Event.ID == id {
			return w.Event, nil
		}
	}
	return pratique.Event{}, pratique.Wrap(pratique.NotFound, "find job", id,
		pratique.Errorf(pratique.NotFound, "find job", "there is no such job"))
}

// Cancel implements [api.Operator].
func (o Operator) Cancel(ctx context.Context, e pratique.Event, s pratique.Subject, by,
	reason string) error {
	if err := o.Recorder.Cancel(ctx, e, s, by, reason); err != nil {
		return err
	}
	// An inspection takes long and leaves nothing half done. The later stages stop by themselves.
	o.Broker.Interrupt(pratique.StageInspect, func(job queue.Job) bool {
		w, err := pipeline.DecodeWork(job.Body)
		return err == nil && w.Event.ID == e.ID
	})
	return nil
}

// Requeue implements [api.Operator].
func (o Operator) Requeue(ctx context.Context, e pratique.Event, by string) (pratique.Event, error) {
	return o.Intake.Requeue(ctx, e, by)
}
