package queue

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// Queued is a job that is not done. [Broker.Attempts] returns how often it was attempted.
type Queued struct {
	Job
	// Running reports whether a worker of this process has it. If not, it waits for a worker or for
	// another attempt.
	Running bool
	// Due is when the next attempt is due; zero if it runs, waits for a worker, or this process
	// does not know.
	Due time.Time
	seq uint64
}

// Jobs yields the jobs that are not done, by stage, the most urgent priority first, and the oldest
// first within a priority. Each costs a request to the server. Changes made meanwhile may or may
// not show. After an error, which is Unavailable, nothing follows.
func (b *Broker) Jobs(ctx context.Context) iter.Seq2[Queued, error] {
	return func(yield func(Queued, error) bool) {
		for _, stage := range pratique.Stages() {
			s, err := streamOf(stage)
			if err != nil {
				yield(Queued{}, err)
				return
			}
			stream, err := b.js.Stream(ctx, s.Name)
			if err != nil {
				yield(Queued{}, pratique.Wrap(pratique.Unavailable, "list jobs", s.Name, err))
				return
			}
			for _, priority := range pratique.Priorities() {
				if !b.jobs(ctx, stream, s, priority, yield) {
					return
				}
			}
		}
	}
}

// jobs yields the jobs of one priority, and reports whether to continue.
func (b *Broker) jobs(ctx context.Context, stream jetstream.Stream, s Stream,
	priority pratique.Priority, yield func(Queued, error) bool) bool {
	for from := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(s.Subject(priority)))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return true
		case err != nil:
			yield(Queued{}, pratique.Wrap(pratique.Unavailable, "list jobs", s.Subject(priority), err))
			return false
		}
		from = msg.Sequence + 1
		q := Queued{seq: msg.Sequence, Job: Job{
			Stage: s.Stage, Priority: priority, ID: msg.Header.Get(jetstream.MsgIDHeader),
			Body: msg.Data, EnqueuedAt: msg.Time.UTC(),
		}}
		q.Running = b.running.has(s.Stage, q.ID)
		if due := b.waiting.due(messageID{s.Stage, q.seq}); !q.Running && due.After(b.config.Now()) {
			q.Due = due
		}
		if !yield(q, nil) {
			return false
		}
	}
}

// Running yields the jobs that workers of this process have now, the oldest first, without asking
// the server.
func (b *Broker) Running() iter.Seq2[Queued, error] {
	b.running.mu.Lock()
	var all []Queued
	for r := range b.running.jobs {
		all = append(all, Queued{Job: r.job, Running: true})
	}
	b.running.mu.Unlock()
	slices.SortFunc(all, func(x, y Queued) int { return x.EnqueuedAt.Compare(y.EnqueuedAt) })
	return func(yield func(Queued, error) bool) {
		for _, q := range all {
			if !yield(q, nil) {
				return
			}
		}
	}
}

// Attempts returns how often a job was attempted so far.
func (b *Broker) Attempts(ctx context.Context, job Queued) (int, error) {
	const op = "count attempts"
	if job.Attempt > 0 {
		return job.Attempt, nil
	}
	s, err := streamOf(job.Stage)
	if err != nil {
		return 0, err
	}
	stream, err := b.js.Stream(ctx, attemptsStream)
	if err != nil {
		return 0, pratique.Wrap(pratique.Unavailable, op, job.ID, err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, attemptsSubject(s.Name, job.seq, job.EnqueuedAt))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, pratique.Wrap(pratique.Unavailable, op, job.ID, err)
	}
	var last attempt
	err = last.parse(string(msg.Data))
	return last.total, pratique.Wrap(pratique.Corrupt, op, job.ID, err)
}

// Interrupt cancels the context of the matching jobs of a stage that this process runs. They are
// redelivered at once, and the interrupted attempt is uncounted; their handler has to find out why
// it should not go on. It is only for stages that may be stopped anywhere.
func (b *Broker) Interrupt(stage pratique.Stage, match func(Job) bool) {
	b.running.mu.Lock()
	defer b.running.mu.Unlock()
	for r := range b.running.jobs {
		if r.job.Stage == stage && match(r.job) {
			r.cancel(errInterrupted)
		}
	}
}

var errInterrupted = errors.New("interrupted")

// running holds the jobs whose handlers run in this process.
type running struct {
	mu   sync.Mutex
	jobs map[*runningJob]bool
}

type runningJob struct {
	job    Job
	cancel context.CancelCauseFunc
}

// handle runs a handler so that it can be listed and interrupted. The error of an interrupted
// handler is errInterrupted.
func (r *running) handle(ctx context.Context, job Job, handler func(context.Context, Job) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	entry := &runningJob{job: job, cancel: cancel}
	r.mu.Lock()
	if r.jobs == nil {
		r.jobs = map[*runningJob]bool{}
	}
	r.jobs[entry] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.jobs, entry)
	}()
	err := handler(ctx, job)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

func (r *running) count(stage pratique.Stage, priority pratique.Priority) (n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for j := range r.jobs {
		if j.job.Stage == stage && j.job.Priority == priority {
			n++
		}
	}
	return n
}

func (r *running) has(stage pratique.Stage, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for j := range r.jobs {
		if j.job.Stage == stage && j.job.ID == id {
			return true
		}
	}
	return false
}
