package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// compareEvery is how often what is said to be deployed is compared with what the config repositories hold.
const compareEvery = time.Hour

// watchGit compares what the facts say with what Git holds, at the start and from time to time.
func (s *Service) watchGit(ctx context.Context) {
	drift := &pipeline.Drift{Base: s.base(pratique.RoleDeploy), Records: adapter.Deployed{Index: s.index}, Places: s.gateway}
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	for {
		added, err := drift.Check(ctx)
		if added > 0 {
			s.log.LogAttrs(ctx, slog.LevelWarn, "Git does not hold what was deployed; the facts are corrected", slog.Int("facts", added))
		}
		if err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "could not compare all that is deployed with what Git holds", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// logProblems tells operators what could not be edited.
func (s *Service) logProblems(problems []deploy.TargetProblem) {
	for _, p := range problems {
		s.metrics.DeployProblem(p.Target)
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "a place in a config repository cannot be edited",
			slog.String("target", p.Target), slog.String("place", p.String()), slog.Bool("imageWaits", p.Waits))
	}
}
