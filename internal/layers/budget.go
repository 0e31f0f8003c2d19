package layers

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/pratique-dev/pratique"
)

// expansionGuess is how many bytes a layer is taken to need on its way for each compressed one: itself, and what it expands to.
const expansionGuess = 4

// byteBudget bounds the bytes that are on their way over all layers of a store. Layers are let in first come, first
// served, each with what it is guessed to need; one that needs more than everything comes alone. A layer that turns
// out to need more takes what is free, and where nothing is, one layer at a time may go beyond the bound: it ends, and
// so nobody waits for ever.
type byteBudget struct {
	limit     int64
	free      *semaphore.Weighted
	overdraft chan struct{}
}

func newByteBudget(most int64) *byteBudget {
	return &byteBudget{limit: most, free: semaphore.NewWeighted(most), overdraft: make(chan struct{}, 1)}
}

// reservation is what one layer holds of a flight. It is used by one goroutine at a time.
type reservation struct {
	budget    *byteBudget
	held      int64 // of the room
	needed    int64 // compressed bytes, and those expanded so far
	overdrawn bool
	once      sync.Once
}

// reserve waits until a layer of so many compressed bytes may come. End the passage in any case.
func (f *byteBudget) reserve(ctx context.Context, size int64) (*reservation, error) {
	want := f.limit
	if size < f.limit/expansionGuess {
		want = max(1, size*expansionGuess)
	}
	if err := f.free.Acquire(ctx, want); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "wait for room for layer", "", context.Cause(ctx))
	}
	return &reservation{budget: f, held: want, needed: size}, nil
}

// grow notes n more expanded bytes, and waits if they are too many for now.
func (p *reservation) grow(ctx context.Context, n int64) error {
	p.needed += n
	more := p.needed - p.held
	if more <= 0 || p.overdrawn || p.held >= p.budget.limit {
		return nil
	}
	const step = 16 << 20 // asking for every buffer would be slow
	if more = max(more, min(step, p.budget.limit-p.held)); p.budget.free.TryAcquire(more) {
		p.held += more
		return nil
	}
	select {
	case p.budget.overdraft <- struct{}{}:
		p.overdrawn = true
		return nil
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait for room for layer", "", context.Cause(ctx))
	}
}

func (p *reservation) release() {
	p.once.Do(func() {
		p.budget.free.Release(p.held)
		if p.overdrawn {
			<-p.budget.overdraft
		}
	})
}
