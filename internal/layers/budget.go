package layers

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/pratique-dev/pratique"
)

// expansionGuess is the number of bytes that a layer is expected to need for each compressed byte:
// for itself and for what it expands to.
const expansionGuess = 4

// byteBudget bounds the bytes of all layers that are being fetched. Layers are admitted in order,
// each with the bytes that it is expected to need; a layer that needs more than the whole budget is
// admitted alone. If a layer turns out to need more, it takes what is free. If nothing is free, one
// layer at a time may exceed the budget: it will end, so nobody waits forever.
type byteBudget struct {
	limit     int64
	free      *semaphore.Weighted
	overdraft chan struct{}
}

func newByteBudget(limit int64) *byteBudget {
	return &byteBudget{limit: limit, free: semaphore.NewWeighted(limit),
		overdraft: make(chan struct{}, 1)}
}

// reservation is one layer's share of a budget. It is used by one goroutine at a time.
type reservation struct {
	budget    *byteBudget
	held      int64
	needed    int64 // compressed bytes, and those expanded so far
	overdrawn bool
	once      sync.Once
}

// reserve waits until a layer of so many compressed bytes is admitted. The reservation has to be
// released in any case.
func (b *byteBudget) reserve(ctx context.Context, size int64) (*reservation, error) {
	want := b.limit
	if size < b.limit/expansionGuess {
		want = max(1, size*expansionGuess)
	}
	if err := b.free.Acquire(ctx, want); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "wait to fetch layer", "", context.Cause(ctx))
	}
	return &reservation{budget: b, held: want, needed: size}, nil
}

// grow adds n expanded bytes, and waits if they do not fit.
func (p *reservation) grow(ctx context.Context, n int64) error {
	p.needed += n
	more := p.needed - p.held
	if more <= 0 || p.overdrawn || p.held >= p.budget.limit {
		return nil
	}
	const step = 16 << 20 // a reservation for each buffer would be slow
	if more = max(more, min(step, p.budget.limit-p.held)); p.budget.free.TryAcquire(more) {
		p.held += more
		return nil
	}
	select {
	case p.budget.overdraft <- struct{}{}:
		p.overdrawn = true
		return nil
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait to fetch layer", "", context.Cause(ctx))
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
