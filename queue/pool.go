package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
)

// Work is what the workers of one stage do.
type Work struct {
	Stage pratique.Stage
	// Workers is how many jobs run at once; less than 1 means 1.
	Workers int
	// MaxCrashes is how many attempts at a job may crash: return an error of kind Died, or end with
	// this process. After that the job ends without another attempt. 0 means [Config.MaxAttempts].
	MaxCrashes int
	// Limits bound the workers that are busy with one priority. The default for pushes is all, for
	// manual all but one, for rescan half; at least one each.
	Limits map[pratique.Priority]int
	// Hold returns how long a job has to stay in the queue although a worker is free; it may be
	// nil. Holding a job is no attempt, and does not block the jobs behind it. Jobs older than
	// [Config.MaxAge] are not held, so that they end.
	Hold func(job Job) time.Duration
	// Handle does the job. The kind of its error decides what follows, see [Dispose]. A job may be
	// handled again after it was done, if the acknowledgement was lost.
	Handle func(ctx context.Context, job Job) error
	// Failed records that a job failed. If final is set there will be no other attempt. A message is
	// terminated only after Failed returned nil for it; until then it is redelivered.
	Failed func(ctx context.Context, job Job, err error, final bool) error
}

// Job is one delivery of a message.
type Job struct {
	Stage    pratique.Stage
	Priority pratique.Priority
	// ID is the id the message was published with.
	ID   string
	Body []byte
	// Attempt is the number of this attempt, from 1. It includes uncounted ones.
	Attempt int
	// Crashes is the number of earlier attempts that crashed, see [Work.MaxCrashes].
	Crashes    int
	EnqueuedAt time.Time
}

// Run does the work until ctx ends, then drains: it starts no more jobs, lets running handlers
// finish for at most [Config.Grace], cancels the context of the rest, and returns when every
// handler has. A free worker serves the most urgent priority that has a message and is below its
// limit; one job in 16 comes from a less urgent priority first, so that none starves. The error is
// nil after a drain, and otherwise says why the work could not begin.
func (b *Broker) Run(ctx context.Context, works []Work) error {
	pools := make([]*pool, 0, len(works))
	for _, w := range works {
		p, err := b.newPool(ctx, w)
		if ctx.Err() != nil {
			return nil // stopped before anything was begun
		}
		if err != nil {
			return err
		}
		pools = append(pools, p)
	}
	// Handlers outlive ctx by the grace period.
	workCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	finished := make(chan struct{})
	var all, reaper sync.WaitGroup
	reaper.Go(func() { cancelAfterGrace(ctx, b.config.Grace, cancel, finished) })
	for _, p := range pools {
		all.Go(func() { p.run(ctx, workCtx) })
	}
	all.Wait()
	close(finished)
	reaper.Wait()
	return nil
}

func cancelAfterGrace(ctx context.Context, grace time.Duration, cancel func(), finished <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-finished:
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		cancel()
	case <-finished:
	}
}

// pool runs the jobs of one stage. One dispatcher gives messages to workers. It asks for a message
// only when a worker is free, so no message waits here while another process has a free worker.
type pool struct {
	work      Work
	config    Config
	fetchers  []*fetcher // most urgent priority first
	arrived   chan struct{}
	nak       func(jetstream.Msg, time.Duration)
	term      func(jetstream.Msg) error
	attempts  attempts
	scheduler *scheduler
	running   *running
	waiting   *waiting
}

func (b *Broker) newPool(ctx context.Context, w Work) (*pool, error) {
	op := "start workers of " + string(w.Stage)
	s, err := streamOf(w.Stage)
	if err != nil {
		return nil, err
	}
	if w.Handle == nil || w.Failed == nil {
		return nil, pratique.Errorf(pratique.Internal, op, "Handle and Failed must both be set")
	}
	w.Workers = max(1, w.Workers)
	p := &pool{work: w, config: b.config, arrived: make(chan struct{}, 1), nak: b.nak, term: b.term,
		attempts: attempts{js: b.js}, scheduler: newScheduler(w.Workers, w.Limits),
		running: &b.running, waiting: &b.waiting}
	for _, priority := range pratique.Priorities() {
		consumer, err := b.js.Consumer(ctx, s.Name, string(priority))
		if err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, s.Subject(priority), err)
		}
		p.fetchers = append(p.fetchers, &fetcher{
			priority: priority, consumer: consumer, interval: b.config.AckWait / 3,
			signal: p.signal, onError: b.config.OnError, nak: b.nak,
		})
	}
	return p, nil
}

func (p *pool) run(ctx, workCtx context.Context) {
	free := make(chan struct{}, p.work.Workers)
	var running, polls sync.WaitGroup
	defer running.Wait()
	defer polls.Wait()
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		msg, from := p.next(ctx, &polls)
		if msg == nil {
			return
		}
		p.scheduler.started(from)
		running.Go(func() {
			defer func() { p.scheduler.finished(from); <-free; p.signal() }()
			p.process(workCtx, msg, p.fetchers[from].priority)
		})
	}
}

// next waits for a message and returns it with the number of its priority. It asks the priorities
// below their limits, in order. If all are empty it leaves a long poll open for each, so that the
// next message arrives without delay.
func (p *pool) next(ctx context.Context, polls *sync.WaitGroup) (msg jetstream.Msg, priority int) {
	for ctx.Err() == nil {
		order := p.scheduler.order()
		for _, i := range order {
			if msg := p.fetchers[i].next(ctx); msg != nil {
				return msg, i
			}
		}
		for _, i := range order {
			p.fetchers[i].startPoll(ctx, polls)
		}
		select {
		case <-p.arrived:
		case <-ctx.Done():
		}
	}
	return nil, 0
}

func (p *pool) signal() {
	select {
	case p.arrived <- struct{}{}:
	default: // one signal is enough: the dispatcher asks every priority
	}
}

func (b *Broker) nak(msg jetstream.Msg, delay time.Duration) {
	if err := msg.NakWithDelay(delay); err != nil {
		b.config.OnError(fmt.Errorf("return message, it will be redelivered after %s: %w",
			b.config.AckWait, err))
	}
}

// term terminates a message and waits until the server confirms, which the library's Term does not.
func (b *Broker) term(msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	_, err := b.js.Conn().RequestWithContext(ctx, msg.Reply(), []byte("+TERM"))
	return err
}
