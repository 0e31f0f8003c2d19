// Package feed takes in the events that a sender publishes on a subject of its own NATS server, as zot does, in place
// of HTTP requests.
//
// Whoever may publish there can report pushes, so the account should allow the sender that one subject and nothing
// else. Core NATS forgets what nobody hears: with a JetStream stream on the subject nothing is missed while this
// service is away, without one a sweep has to find it.
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

// Config says where to listen.
type Config struct {
	// Name is that of the receiver whose events these are.
	Name string
	// URL is nats://HOST:PORT or tls://HOST:PORT, Subject what the sender publishes on.
	URL, Subject string
	// Stream is the JetStream stream that keeps the subject, if there is one.
	Stream string
	// Username and Password, or the content of a credentials file, are this service's own.
	Username, Password string
	Credentials        []byte
	// Workers is how many messages are taken in at once; less than 1 means 16. They keep no order, which zot does not
	// either.
	Workers int
	// OnError hears of lost connections, lost messages, and of what is tried again. It may be nil.
	OnError func(error)
}

// Receive takes in one message and returns nil once it is stored durably. An error brings it again.
type Receive func(ctx context.Context, header http.Header, body []byte) error

// Run listens until ctx ends. It waits for a server that is away. The error says that the configuration cannot work.
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
	// The server hears the last acknowledgements before the connection ends.
	defer func() { _ = conn.FlushTimeout(farewell) }()
	if c.Stream == "" {
		return f.listen(ctx, conn)
	}
	return f.consume(ctx, conn)
}

// farewell is how long an ending feed still talks with a server that does not answer.
const farewell = 2 * time.Second

type feed struct {
	Config
	receive Receive
}

func (f *feed) connect() (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("pratique " + f.Name), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(200*time.Millisecond, time.Second),
		// A password that is being changed is wrong for a while; the library would give up for good.
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				f.trouble(err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { f.trouble(err) }),
	}
	if f.Username != "" {
		options = append(options, nats.UserInfo(f.Username, f.Password))
	}
	if len(f.Credentials) > 0 {
		options = append(options, nats.UserCredentialBytes(f.Credentials))
	}
	return nats.Connect(f.URL, options...)
}

func (f *feed) trouble(err error) {
	f.OnError(fmt.Errorf("NATS server of receiver %s: %w", f.Name, err))
}

// listen hears what is published while it listens. Nobody sends it again, so each message is tried until it is
// stored.
func (f *feed) listen(ctx context.Context, conn *nats.Conn) error {
	// The group shares the messages among replicas.
	sub, err := conn.QueueSubscribeSync(f.Subject, "pratique-"+f.Name)
	if err != nil {
		return pratique.Wrap(pratique.Invalid, "subscribe for receiver", f.Name, err)
	}
	f.work(func() {
		for attempt := 0; ; {
			msg, err := sub.NextMsgWithContext(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil: // a slow consumer: it says that messages were lost
				f.trouble(err)
				rest(ctx, attempt)
				attempt++
				continue
			}
			attempt = 0
			f.insist(ctx, msg)
		}
	})
	return nil
}

// work runs the workers and waits for them.
func (f *feed) work(one func()) {
	var workers sync.WaitGroup
	for range f.Workers {
		workers.Go(one)
	}
	workers.Wait()
}

func (f *feed) insist(ctx context.Context, msg *nats.Msg) {
	for attempt := 0; ; attempt++ {
		err := f.receive(ctx, header(msg.Header), msg.Data)
		if err == nil {
			return
		}
		f.trouble(err)
		if rest(ctx, attempt); ctx.Err() != nil {
			f.trouble(errors.New("a message is lost: it could not be stored before the end"))
			return
		}
	}
}

// consume takes from the stream, and acknowledges what is stored.
func (f *feed) consume(ctx context.Context, conn *nats.Conn) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return pratique.Wrap(pratique.Invalid, "use JetStream for receiver", f.Name, err)
	}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		consumer, err := js.CreateOrUpdateConsumer(ctx, f.Stream, jetstream.ConsumerConfig{
			Durable: "pratique-" + f.Name, FilterSubject: f.Subject, AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: 30 * time.Second, MaxAckPending: 4 * f.Workers,
		})
		if err == nil {
			attempt = 0
			err = f.take(ctx, conn, consumer)
		}
		// Also after an end without an error: somebody has removed the consumer.
		if ctx.Err() == nil {
			f.trouble(fmt.Errorf("stream %s is taken up again: %w", f.Stream, err))
			rest(ctx, attempt)
		}
	}
	return nil
}

var errEnded = errors.New("the consumer is gone")

// take works until ctx ends or the consumer is gone.
func (f *feed) take(ctx context.Context, conn *nats.Conn, consumer jetstream.Consumer) error {
	messages, err := consumer.Messages(jetstream.PullMaxMessages(2 * f.Workers))
	if err != nil {
		return err
	}
	defer messages.Stop()
	// What is here already is settled or given back: the server would wait AckWait before it sent it to the next.
	defer context.AfterFunc(ctx, func() {
		messages.Drain()
		time.AfterFunc(farewell, conn.Close)
	})()
	f.work(func() {
		for attempt := 0; ; {
			msg, err := messages.Next()
			switch {
			case errors.Is(err, jetstream.ErrMsgIteratorClosed):
				return
			case err != nil:
				f.trouble(err)
				if rest(ctx, attempt); gone(err) {
					messages.Stop()
				}
				attempt++
				continue
			}
			attempt = 0
			f.settle(ctx, msg)
		}
	})
	return errEnded
}

// gone reports whether an error says that the consumer has to be made anew.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrStreamNotFound)
}

func (f *feed) settle(ctx context.Context, msg jetstream.Msg) {
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
		f.trouble(err)
	}
}

// header is what HTTP would have carried. A message without a content type is a structured CloudEvent.
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

// rest waits, longer each time, or until ctx ends.
func rest(ctx context.Context, attempt int) {
	wait := backoff.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second, Jitter: 0.5}
	_ = backoff.Sleep(ctx, wait.Delay(attempt+1, backoff.Random())) // callers look at ctx themselves
}
