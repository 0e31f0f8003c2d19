package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

// fetcher gets the messages of one priority from its consumer. It has at most one long poll open,
// or one message buffered: a poll that was open when the last worker became busy may still return
// one, which is kept alive with heartbeats until a worker is free.
type fetcher struct {
	priority pratique.Priority
	consumer jetstream.Consumer
	interval time.Duration // of heartbeats
	signal   func()
	onError  func(error)
	nak      func(jetstream.Msg, time.Duration)

	mu       sync.Mutex
	polling  bool
	buffered jetstream.Msg
	taken    chan struct{} // closed when the buffered message is taken
	failures int           // polls that failed in a row; only the poll reads and writes it
}

// pollHeartbeat is how often the server shows that a poll is open. After two missed heartbeats it
// is opened again.
const pollHeartbeat = 2 * time.Second

// next returns the buffered message, or one that is waiting at the server, or nil. While a poll is
// open it does not ask the server: a message would go to the poll.
func (f *fetcher) next(ctx context.Context) jetstream.Msg {
	f.mu.Lock()
	buffered, polling := f.buffered, f.polling
	if buffered != nil {
		f.buffered, f.polling = nil, false
		close(f.taken)
	}
	f.mu.Unlock()
	if buffered != nil || polling || ctx.Err() != nil {
		return buffered
	}
	batch, err := f.consumer.FetchNoWait(1)
	if err != nil {
		return nil // the poll that follows meets the same error, waits and reports it
	}
	return <-batch.Messages()
}

// startPoll opens a long poll unless one is open or a message is buffered.
func (f *fetcher) startPoll(ctx context.Context, polls *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.polling {
		return
	}
	f.polling = true
	polls.Go(func() { f.poll(ctx) })
}

func (f *fetcher) poll(ctx context.Context) {
	msg, err := f.fetch(ctx)
	if msg == nil {
		f.backOff(ctx, err)
		f.mu.Lock()
		f.polling = false
		f.mu.Unlock()
		f.signal()
		return
	}
	f.failures = 0
	taken := make(chan struct{})
	f.mu.Lock()
	f.buffered, f.taken = msg, taken
	f.mu.Unlock()
	f.signal()
	f.keepAlive(ctx, msg, taken)
}

// fetch waits up to 30 s, the library's default, for one message.
func (f *fetcher) fetch(ctx context.Context) (jetstream.Msg, error) {
	// The library takes a deadline for the length of the poll, so only the cancellation is passed
	// on.
	poll, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	batch, err := f.consumer.Fetch(1, jetstream.FetchContext(poll),
		jetstream.FetchHeartbeat(pollHeartbeat))
	if err != nil {
		return nil, err
	}
	msg := <-batch.Messages()
	return msg, batch.Error()
}

// keepAlive sends heartbeats until the message is taken. If ctx ends first, the message is returned.
func (f *fetcher) keepAlive(ctx context.Context, msg jetstream.Msg, taken <-chan struct{}) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-taken:
			return
		case <-tick.C:
			_ = msg.InProgress() // a lost heartbeat only causes a redelivery
		case <-ctx.Done():
			f.mu.Lock()
			ours := f.buffered == msg
			if ours {
				f.buffered, f.polling = nil, false
			}
			f.mu.Unlock()
			if ours {
				f.nak(msg, 0)
			}
			return
		}
	}
}

// backOff waits after a failed poll, longer each time.
func (f *fetcher) backOff(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, nats.ErrTimeout) {
		f.failures = 0
		return
	}
	f.failures++
	f.onError(fmt.Errorf("wait for messages of priority %s: %w", f.priority, err))
	wait := backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}.Delay(f.failures, 0)
	_ = backoff.Sleep(ctx, wait) // when ctx ends, so does the pool
}
