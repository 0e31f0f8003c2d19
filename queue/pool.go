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
	// MaxDeaths is how many starts of a job may end with an error of kind Died, or with no word at all because
	// this process died; after them the job ends before it is started. 0 means [Config.MaxAttempts].
	MaxDeaths int
	// Limits are how many of the workers may be busy with one priority. A priority that is left out has a default: pushes
	// all, manual all but one, rescan half; at least one each.
	Limits map[pratique.Priority]int
	// Hold says how long a job has to stay in the queue although a worker is free; it may be nil. A held job was not
	// started, and costs next to nothing: whatever it waits for, the jobs behind it go on. Jobs older than
	// [Config.MaxAge] are not held, so that they end.
	Hold func(job Job) time.Duration
	// Handle does the job. Its error's kind decides what follows, see [Dispose]. A job may come again after
	// it was done, when the acknowledgement was lost.
	Handle func(ctx context.Context, job Job) error
	// Failed records that a job failed. With final set there will be no other attempt; a message is
	// ended only after Failed returned nil for it, until then it comes back.
	Failed func(ctx context.Context, job Job, err error, final bool) error
}

// Job is one delivery of a message.
type Job struct {
	Stage    pratique.Stage
	Priority pratique.Priority
	// ID is the id the message was published with.
	ID   string
	Body []byte
	// Attempt counts from 1 how often the job was started, for whatever reason.
	Attempt int
	// Deaths counts the earlier starts that ended with a death, see [Work.MaxDeaths].
	Deaths     int
	EnqueuedAt time.Time
}

// Run does the work until ctx ends, then drains: it takes no more messages, lets running handlers finish for
// at most [Config.Grace], cancels the context of the rest, and returns when every handler has. A free worker
// takes from the most urgent priority that has a message and is below its limit; one in 16 asks a less urgent priority first,
// so that none waits for ever. The error is nil after a drain; anything else is a
// reason why the work could not begin.
func (b *Broker) Run(ctx context.Context, works []Work) error {
	pools := make([]*pool, 0, len(works))
	for _, w := range works {
		p, err := b.newPool(ctx, w)
		if ctx.Err() != nil {
			return nil // told to stop before anything was begun
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
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-patience.C:
		cancel()
	case <-finished:
	}
}

// pool runs the jobs of one stage. One dispatcher gives messages to workers; it looks for a message only
// when a worker is free, so no message waits here while a worker elsewhere could do it.
type pool struct {
	work       Work
	config     Config
	priorities []*priority // most urgent first
	arrived    chan struct{}
	nak        func(jetstream.Msg, time.Duration)
	term       func(jetstream.Msg) error
	starts     starts
	turns      *turns
	running    *running
	waiting    *waiting
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
		starts: starts{js: b.js}, turns: newTurns(w.Workers, w.Limits), running: &b.running, waiting: &b.waiting}
	for _, name := range pratique.Priorities() {
		consumer, err := b.js.Consumer(ctx, s.Name, string(name))
		if err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, s.Subject(name), err)
		}
		p.priorities = append(p.priorities, &priority{
			name: name, consumer: consumer, beat: b.config.AckWait / 3,
			signal: p.signal, trouble: b.config.Trouble, nak: b.nak,
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
		p.turns.take(from)
		running.Go(func() {
			defer func() { p.turns.done(from); <-free; p.signal() }()
			p.process(workCtx, msg, p.priorities[from].name)
		})
	}
}

// next waits for a message and returns its priority's place. It asks the priorities that are below their limits, in order;
// when all are empty it leaves one long poll open in each, so that the next message arrives without delay.
func (p *pool) next(ctx context.Context, polls *sync.WaitGroup) (jetstream.Msg, int) {
	for ctx.Err() == nil {
		open := p.turns.order()
		for _, i := range open {
			if msg := p.priorities[i].take(ctx); msg != nil {
				return msg, i
			}
		}
		for _, i := range open {
			p.priorities[i].startPoll(ctx, polls)
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
	default: // one signal is enough: the dispatcher looks at every priority
	}
}

func (b *Broker) nak(msg jetstream.Msg, delay time.Duration) {
	if err := msg.NakWithDelay(delay); err != nil {
		b.config.Trouble(fmt.Errorf("return message, it comes back after %s: %w", b.config.AckWait, err))
	}
}

// term ends a message and waits until the server confirms: the library's Term does not.
func (b *Broker) term(msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	_, err := b.js.Conn().RequestWithContext(ctx, msg.Reply(), []byte("+TERM"))
	return err
}
