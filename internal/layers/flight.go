package layers

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/pratique-dev/pratique"
)

// guess is how many bytes a layer is taken to need on its way for each compressed one: itself, and what it expands to.
const guess = 4

// flight bounds the bytes that are on their way over all layers of a store. Layers are let in first come, first
// served, each with what it is guessed to need; one that needs more than everything comes alone. A layer that turns
// out to need more takes what is free, and where nothing is, one layer at a time may go beyond the bound: it ends, and
// so nobody waits for ever.
type flight struct {
	most   int64
	room   *semaphore.Weighted
	beyond chan struct{}
}

func newFlight(most int64) *flight {
	return &flight{most: most, room: semaphore.NewWeighted(most), beyond: make(chan struct{}, 1)}
}

// passage is what one layer holds of a flight. It is used by one goroutine at a time.
type passage struct {
	flight *flight
	held   int64 // of the room
	needed int64 // compressed bytes, and those expanded so far
	beyond bool
	once   sync.Once
}

// begin waits until a layer of so many compressed bytes may come. End the passage in any case.
func (f *flight) begin(ctx context.Context, size int64) (*passage, error) {
	want := f.most
	if size < f.most/guess {
		want = max(1, size*guess)
	}
	if err := f.room.Acquire(ctx, want); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "wait for room for layer", "", context.Cause(ctx))
	}
	return &passage{flight: f, held: want, needed: size}, nil
}

// grow notes n more expanded bytes, and waits if they are too many for now.
func (p *passage) grow(ctx context.Context, n int64) error {
	p.needed += n
	more := p.needed - p.held
	if more <= 0 || p.beyond || p.held >= p.flight.most {
		return nil
	}
	const step = 16 << 20 // asking for every buffer would be slow
	if more = max(more, min(step, p.flight.most-p.held)); p.flight.room.TryAcquire(more) {
		p.held += more
		return nil
	}
	select {
	case p.flight.beyond <- struct{}{}:
		p.beyond = true
		return nil
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait for room for layer", "", context.Cause(ctx))
	}
}

func (p *passage) end() {
	p.once.Do(func() {
		p.flight.room.Release(p.held)
		if p.beyond {
			<-p.flight.beyond
		}
	})
}
