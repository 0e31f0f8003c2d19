package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// ackWait bounds the wait for the server's confirmation of an acknowledgement.
const ackWait = 5 * time.Second

// process does one job and says what becomes of its message. It never fails: whatever goes wrong here brings
// the message back.
func (p *pool) process(ctx context.Context, msg jetstream.Msg, from pratique.Priority) {
	meta, err := msg.Metadata()
	if err != nil {
		p.config.Trouble(fmt.Errorf("message on %s is not from a stream: %w", msg.Subject(), err))
		return
	}
	job := Job{
		Stage: p.work.Stage, Priority: from, ID: msg.Headers().Get(jetstream.MsgIDHeader), Body: msg.Data(),
		EnqueuedAt: meta.Timestamp.UTC(),
	}
	d := p.waiting.took(job, msg, meta)
	if wait := p.hold(job); wait > 0 {
		p.giveBack(d, wait)
		return
	}
	var end func()
	withHeartbeat(p.config.AckWait/3, func() { _ = msg.InProgress() }, func() { end = p.begin(ctx, d, meta) })
	// A heartbeat after a delayed return would undo the delay, so the message is settled only now.
	end()
}

// hold returns how long the job stays in the queue, with up to a quarter more, so that not all come back at once.
func (p *pool) hold(job Job) time.Duration {
	if p.work.Hold == nil || p.config.Now().Sub(job.EnqueuedAt) > p.config.MaxAge {
		return 0
	}
	wait := p.work.Hold(job)
	if wait <= 0 {
		return 0
	}
	return backoff.Later(wait, wait/4, backoff.Random())
}

// begin counts the start, does the job unless it has had its attempts, and returns how to settle the message.
func (p *pool) begin(ctx context.Context, from delivery, meta *jetstream.MsgMetadata) func() {
	job := from.job
	usual := backoff.Backoff{Min: p.config.MinDelay, Max: p.config.MaxDelay, Jitter: jitterShare}
	again := usual.Delay(int(min(meta.NumDelivered, math.MaxInt32)), backoff.Random())
	now, err := p.starts.begin(ctx, meta, bounds{spent: p.config.MaxAttempts, deaths: p.work.MaxDeaths})
	if err != nil {
		p.config.Trouble(fmt.Errorf("count the attempt at job %s, it is not started: %w", job.ID, err))
		return func() { p.giveBack(from, again) }
	}
	job.Attempt = now.total
	if now.over {
		return p.settle(ctx, job, from, now, Disposition{Action: Term}, now.end(job.ID), again)
	}
	job.Deaths = now.deaths - 1
	err = p.guard(job, func() error { return p.running.handle(ctx, job, p.work.Handle) })
	if err != nil && (ctx.Err() != nil || errors.Is(err, errInterrupted)) {
		// The pool was told to stop and the grace period is over, or somebody interrupted: this says nothing about the job.
		p.take(job, now, true, err)
		return func() { p.giveBack(from, 0) }
	}
	effort := Effort{Starts: now.total, Spent: now.spent, Age: p.config.Now().Sub(job.EnqueuedAt)}
	d := Dispose(err, effort, p.config, backoff.Random())
	return p.settle(ctx, job, from, now, d, err, again)
}

// settle records a failure and returns how to settle the message; again is the wait if recording fails.
func (p *pool) settle(ctx context.Context, job Job, from delivery, now start, d Disposition, err error, again time.Duration) func() {
	if d.Action == Ack {
		return func() { p.acknowledge(job, from.msg) }
	}
	final := d.Action == Term
	recordErr := p.guard(job, func() error { return p.work.Failed(ctx, job, err, final) })
	if recordErr != nil {
		p.config.Trouble(fmt.Errorf("record failure of job %s (%w): %w", job.ID, err, recordErr))
	}
	// Only now: a job that kills the worker while its failure is recorded must end too.
	if !now.over && (!final || recordErr != nil) {
		p.take(job, now, d.Forgive, err)
	}
	switch {
	case final && recordErr != nil:
		return func() { p.giveBack(from, again) }
	case final:
		return func() { p.terminate(job, from.msg) }
	}
	return func() { p.giveBack(from, d.Delay) }
}

// take notes how the start ended; if that fails it counts as a death, which errs on the side of an end.
func (p *pool) take(job Job, now start, forgive bool, cause error) {
	if err := p.starts.take(now, forgive, cause); err != nil {
		p.config.Trouble(fmt.Errorf("note how the attempt at job %s ended, it counts as a death: %w", job.ID, err))
	}
}

// guard turns a panic into an Internal error.
func (p *pool) guard(job Job, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = pratique.Wrap(pratique.Internal, "handle job", job.ID, fmt.Errorf("panic: %v", v))
			p.config.Trouble(fmt.Errorf("%w\n%s", err, debug.Stack()))
		}
	}()
	return f()
}

func (p *pool) acknowledge(job Job, msg jetstream.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	if err := msg.DoubleAck(ctx); err != nil {
		p.config.Trouble(fmt.Errorf("acknowledge job %s, it comes again: %w", job.ID, err))
	}
}

func (p *pool) terminate(job Job, msg jetstream.Msg) {
	if err := p.term(msg); err != nil {
		p.config.Trouble(fmt.Errorf("end job %s, it comes again: %w", job.ID, err))
	}
}

// withHeartbeat calls beat every interval while f runs, and not after it has returned.
func withHeartbeat(interval time.Duration, beat, f func()) {
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				beat()
			case <-done:
				return
			}
		}
	})
	defer waiting.Wait()
	defer close(done)
	f()
}
