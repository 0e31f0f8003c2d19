package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// lookForDenials is how often denials are looked for that did not take effect everywhere.
const lookForDenials = 15 * time.Second

// openProjection opens the file of a projection. One of another version is made again from the ledger;
// one that is damaged is not, because somebody should look at that.
func openProjection[T any](ctx context.Context, s *Service, file string, open func(string) (T, error), remove func(string) error) (T, error) {
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
func (s *Service) openProjections(ctx context.Context) error {
	tie := func(name string, store projection.Store) *projection.Projection {
		return projection.New(s.Ledger, store, func(have, end uint64) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a projection does not belong to this ledger: it is made again from the beginning",
				slog.String("projection", name), slog.Uint64("readUpTo", have), slog.Uint64("ledgerEndsAt", end))
		})
	}
	s.indexing, s.remembering = tie("index", s.index), tie("inventory", s.Inventory)
	return nil
}

// project keeps the index up to date with the ledger. Without it nothing should be accepted any more.
func (s *Service) project(ctx context.Context) error {
	return s.indexing.Follow(ctx, func(e pratique.Entry, live bool) {
		switch {
		case e.Err != nil:
			s.log.LogAttrs(ctx, slog.LevelWarn, "the ledger has an entry that cannot be read", slog.String("error", e.Err.Error()))
		case live: // a replay tells nothing new
			s.logFact(ctx, e.Fact)
		}
	})
}

// ProjectInventory keeps the inventory up to date with the ledger. Documents may be out of reach for a while, and then it
// waits: pushes do not need it.
func (s *Service) ProjectInventory(ctx context.Context) error {
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
func (s *Service) projections() map[string]*projection.Projection {
	return map[string]*projection.Projection{"index": s.indexing, "inventory": s.remembering}
}

// projected says what is not read yet of the ledger; empty if everything is.
func (s *Service) projected(ctx context.Context) string {
	for name, p := range s.projections() {
		if ready, err := p.Ready(ctx); !ready || err != nil {
			return "waiting for the " + name + " to read the ledger"
		}
	}
	return ""
}

// projectionFigures are those of both.
func (s *Service) projectionFigures(ctx context.Context) (map[string]telemetry.Projection, error) {
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
func (s *Service) denials() *pipeline.Denials {
	return &pipeline.Denials{
		Base: s.base(pratique.RoleAttest), Batches: s.Broker, Every: lookForDenials, Log: s.log,
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
func (s *Service) denialFigures(context.Context) (telemetry.Denials, error) {
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
