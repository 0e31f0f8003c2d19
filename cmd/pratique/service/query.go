package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
)

// queryAPI is the handler of /api/ and of the OpenAPI document.
func (s *Service) queryAPI() (http.Handler, error) {
	auth := settings.Auth(s.conf)
	if err := auth.Validate(); err != nil {
		return nil, fmt.Errorf("api.tokens: %w", err)
	}
	intake := s.intake(pratique.RoleQuery)
	return api.New(api.Config{
		Images: s.index, Events: s.index, Documents: s.Blobs, Report: s.report, Submit: intake.Submit, Digest: s.registry.Digest, Reconcile: adapter.Sweeps{Reconciler: s.reconciler}, Auth: auth, Now: s.now,
		Operate: operator{s, intake}, Places: s.gateway.Places, NextAttempt: s.nextAttempt, NotReady: s.notReady,
		Describe: func(ctx context.Context) (api.Service, error) {
			about := api.Service{Version: settings.Version(), Profiles: s.profiles()}
			if g, err := s.Database.Current(); err == nil {
				about.Database = &g.Database
			}
			box := s.outbox.Stats()
			about.Outbox, about.Rescan = &box, s.aboutRescan()
			var err error
			if about.Queues, err = s.Broker.Pending(ctx); err != nil {
				// The rest is worth knowing all the more.
				s.log.LogAttrs(ctx, slog.LevelWarn, "the queues cannot be read", slog.String("error", err.Error()))
			}
			return about, nil
		},
		OnError: func(r *http.Request, err error) {
			s.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("path", r.URL.Path), slog.String("error", err.Error()))
		},
	}), nil
}
