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

// process does one job and answers its message. It cannot fail: whatever goes wrong here leads to a
// redelivery.
func (p *pool) process(ctx context.Context, msg jetstream.Msg, from pratique.Priority) {
	meta, err := msg.Metadata()
	if err != nil {
		p.config.OnError(fmt.Errorf("message on %s is not from a stream: %w", msg.Subject(), err))
		return
	}
	job := Job{
		Stage: p.work.Stage, Priority: from, ID: msg.Headers().Get(jetstream.MsgIDHeader),
		Body:       msg.Data(),
		EnqueuedAt: meta.Timestamp.UTC(),
	}
	d := p.waiting.received(job, msg, meta)
	if wait := p.hold(job); wait > 0 {
		p.redeliver(d, wait)
		return
	}
	var answer func()
	beat := func() { _ = msg.InProgress() }
	withHeartbeat(p.config.AckWait/3, beat, func() { answer = p.attempt(ctx, d, meta) })
	// A heartbeat after a delayed NAK would cancel the delay, so the message is answered only now.
	answer()
}

// hold returns how long the job stays in the queue, with jitter of up to a quarter.
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

// attempt counts an attempt, handles the job unless its limits are reached, and returns how to
// answer the message.
func (p *pool) attempt(ctx context.Context, d delivery, meta *jetstream.MsgMetadata) (answer func()) {
	job := d.job
	usual := backoff.Backoff{Min: p.config.MinDelay, Max: p.config.MaxDelay, Jitter: maxJitter}
	delay := usual.Delay(int(min(meta.NumDelivered, math.MaxInt32)), backoff.Random())
	a, err := p.attempts.begin(ctx, meta, limits{counted: p.config.MaxAttempts,
		crashes: p.work.MaxCrashes})
	if err != nil {
		p.config.OnError(fmt.Errorf("count the attempt at job %s, it is not begun: %w", job.ID, err))
		return func() { p.redeliver(d, delay) }
	}
	job.Attempt = a.total
	if a.exhausted {
		return p.fail(ctx, job, d, a, Disposition{Action: Term}, a.exhaustedError(job.ID), delay)
	}
	job.Crashes = a.crashes - 1
	err = p.recoverPanic(job, func() error { return p.running.handle(ctx, job, p.work.Handle) })
	if err != nil && (ctx.Err() != nil || errors.Is(err, errInterrupted)) {
		// The grace period is over, or the job was interrupted: the error says nothing about the
		// job.
		p.recordOutcome(job, a, true, err)
		return func() { p.redeliver(d, 0) }
	}
	history := History{Attempts: a.total, Counted: a.counted, Age: p.config.Now().Sub(job.EnqueuedAt)}
	disposition := Dispose(err, history, p.config, backoff.Random())
	if disposition.Action == Ack {
		return func() { p.ack(job, d.msg) }
	}
	return p.fail(ctx, job, d, a, disposition, err, delay)
}

// fail records a failure and returns how to answer the message. delay is the wait if the failure is
// final and cannot be recorded.
func (p *pool) fail(ctx context.Context, job Job, d delivery, a attempt, disposition Disposition,
	err error, delay time.Duration) func() {
	final := disposition.Action == Term
	recordErr := p.recoverPanic(job, func() error { return p.work.Failed(ctx, job, err, final) })
	if recordErr != nil {
		p.config.OnError(fmt.Errorf("record failure of job %s (%w): %w", job.ID, err, recordErr))
	}
	// Not before: a job that crashes the worker while its failure is recorded must end too.
	if !a.exhausted && (!final || recordErr != nil) {
		p.recordOutcome(job, a, disposition.Uncounted, err)
	}
	switch {
	case final && recordErr != nil:
		return func() { p.redeliver(d, delay) }
	case final:
		return func() { p.terminate(job, d.msg) }
	}
	return func() { p.redeliver(d, disposition.Delay) }
}

// recordOutcome records how the attempt ended. If that fails it stays counted as a crash, so that
// the job ends at some point.
func (p *pool) recordOutcome(job Job, a attempt, uncounted bool, cause error) {
	if err := p.attempts.recordOutcome(a, uncounted, cause); err != nil {
		p.config.OnError(fmt.Errorf("record the outcome of the attempt at job %s, it counts as a crash: %w", job.ID, err))
	}
}

// recoverPanic turns a panic into an Internal error.
func (p *pool) recoverPanic(job Job, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = pratique.Wrap(pratique.Internal, "handle job", job.ID, fmt.Errorf("panic: %v", v))
			p.config.OnError(fmt.Errorf("%w\n%s", err, debug.Stack()))
		}
	}()
	return f()
}

func (p *pool) ack(job Job, msg jetstream.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	if err := msg.DoubleAck(ctx); err != nil {
		p.config.OnError(fmt.Errorf("acknowledge job %s, it will be redelivered: %w", job.ID, err))
	}
}

func (p *pool) terminate(job Job, msg jetstream.Msg) {
	if err := p.term(msg); err != nil {
		p.config.OnError(fmt.Errorf("terminate job %s, it will be redelivered: %w", job.ID, err))
	}
}

// withHeartbeat calls beat every interval while f runs, and not after it has returned.
func withHeartbeat(interval time.Duration, beat, f func()) {
	done := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() {
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
	defer beats.Wait()
	defer close(done)
	f()
}
