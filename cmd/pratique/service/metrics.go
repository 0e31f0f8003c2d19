package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// watch has the figures read at each scrape.
func (s *Service) watch() error {
	return s.metrics.Watch(telemetry.Sources{
		Outbox: func(context.Context) (pratique.OutboxFigures, error) { return s.outbox.Stats(), nil },
		Queues: s.Broker.Pending, Now: s.now, Database: s.databaseFigures, Reconcile: s.sweepFigures,
		Pauses: func(context.Context) (map[string]time.Duration, error) { return s.registry.Pauses(), nil },
		Rescan: s.rescanFigures, Projections: s.projectionFigures, Denials: s.denialFigures,
		Unread: func(source string, err error) {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "figures cannot be read", slog.String("source", source), slog.String("error", err.Error()))
		},
	})
}

// age of a time that may be none.
func (s *Service) age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, s.now().Sub(t))
}

func (s *Service) databaseFigures(context.Context) (telemetry.Database, error) {
	g, err := s.Database.Current()
	if err != nil {
		return telemetry.Database{}, err
	}
	return telemetry.Database{Age: s.age(g.UpdatedAt), Limit: settings.Policy(s.conf.Policy).Params.Limit(s.now()), Digest: g.Digest.String(), NextUpdate: g.NextUpdate}, nil
}

func (s *Service) sweepFigures(context.Context) ([]telemetry.Repository, error) {
	var all []telemetry.Repository
	for _, r := range s.reconciler.Status() {
		all = append(all, telemetry.Repository{
			Name: r.Repository.String(), LastSuccess: r.LastSuccess, Interval: s.conf.Reconcile.Interval.Std(settings.DefaultSweepInterval),
			News: r.AllNews, Failures: r.Failures,
		})
	}
	return all, nil
}
