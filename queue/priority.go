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

// priority takes messages from one consumer. At any time it has at most one long poll open or one message held:
// a poll that was open when the last worker became busy may still bring one, which is held with a heartbeat
// until a worker is free.
type priority struct {
	name     pratique.Priority
	consumer jetstream.Consumer
	beat     time.Duration
	signal   func()
	trouble  func(error)
	nak      func(jetstream.Msg, time.Duration)

	mu      sync.Mutex
	polling bool
	held    jetstream.Msg
	taken   chan struct{}
	failing int // polls failed in a row; only the poll reads and writes it
}

const pollBeat = 2 * time.Second // twice this after a lost connection, the poll is made anew

// take returns the held message, or one that is waiting at the server, or nil. While a poll is open it does
// not ask the server: a message would go to the poll.
func (l *priority) take(ctx context.Context) jetstream.Msg {
	l.mu.Lock()
	held, polling := l.held, l.polling
	if held != nil {
		l.held, l.polling = nil, false
		close(l.taken)
	}
	l.mu.Unlock()
	if held != nil || polling || ctx.Err() != nil {
		return held
	}
	batch, err := l.consumer.FetchNoWait(1)
	if err != nil {
		return nil // the poll that follows meets the same error, waits and reports it
	}
	return <-batch.Messages()
}

// startPoll opens a long poll unless one is open or a message is held.
func (l *priority) startPoll(ctx context.Context, polls *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.polling {
		return
	}
	l.polling = true
	polls.Go(func() { l.poll(ctx) })
}

func (l *priority) poll(ctx context.Context) {
	msg, err := l.fetch(ctx)
	if msg == nil {
		l.backOff(ctx, err)
		l.mu.Lock()
		l.polling = false
		l.mu.Unlock()
		l.signal()
		return
	}
	l.failing = 0
	taken := make(chan struct{})
	l.mu.Lock()
	l.held, l.taken = msg, taken
	l.mu.Unlock()
	l.signal()
	l.hold(ctx, msg, taken)
}

// fetch waits up to 30 s, the library's default, for one message.
func (l *priority) fetch(ctx context.Context) (jetstream.Msg, error) {
	// The library reads a deadline as the length of the poll, so only the cancellation is passed on.
	poll, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	batch, err := l.consumer.Fetch(1, jetstream.FetchContext(poll), jetstream.FetchHeartbeat(pollBeat))
	if err != nil {
		return nil, err
	}
	msg := <-batch.Messages()
	return msg, batch.Error()
}

// hold keeps a message alive until it is taken; when ctx ends first, the message goes back.
func (l *priority) hold(ctx context.Context, msg jetstream.Msg, taken <-chan struct{}) {
	tick := time.NewTicker(l.beat)
	defer tick.Stop()
	for {
		select {
		case <-taken:
			return
		case <-tick.C:
			_ = msg.InProgress() // a lost heartbeat only brings the message again
		case <-ctx.Done():
			l.mu.Lock()
			mine := l.held == msg
			if mine {
				l.held, l.polling = nil, false
			}
			l.mu.Unlock()
			if mine {
				l.nak(msg, 0)
			}
			return
		}
	}
}

// backOff waits after a failed poll, longer each time, so that a lost server is not asked in a tight loop.
func (l *priority) backOff(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, nats.ErrTimeout) {
		l.failing = 0
		return
	}
	l.failing++
	l.trouble(fmt.Errorf("wait for messages of priority %s: %w", l.name, err))
	wait := backoff.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}.Delay(l.failing, 0)
	_ = backoff.Sleep(ctx, wait) // when ctx ends, so does the pool
}
