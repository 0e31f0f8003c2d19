// Package projection keeps what is derived from the ledger in step with it, in a file of its own. With
// its position a projection stores a mark of the entry there: of the stream, and of what the entry
// says. Where the ledger has no such entry, because it lost its tail, was restored from a copy or is
// another one, everything that was derived is forgotten and derived again.
package projection

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/pratique-dev/pratique"
)

// Ledger is what projections are derived from.
type Ledger interface {
	// End is the position of the last entry, 0 if there is none.
	End(ctx context.Context) (uint64, error)
	// Mark is that of the entry at a position; ok is false if there is none.
	Mark(ctx context.Context, seq uint64) (mark string, ok bool, err error)
	// Follow calls fn with every entry after a position until ctx ends; then it returns nil. It ends with fn's error.
	Follow(ctx context.Context, after uint64, fn func([]pratique.Entry) error) error
}

// Store is what is derived.
type Store interface {
	// At is the position and the mark up to which it has read; 0 and empty if it has read nothing.
	At() (seq uint64, mark string, err error)
	// Apply takes entries over and moves position and mark, in one transaction.
	Apply(ctx context.Context, entries []pratique.Entry) error
	// Reset forgets everything.
	Reset() error
}

// Projection follows a ledger.
type Projection struct {
	ledger  Ledger
	store   Store
	rebuilt func(have, end uint64)

	rebuilds atomic.Uint64
	mu       sync.Mutex
	want     *uint64 // the end of the ledger when the projection was begun; nil before that
}

// New makes a projection. Rebuilt is told when everything is derived again, with the position that the store had and the
// end of the ledger.
func New(ledger Ledger, store Store, rebuilt func(have, end uint64)) *Projection {
	return &Projection{ledger: ledger, store: store, rebuilt: rebuilt}
}

// Rebuilds counts how often everything had to be derived again.
func (p *Projection) Rebuilds() uint64 { return p.rebuilds.Load() }

// Behind is how many entries the store has not read yet.
func (p *Projection) Behind(ctx context.Context) (uint64, error) {
	end, err := p.ledger.End(ctx)
	if err != nil {
		return 0, err
	}
	have, _, err := p.store.At()
	if have > end {
		return 0, err
	}
	return end - have, err
}

// Ready says whether the store has read what the ledger held when that was asked first, or when everything was last derived
// again. An error is not remembered.
func (p *Projection) Ready(ctx context.Context) (bool, error) {
	want, err := p.wanted(ctx)
	if err != nil {
		return false, err
	}
	have, _, err := p.store.At()
	return have >= want, err
}

func (p *Projection) wanted(ctx context.Context) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want != nil {
		return *p.want, nil
	}
	return p.begin(ctx)
}

// begin makes sure that the store is of this ledger, and returns the position up to which all is replay. The mutex is held.
func (p *Projection) begin(ctx context.Context) (uint64, error) {
	end, err := p.ledger.End(ctx)
	if err != nil {
		return 0, err
	}
	rebuilt, err := p.check(ctx, end)
	if err != nil {
		return 0, err
	}
	if p.want == nil || rebuilt || *p.want > end {
		p.want = &end
	}
	return *p.want, nil
}

// check forgets everything if it is not of this ledger. The mutex is held.
func (p *Projection) check(ctx context.Context, end uint64) (rebuilt bool, err error) {
	have, mark, err := p.store.At()
	if err != nil || have == 0 {
		return false, err
	}
	if have <= end {
		at, ok, err := p.ledger.Mark(ctx, have)
		if err != nil {
			return false, err
		}
		if ok && at == mark {
			return false, nil
		}
	}
	if err := p.store.Reset(); err != nil {
		return false, err
	}
	p.rebuilds.Add(1)
	p.rebuilt(have, end)
	return true, nil
}

// Follow keeps the store up to date until ctx ends, or something is in the way; then it may be called again. Seen, if it is
// not nil, is shown each entry before it is applied; one that is live came after the projection was begun, or begun again:
// it is news, and no replay.
func (p *Projection) Follow(ctx context.Context, seen func(e pratique.Entry, live bool)) error {
	p.mu.Lock()
	want, err := p.begin(ctx) // the ledger may be another one than the last time
	p.mu.Unlock()
	if err != nil {
		return p.ended(ctx, err)
	}
	after, _, err := p.store.At()
	if err != nil {
		return err
	}
	return p.ended(ctx, p.ledger.Follow(ctx, after, func(entries []pratique.Entry) error {
		for _, e := range entries {
			if seen != nil {
				seen(e, e.Seq > want)
			}
		}
		return p.store.Apply(ctx, entries)
	}))
}

func (p *Projection) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
