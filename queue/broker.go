package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/natsinternals"
)

// Config sets the bounds of the work. Every zero value means its default.
type Config struct {
	// AckWait is how long a message may go without a heartbeat before it is redelivered; a
	// heartbeat is sent every third of it. Default 30 s. It is also the wait after a crash.
	AckWait time.Duration
	// MaxAttempts is how many counted attempts a job has: those that crash or fail without a reason
	// to wait, see [Dispose]. Default 8.
	MaxAttempts int
	// MaxAge is how long after it was queued a job is retried that waits for something else, such
	// as a registry that does not answer or a login that is refused, see [Dispose]. Default 24 h.
	MaxAge time.Duration
	// MinDelay and MaxDelay bound the wait before another attempt. Defaults 1 s and 5 min.
	MinDelay, MaxDelay time.Duration
	// Grace is how long running handlers may take to finish when [Broker.Run] drains. Default 25 s.
	Grace time.Duration
	// Replicas is the number of copies of each stream in a cluster. Default 1.
	Replicas int
	// LedgerBytes replaces the size of the LEDGER stream in [Topology].
	LedgerBytes int64
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
	// OnError is called with errors that are handled here, by a retry: a lost connection, an
	// acknowledgement that did not arrive, a panic with its stack. It may be nil, and is called
	// from any goroutine.
	OnError func(error)
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
	if c.OnError == nil {
		c.OnError = func(error) {}
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

// Setup creates or updates every stream and consumer of [Topology]. It may be called any number of
// times.
func (b *Broker) Setup(ctx context.Context) error {
	for _, s := range Topology() {
		if s.Name == LedgerStream && b.config.LedgerBytes > 0 {
			s.MaxBytes = b.config.LedgerBytes
		}
		if s.Name == attemptsStream {
			s.MaxAge = max(s.MaxAge, 2*b.config.MaxAge) // a count must outlive its job
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
			if _, err := b.js.CreateOrUpdateConsumer(ctx, s.Name,
				s.Consumer(priority, b.config)); err != nil {
				return setupError(fmt.Sprintf("set up consumer %s of stream %s", priority, s.Name), err)
			}
		}
	}
	return nil
}

// checkFormat refuses a stream with messages in the format of another version.
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
			"it holds data in format %q, this version reads and writes %s: start with an empty dataDir, and let 'pratique reconcile' find what the registries hold; see docs/backup-and-upgrade.md",
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

// Publish queues work for a stage and waits until the server has stored it, at most until ctx ends
// or 5 s. The same id again within the stream's duplicate window is stored once. Without an
// acknowledgement the error is Unavailable, and the message may still have been stored: publish
// again with the same id. A full queue is Unavailable too, since it accepts work again once some of
// its own is done.
func (b *Broker) Publish(ctx context.Context, stage pratique.Stage, priority pratique.Priority,
	id string, body []byte) error {
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
	// While it reconnects the library would buffer the message, and the caller would wait in vain.
	if !b.js.Conn().IsConnected() {
		return pratique.Wrap(pratique.Unavailable, op, m.ID, errNoConnection)
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	_, err := b.js.Publish(ctx, m.Subject, m.Body, jetstream.WithMsgID(m.ID),
		jetstream.WithExpectStream(s.Name))
	return publishError(op, s, m.ID, err)
}

var errNoConnection = errors.New("no connection to nats")

func checkMessage(op string, priority pratique.Priority, id string) error {
	if id == "" {
		return pratique.Errorf(pratique.Internal, op, "message without an id")
	}
	if !slices.Contains(pratique.Priorities(), priority) {
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
			err = fmt.Errorf("the queue is full: it accepts new work when some of its own is done: %w", err)
		}
	}
	return pratique.Wrap(pratique.Unavailable, op, id, err)
}

// Pending returns the backlog of every stage and priority, in the order of the stages, the most
// urgent priority first. Running counts the jobs that workers of this process have.
func (b *Broker) Pending(ctx context.Context) ([]pratique.QueueStats, error) {
	var all []pratique.QueueStats
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

func (b *Broker) backlog(ctx context.Context, stream jetstream.Stream, s Stream,
	priority pratique.Priority) (pratique.QueueStats, error) {
	out := pratique.QueueStats{Stage: s.Stage, Priority: priority}
	consumer, err := stream.Consumer(ctx, string(priority))
	if err != nil {
		return out, err
	}
	info := consumer.CachedInfo()
	// To the server a job that waits for another attempt is as pending as one that runs. This
	// process knows what runs.
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
