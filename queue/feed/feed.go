// Package feed receives events that a sender publishes on a subject of its own NATS server, as zot
// does, instead of sending HTTP requests.
//
// Everybody who may publish there can report pushes, so the account should allow the sender that
// one subject and nothing else. Core NATS drops messages without a subscriber: with a JetStream
// stream on the subject nothing is missed while this service is down, without one a sweep has to
// find it.
package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// Config configures a feed.
type Config struct {
	// Name is the name of the receiver.
	Name string
	// URL is nats://HOST:PORT or tls://HOST:PORT, Subject what the sender publishes on.
	URL, Subject string
	// Stream is the JetStream stream on the subject, if there is one.
	Stream string
	// Username and Password, or Credentials, the content of a credentials file, are this service's
	// own.
	Username, Password string
	Credentials        []byte
	// Workers is how many messages are received at once; less than 1 means 16. Their order is lost,
	// and zot does not keep one either.
	Workers int
	// OnError is called with lost connections, lost messages and errors that are retried. It may be
	// nil.
	OnError func(error)
}

// Receive stores one message durably. If it returns an error, it is called again.
type Receive func(ctx context.Context, header http.Header, body []byte) error

// Run receives until ctx ends. It waits for a server that is down. The error says that the
// configuration cannot work.
func Run(ctx context.Context, c Config, receive Receive) error {
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Workers < 1 {
		c.Workers = 16
	}
	f := &feed{Config: c, receive: receive}
	conn, err := f.connect()
	if err != nil {
		return pratique.Wrap(pratique.Invalid, "connect to the NATS server of receiver", c.Name, err)
	}
	defer conn.Close()
	// The last acknowledgements must reach the server before the connection closes.
	defer func() { _ = conn.FlushTimeout(closeTimeout) }()
	if c.Stream == "" {
		return f.subscribe(ctx, conn)
	}
	return f.consume(ctx, conn)
}

// closeTimeout is how long a feed that ends waits for a server that does not answer.
const closeTimeout = 2 * time.Second

type feed struct {
	Config
	receive Receive
}

func (f *feed) connect() (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("pratique " + f.Name), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, time.Second),
		// A password may be wrong for a while, when it is changed. The library would give up.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				f.onError(err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { f.onError(err) }),
	}
	if f.Username != "" {
		options = append(options, nats.UserInfo(f.Username, f.Password))
	}
	if len(f.Credentials) > 0 {
		options = append(options, nats.UserCredentialBytes(f.Credentials))
	}
	return nats.Connect(f.URL, options...)
}

func (f *feed) onError(err error) {
	f.OnError(fmt.Errorf("NATS server of receiver %s: %w", f.Name, err))
}

// subscribe receives what is published meanwhile. Nobody sends it again, so each message is retried
// until it is stored.
func (f *feed) subscribe(ctx context.Context, conn *nats.Conn) error {
	// The queue group shares the messages among replicas.
	sub, err := conn.QueueSubscribeSync(f.Subject, "pratique-"+f.Name)
	if err != nil {
		return pratique.Wrap(pratique.Invalid, "subscribe for receiver", f.Name, err)
	}
	var workers sync.WaitGroup
	for range f.Workers {
		workers.Go(func() { f.receiveFrom(ctx, sub) })
	}
	workers.Wait()
	return nil
}

// receiveFrom receives messages until ctx ends.
func (f *feed) receiveFrom(ctx context.Context, sub *nats.Subscription) {
	for failures := 0; ; {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil: // a slow consumer: messages were lost
			failures++
			f.backOff(ctx, failures, err)
		default:
			failures = 0
			f.receiveUntilStored(ctx, msg)
		}
	}
}

func (f *feed) receiveUntilStored(ctx context.Context, msg *nats.Msg) {
	for failures := 1; ; failures++ {
		err := f.receive(ctx, header(msg.Header), msg.Data)
		if err == nil {
			return
		}
		if f.backOff(ctx, failures, err); ctx.Err() != nil {
			f.onError(errors.New("a message is lost: it was not stored before the service stopped"))
			return
		}
	}
}

// consume receives messages of the stream, and acknowledges those that are stored.
func (f *feed) consume(ctx context.Context, conn *nats.Conn) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return pratique.Wrap(pratique.Invalid, "use JetStream for receiver", f.Name, err)
	}
	messages := make(chan jetstream.Msg)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(messages)
	for range f.Workers {
		workers.Go(func() {
			for msg := range messages {
				f.receiveOne(ctx, msg)
			}
		})
	}
	var consumer jetstream.Consumer
	for failures := 0; ctx.Err() == nil; {
		if err = f.fetch(ctx, js, &consumer, messages); err == nil {
			failures = 0
			continue
		}
		consumer = nil // it, or its stream, may have been deleted
		failures++
		if ctx.Err() == nil {
			f.backOff(ctx, failures, fmt.Errorf("fetch from stream %s: %w", f.Stream, err))
		}
	}
	return nil
}

// fetchWait is how long a request for messages is open, and so how long a feed takes to end.
const fetchWait = time.Second

// fetch passes on what one request brings. It does not end before the request: the server may be
// sending a message, which would be lost without the subscription, and redelivered only after
// AckWait.
func (f *feed) fetch(ctx context.Context, js jetstream.JetStream, consumer *jetstream.Consumer,
	messages chan<- jetstream.Msg) (err error) {
	if *consumer == nil {
		*consumer, err = js.CreateOrUpdateConsumer(ctx, f.Stream, jetstream.ConsumerConfig{
			Durable: "pratique-" + f.Name, FilterSubject: f.Subject,
			AckPolicy: jetstream.AckExplicitPolicy,
			AckWait:   30 * time.Second, MaxAckPending: 4 * f.Workers,
		})
		if err != nil {
			return err
		}
	}
	batch, err := (*consumer).Fetch(2*f.Workers, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		messages <- msg
	}
	return batch.Error()
}

// receiveOne receives a message and answers it.
func (f *feed) receiveOne(ctx context.Context, msg jetstream.Msg) {
	err := f.receive(ctx, header(msg.Headers()), msg.Data())
	switch {
	case err == nil:
		err = msg.DoubleAck(ctx)
		if ctx.Err() != nil {
			err = msg.Ack()
		}
	case ctx.Err() != nil:
		err = msg.Nak()
	default:
		err = errors.Join(err, msg.NakWithDelay(time.Second))
	}
	if err != nil && ctx.Err() == nil {
		f.onError(err)
	}
}

// header returns the header of the corresponding HTTP request. A message without a content type is
// a structured CloudEvent.
func header(h nats.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		out[http.CanonicalHeaderKey(name)] = values
	}
	if out.Get("Content-Type") == "" {
		out.Set("Content-Type", "application/cloudevents+json")
	}
	return out
}

// backOff reports an error and waits, longer after each failure, or until ctx ends.
func (f *feed) backOff(ctx context.Context, failures int, err error) {
	f.onError(err)
	wait := backoff.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second, Jitter: 0.5}
	_ = backoff.Sleep(ctx, wait.Delay(failures, backoff.Random())) // callers check ctx
}
