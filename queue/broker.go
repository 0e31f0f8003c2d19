package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/natsinternals"
)

// Config sets the bounds of the work. Every zero value means its default.
type Config struct {
	// AckWait is how long a message may go without a sign of life before it is delivered again; a
	// heartbeat is sent every third of it. Default 30 s. It is also the wait after a crash.
	AckWait time.Duration
	// MaxAttempts is how many starts of a job may end with a failure that is no reason to wait, or with no
	// word at all because the worker died. Default 8.
	MaxAttempts int
	// MaxAge is how long after it was put into the queue a job that waits for something else (a registry that
	// does not answer, a login that is refused) is tried again, see [Dispose]. Default 24 h.
	MaxAge time.Duration
	// MinDelay and MaxDelay bound the wait before another attempt. Defaults 1 s and 5 min.
	MinDelay, MaxDelay time.Duration
	// Grace is how long running handlers may take after [Broker.Run] was told to stop. Default 25 s.
	Grace time.Duration
	// Replicas is the number of copies of each stream in a cluster. Default 1.
	Replicas int
	// LedgerBytes replaces the size of the LEDGER stream in [Topology].
	LedgerBytes int64
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// Trouble hears of what is retried by itself: a lost connection, an acknowledgement that did not
	// arrive, a panic with its stack. It may be nil, and may be called from any goroutine.
	Trouble func(error)
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.AckWait, 30*time.Second)
	set(&c.MinDelay, time.Second)
	set(&c.MaxDelay, 5*time.Minute)
	set(&c.MaxAge, 24*time.Hour)
	set(&c.Grace, 25*time.Second)
	if c.MaxAttempts <= 0 {
		c.MaxAttempts = 8
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trouble == nil {
		c.Trouble = func(error) {}
	}
	return c
}

// Broker publishes work and runs the workers that do it.
type Broker struct {
	js      jetstream.JetStream
	config  Config
	running running
	waiting waiting
}

// New returns a broker on js. Call [Broker.Setup] once before using it.
func New(js jetstream.JetStream, c Config) *Broker {
	return &Broker{js: js, config: c.withDefaults()}
}

// Setup creates or updates every stream and consumer of [Topology]. It may be called any number of times.
func (b *Broker) Setup(ctx context.Context) error {
	for _, s := range Topology() {
		if s.Name == LedgerStream && b.config.LedgerBytes > 0 {
			s.MaxBytes = b.config.LedgerBytes
		}
		if s.Name == startsStream {
			s.MaxAge = max(s.MaxAge, 2*b.config.MaxAge) // a count must outlive the job
		}
		if err := b.checkFormat(ctx, s); err != nil {
			return err
		}
		if _, err := b.js.CreateOrUpdateStream(ctx, s.Config(b.config.Replicas)); err != nil {
			return setupError("set up stream "+s.Name, err)
		}
		if s.Stage == "" {
			continue
		}
		for _, priority := range pratique.Priorities() {
			if _, err := b.js.CreateOrUpdateConsumer(ctx, s.Name, s.Consumer(priority, b.config)); err != nil {
				return setupError(fmt.Sprintf("set up consumer %s of stream %s", priority, s.Name), err)
			}
		}
	}
	return nil
}

// checkFormat refuses a stream with messages that another version wrote in another format.
func (b *Broker) checkFormat(ctx context.Context, s Stream) error {
	op := "set up stream " + s.Name
	existing, err := b.js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return setupError(op, err)
	}
	info := existing.CachedInfo()
	if format := info.Config.Metadata[formatKey]; format != Format && info.State.LastSeq > 0 {
		return pratique.Errorf(pratique.Invalid, op,
			"it holds data in format %q, this version reads and writes %s: start with an empty dataDir, and let 'pratique reconcile' take in what the registries hold; see docs/backup-and-upgrade.md",
			pratique.Excerpt(format, 32), Format)
	}
	return nil
}

func setupError(op string, err error) error {
	if natsinternals.NoStorage(err) {
		return pratique.Errorf(pratique.Exhausted, op,
			"the server's store limit is smaller than the streams ask for: raise it or set a smaller ledger: %w", err)
	}
	return pratique.Wrap(pratique.Unavailable, op, "", err)
}

