package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/scanner/inventory"
)

// lookForDenials is how often denials are looked for that did not take effect everywhere.
const lookForDenials = 15 * time.Second

// openProjections ties the index and the inventory to the ledger.
func (s *service) openProjections(ctx context.Context) error {
	tie := func(name string, store projection.Store) *projection.Projection {
		return projection.New(facts{s.ledger, s.broker}, store, func(have, end uint64) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a projection does not belong to this ledger: it is made again from the beginning",
				slog.String("projection", name), slog.Uint64("readUpTo", have), slog.Uint64("ledgerEndsAt", end))
		})
	}
	s.indexing, s.remembering = tie("index", indexed{s.index}), tie("inventory", remembered{s.inventory})
	return nil
}

// Follow implements [projection.Ledger].
func (f facts) Follow(ctx context.Context, after uint64, fn func([]projection.Entry) error) error {
	return f.ledger.Follow(ctx, after, func(entries []ledger.Entry) error {
		all := make([]projection.Entry, len(entries))
		for i, e := range entries {
			all[i] = projection.Entry{Seq: e.Seq, Mark: e.Mark, Fact: e.Fact, Err: e.Err}
		}
		return fn(all)
	})
}

// End implements [projection.Ledger].
func (f facts) End(ctx context.Context) (uint64, error) { return f.ledger.End(ctx) }

// Mark implements [projection.Ledger].
func (f facts) Mark(ctx context.Context, seq uint64) (string, bool, error) {
	return f.ledger.Mark(ctx, seq)
}

type indexed struct{ *index.Index }

func (i indexed) Apply(_ context.Context, entries []projection.Entry) error {
	batch := make([]index.Entry, len(entries))
	for n, e := range entries {
		batch[n] = index.Entry{Seq: e.Seq, Mark: e.Mark, Fact: e.Fact}
	}
	return i.Index.Apply(batch)
}

type remembered struct{ *inventory.Projection }

func (r remembered) Apply(ctx context.Context, entries []projection.Entry) error {
	batch := make([]inventory.Entry, len(entries))
	for n, e := range entries {
		batch[n] = inventory.Entry{Seq: e.Seq, Mark: e.Mark, Fact: e.Fact}
	}
	return r.Projection.Apply(ctx, batch)
}

// project keeps the index up to date with the ledger. Without it nothing should be accepted any more.
func (s *service) project(ctx context.Context) error {
	return s.indexing.Follow(ctx, func(entries []projection.Entry) {
		for _, e := range entries {
			switch {
			case e.Err != nil:
				s.log.LogAttrs(ctx, slog.LevelWarn, "the ledger has an entry that cannot be read", slog.String("error", e.Err.Error()))
			case e.Live: // a replay tells nothing new
				s.logFact(ctx, e.Fact)
			}
		}
	})
}

// projectInventory keeps the inventory up to date with the ledger. Documents may be out of reach for a while, and then it
// waits: pushes do not need it.
func (s *service) projectInventory(ctx context.Context) error {
	for {
		err := s.remembering.Follow(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "the inventory does not follow the ledger", slog.String("error", err.Error()))
		}
		const pause = 5 * time.Second
		if backoff.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// projections are both by the names that people see.
func (s *service) projections() map[string]*projection.Projection {
	return map[string]*projection.Projection{"index": s.indexing, "inventory": s.remembering}
}

// projected says what is not read yet of the ledger; empty if everything is.
func (s *service) projected(ctx context.Context) string {
	for name, p := range s.projections() {
		if ready, err := p.Ready(ctx); !ready || err != nil {
			return "waiting for the " + name + " to read the ledger"
		}
	}
	return ""
}

// projectionFigures are those of both.
func (s *service) projectionFigures(ctx context.Context) (map[string]telemetry.Projection, error) {
	all := map[string]telemetry.Projection{}
	for name, p := range s.projections() {
		behind, err := p.Behind(ctx)
		if err != nil {
			return nil, err
		}
		all[name] = telemetry.Projection{Behind: behind, Rebuilds: p.Rebuilds()}
	}
	return all, nil
}

// denials tries again to attest what no registry took.
func (s *service) denials() *pipeline.Denials {
	return &pipeline.Denials{
		Base: s.base(), Batches: s.broker, Every: lookForDenials, Log: s.log,
		Pending: func(after pratique.Subject, limit int) ([]pipeline.PendingDenial, pratique.Subject, error) {
			all, next, err := s.index.Denials(after, limit)
			var pending []pipeline.PendingDenial
			for _, d := range all {
				if d.Pushed.ID == "" {
					continue // nobody pushed it since the ledger began
				}
				pushed := d.Subject
				if !d.Index.IsZero() {
					pushed = d.Subject.Sibling(d.Index)
				}
				pending = append(pending, pipeline.PendingDenial{Subject: d.Subject, Since: d.Since, Pushed: pushed, Push: d.Pushed, Idle: d.Idle, Contradicted: d.Contradicted})
			}
			return pending, next, err
		},
	}
}

// mostDenials bounds what is counted for one scrape.
const mostDenials = 10_000

// denialFigures are the denials that no registry shows.
func (s *service) denialFigures(context.Context) (telemetry.Denials, error) {
	all, _, err := s.index.Denials(pratique.Subject{}, mostDenials)
	if err != nil {
		return telemetry.Denials{}, err
	}
	f := telemetry.Denials{Pending: len(all)}
	for _, d := range all {
		f.OldestAge = max(f.OldestAge, s.age(d.Since))
	}
	return f, nil
}
