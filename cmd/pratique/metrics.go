package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/telemetry"
)

// watch has the figures read at each scrape.
func (s *service) watch() error {
	return s.metrics.Watch(telemetry.Sources{
		Outbox: s.outboxFigures, Queues: s.queueFigures, Database: s.databaseFigures, Reconcile: s.sweepFigures,
		Pauses: func(context.Context) (map[string]time.Duration, error) { return s.registry.Pauses(), nil },
		Rescan: s.rescanFigures, Projections: s.projectionFigures, Denials: s.denialFigures,
		Unread: func(source string, err error) {
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "figures cannot be read", slog.String("source", source), slog.String("error", err.Error()))
		},
	})
}

func (s *service) outboxFigures(context.Context) (telemetry.Outbox, error) {
	o := s.outbox.Stats()
	return telemetry.Outbox{
		Waiting: o.Waiting, Unresolved: o.Unresolved, SetAside: o.Refused, Bytes: o.Bytes, LimitBytes: o.MaxBytes,
		OldestAge: s.age(o.Oldest), OldestUnresolvedAge: s.age(o.OldestUnresolved),
		Stored: o.Stored, Duplicates: o.Duplicates, Forwarded: o.Forwarded, RefusedFull: o.RefusedFull, FailedCommits: o.Failed,
	}, nil
}

// age of a time that may be none.
func (s *service) age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, s.now().Sub(t))
}

func (s *service) queueFigures(ctx context.Context) ([]telemetry.Queue, error) {
	pending, err := s.broker.Pending(ctx)
	all := make([]telemetry.Queue, len(pending))
	for i, b := range pending {
		all[i] = telemetry.Queue{
			Stage: string(b.Stage), Priority: string(b.Priority), Running: b.Running, Waiting: b.Waiting, OldestAge: b.OldestAge,
		}
	}
	return all, err
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

// aboutOutbox is the outbox for the service's status.
func (s *service) aboutOutbox() *api.Outbox {
	o := s.outbox.Stats()
	return &api.Outbox{
		Waiting: o.Waiting, Unresolved: o.Unresolved, Refused: o.Refused, Bytes: o.Bytes, MaxBytes: o.MaxBytes,
		OldestAgeSeconds: int64(max(s.age(o.Oldest), s.age(o.OldestUnresolved)) / time.Second),
	}
}