const publishWait = 5 * time.Second

// Publish puts work into a stage's priority and waits until the server has stored it, at most until ctx ends or
// 5 s. The same id again within the stream's duplicate window is stored once. Without an acknowledgement the
// error is Unavailable, and the message may still have been stored: publish again with the same id. A full queue
// is Unavailable, too, since it takes work again once some of its own is done.
func (b *Broker) Publish(ctx context.Context, stage pratique.Stage, priority pratique.Priority, id string, body []byte) error {
	op := "publish to " + string(stage)
	s, err := streamOf(stage)
	if err != nil {
		return err
	}
	if err := checkMessage(op, priority, id); err != nil {
		return err
	}
	return b.publish(ctx, op, s, Entry{Subject: s.Subject(priority), ID: id, Body: body})
}

func (b *Broker) publish(ctx context.Context, op string, s Stream, m Entry) error {
	// The library would buffer while it reconnects, and the caller would wait for nothing.
	if !b.js.Conn().IsConnected() {
		return pratique.Wrap(pratique.Unavailable, op, m.ID, errNoConnection)
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	_, err := b.js.Publish(ctx, m.Subject, m.Body, jetstream.WithMsgID(m.ID), jetstream.WithExpectStream(s.Name))
	return publishError(op, s, m.ID, err)
}

var errNoConnection = errors.New("no connection to nats")

func checkMessage(op string, priority pratique.Priority, id string) error {
	if id == "" {
		return pratique.Errorf(pratique.Internal, op, "message without an id")
	}
	if !known(priority) {
		return pratique.Wrap(pratique.Internal, op, id, fmt.Errorf("there is no priority %q", priority))
	}
	return nil
}

func publishError(op string, s Stream, id string, err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload), natsinternals.MessageTooLarge(err):
		return pratique.Wrap(pratique.Exhausted, op, id, err)
	case natsinternals.StreamFull(err):
		if s.Name == LedgerStream {
			err = fmt.Errorf("the ledger is full: raise queue.ledgerSize and restart: %w", err)
		} else {
			err = fmt.Errorf("the queue is full: it takes new work when some of its own is done: %w", err)
		}
	}
	return pratique.Wrap(pratique.Unavailable, op, id, err)
}

func known(priority pratique.Priority) bool {
	for _, l := range pratique.Priorities() {
		if l == priority {
			return true
		}
	}
	return false
}

// Pending returns the backlog of every stage and priority, in the order of the line and most urgent priority first.
// Running are the jobs that a worker of this process has, as [Broker.Jobs] says it.
func (b *Broker) Pending(ctx context.Context) ([]pratique.QueueFigures, error) {
	var all []pratique.QueueFigures
	for _, stage := range pratique.Stages() {
		s, err := streamOf(stage)
		if err != nil {
			return nil, err
		}
		stream, err := b.js.Stream(ctx, s.Name)
		if err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, "read backlog", s.Name, err)
		}
		for _, priority := range pratique.Priorities() {
			backlog, err := b.backlog(ctx, stream, s, priority)
			if err != nil {
				return nil, pratique.Wrap(pratique.Unavailable, "read backlog", s.Subject(priority), err)
			}
			all = append(all, backlog)
		}
	}
	return all, nil
}

func (b *Broker) backlog(ctx context.Context, stream jetstream.Stream, s Stream, priority pratique.Priority) (pratique.QueueFigures, error) {
	out := pratique.QueueFigures{Stage: s.Stage, Priority: priority}
	consumer, err := stream.Consumer(ctx, string(priority))
	if err != nil {
		return out, err
	}
	info := consumer.CachedInfo()
	// The server counts a job that waits for another attempt with those that were handed out. What runs, this process knows.
	out.Total = info.NumPending + uint64(max(0, info.NumAckPending))
	out.Running = min(b.running.count(s.Stage, priority), out.Total)
	out.Waiting = out.Total - out.Running
	oldest, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(s.Subject(priority)))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return out, nil
	case err != nil:
		return out, err
	}
	out.Oldest = oldest.Time.UTC()
	return out, nil
}
