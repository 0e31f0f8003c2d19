// Package projection keeps a file that is derived from the ledger up to date. With its position a
// projection stores a mark of the entry there, which identifies the stream and the content. If the
// ledger has no such entry, because it lost its tail, was restored from a backup or is another one,
// the projection is rebuilt.
package projection

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/pratique-dev/pratique"
)

// Ledger is what projections are derived from.
type Ledger interface {
	// End returns the position of the last entry, 0 if there is none.
	End(ctx context.Context) (uint64, error)
	// Mark returns the mark of the entry at a position; ok is false if there is none.
	Mark(ctx context.Context, seq uint64) (mark string, ok bool, err error)
	// Follow calls fn with every entry after a position until ctx ends; then it returns nil. It
	// ends with fn's error.
	Follow(ctx context.Context, after uint64, fn func([]pratique.Entry) error) error
}

// Store holds what is derived.
type Store interface {
	// At returns the position and the mark of the last applied entry; 0 and empty if there is none.
	At() (seq uint64, mark string, err error)
	// Apply applies entries and updates position and mark, in one transaction.
	Apply(ctx context.Context, entries []pratique.Entry) error
	// Reset deletes everything.
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

// New returns a projection. Rebuilt is called when a rebuild begins, with the position of the store
// and the end of the ledger.
func New(ledger Ledger, store Store, rebuilt func(have, end uint64)) *Projection {
	return &Projection{ledger: ledger, store: store, rebuilt: rebuilt}
}

// Rebuilds returns the number of rebuilds.
func (p *Projection) Rebuilds() uint64 { return p.rebuilds.Load() }

// Behind returns how many entries are not applied yet.
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

// Ready reports whether the store has applied what the ledger held at the first call, or when the
// last rebuild began. An error is not cached.
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

// begin checks that the store is of this ledger, and returns the position up to which all is
// replay. The mutex is held.
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

// check resets the store if it is not of this ledger. The mutex is held.
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

// Follow keeps the store up to date until ctx ends or an error occurs; it may be called again.
// Seen, if it is not nil, is called with each entry before it is applied; live tells new entries
// from replayed ones.
func (p *Projection) Follow(ctx context.Context, seen func(e pratique.Entry, live bool)) error {
	p.mu.Lock()
	want, err := p.begin(ctx) // the ledger may have been replaced
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
