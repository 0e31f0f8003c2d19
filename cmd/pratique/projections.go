package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/pipeline/attesting"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// lookForDenials is how often denials are looked for that did not take effect everywhere.
const lookForDenials = 15 * time.Second

// openProjection opens the file of a projection. One of another version is made again from the ledger;
// one that is damaged is not, because somebody should look at that.
func openProjection[T any](ctx context.Context, s *service, file string, open func(string) (T, error), remove func(string) error) (T, error) {
	opened, err := open(s.path(file))
	var other *projection.SchemaError
	if !errors.As(err, &other) {
		return opened, err
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "a projection is made again from the ledger", slog.String("projection", other.Name), slog.String("because", err.Error()))
	if err := remove(s.path(file)); err != nil {
		return opened, err
	}
	return open(s.path(file))
}

// openProjections ties the index and the inventory to the ledger.
func (s *service) openProjections(ctx context.Context) error {
	tie := func(name string, store projection.Store) *projection.Projection {
		return projection.New(s.ledger, store, func(have, end uint64) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a projection does not belong to this ledger: it is made again from the beginning",
				slog.String("projection", name), slog.Uint64("readUpTo", have), slog.Uint64("ledgerEndsAt", end))
		})
	}
	s.indexing, s.remembering = tie("index", s.index), tie("inventory", s.inventory)
	return nil
}

// project keeps the index up to date with the ledger. Without it nothing should be accepted any more.
func (s *service) project(ctx context.Context) error {
	return s.indexing.Follow(ctx, func(e pratique.Entry, live bool) {
		switch {
		case e.Err != nil:
			s.log.LogAttrs(ctx, slog.LevelWarn, "the ledger has an entry that cannot be read", slog.String("error", e.Err.Error()))
		case live: // a replay tells nothing new
			s.logFact(ctx, e.Fact)
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
func (s *service) denials() *attesting.Denials {
	return &attesting.Denials{
		Now: s.now, Batches: s.broker, Interval: lookForDenials, Log: s.log,
		Pending: s.index.Denials,
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
