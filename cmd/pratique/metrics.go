package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// watch has the figures read at each scrape.
func (s *service) watch() error {
	return s.metrics.Watch(telemetry.Sources{
		Outbox: func(context.Context) (pratique.OutboxFigures, error) { return s.outbox.Stats(), nil },
		Queues: s.broker.Pending, Now: s.now, Database: s.databaseFigures, Reconcile: s.sweepFigures,
		Pauses: func(context.Context) (map[string]time.Duration, error) { return s.registry.Pauses(), nil },
		Rescan: s.rescanFigures, Projections: s.projectionFigures, Denials: s.denialFigures,
		Unread: func(source string, err error) {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "figures cannot be read", slog.String("source", source), slog.String("error", err.Error()))
		},
	})
}

// age of a time that may be none.
func (s *service) age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, s.now().Sub(t))
}

func (s *service) databaseFigures(context.Context) (telemetry.Database, error) {
	g, err := s.database.Current()
	if err != nil {
		return telemetry.Database{}, err
	}
	return telemetry.Database{Age: s.age(g.UpdatedAt), Limit: policyConfig(s.conf.Policy).Params.Limit(s.now()), Digest: g.Digest.String(), NextUpdate: g.NextUpdate}, nil
}

func (s *service) sweepFigures(context.Context) ([]telemetry.Repository, error) {
	var all []telemetry.Repository
	for _, r := range s.reconciler.Status() {
		all = append(all, telemetry.Repository{
			Name: r.Repository.String(), LastSuccess: r.LastSuccess, Interval: s.conf.Reconcile.Interval.Std(defaultSweepInterval),
			News: r.AllNews, Failures: r.Failures,
		})
	}
	return all, nil
}
