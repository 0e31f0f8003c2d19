package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline/deploying"
)

// compareEvery is how often what is said to be deployed is compared with what the config repositories hold.
const compareEvery = time.Hour

// watchGit compares what the facts say with what Git holds, at the start and from time to time.
func (s *service) watchGit(ctx context.Context) {
	drift := &deploying.Drift{Recorder: s.recorder(pratique.RoleDeploy), Records: deployedRecords{s.index}, Places: s.gateway}
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
func (s *service) logProblems(problems []deploy.TargetProblem) {
	for _, p := range problems {
		s.metrics.DeployProblem(p.Target)
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "a place in a config repository cannot be edited",
			slog.String("target", p.Target), slog.String("place", p.String()), slog.Bool("imageWaits", p.Waits))
	}
}

// deployedRecords finds the images that have been deployed.
type deployedRecords struct{ index *index.Index }

// Deployed implements [deploying.Records].
func (d deployedRecords) Deployed(ctx context.Context, visit func(pratique.Record) error) error {
	q := index.Query{Limit: index.MaxLimit}
	for {
		page, err := d.index.List(q)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if item.Deployments == 0 && item.Drifted == 0 {
				continue
			}
			r, known, err := recordOf(d.index, item.Subject)
			if err == nil && known {
				err = visit(r)
			}
			if err != nil {
				return err
			}
		}
		if page.Next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		q.Cursor = page.Next
	}
}

// recordOf is what the index has of a subject; false if it was never evaluated, or its work is under way.
func recordOf(ix *index.Index, s pratique.Subject) (pratique.Record, bool, error) {
	records, err := ix.Images(s.Digest)
	if pratique.KindOf(err) == pratique.NotFound {
		err = nil
	}
	for _, r := range records {
		if r.Subject == s {
			return r, true, err
		}
	}
	return pratique.Record{}, false, err
}

// ages reads when images were built from the facts about them.
type ages struct{ ledger *ledger.Ledger }

// Created implements [deploy.Ages]. An index is as old as the first of its platforms that says something.
func (a ages) Created(ctx context.Context, s pratique.Subject) (time.Time, error) {
	f, ok, err := a.ledger.Last(ctx, s, pratique.FactInspected)
	if err != nil || !ok {
		return time.Time{}, err
	}
	inspected := pratique.As[pratique.Inspected](f)
	if !inspected.Image.Created.IsZero() {
		return inspected.Image.Created, nil
	}
	for _, c := range inspected.Children {
		child, ok, err := a.ledger.Last(ctx, s.Sibling(c.Digest), pratique.FactInspected)
		if err != nil {
			return time.Time{}, err
		}
		if !ok {
			continue
		}
		if created := pratique.As[pratique.Inspected](child).Image.Created; !created.IsZero() {
			return created, nil
		}
	}
	return time.Time{}, nil
}
