package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/cmd/pratique/adapter"
	"github.com/pratique-dev/pratique/cmd/pratique/service/journal"
	"github.com/pratique-dev/pratique/cmd/pratique/service/operate"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/pipeline/deploying"
	"github.com/pratique-dev/pratique/internal/projection"
	"github.com/pratique-dev/pratique/internal/telemetry"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/reconcile"
	"github.com/pratique-dev/pratique/scanner"
)

// Query answers what is known of images, tags and events, to people and to the other roles. It
// holds no credentials but the tokens of those who ask.
type Query struct {
	*Shared
	auth  api.Auth
	index *index.Index
	// indexing keeps the index in step with the ledger.
	indexing *projection.Projection
}

// elsewhere is what the API tells or asks for and other roles have.
type elsewhere struct {
	digest   func(context.Context, pratique.ImageRef) (pratique.Digest, error)
	paused   func(pratique.Repository) time.Duration
	refused  func() ([]outbox.Refused, error)
	outbox   func() pratique.OutboxStats
	sweeps   *reconcile.Reconciler
	places   func(context.Context, ...pratique.Repository) ([]pratique.TargetPlaces, error)
	profiles []pratique.Profile
	database func() (scanner.DatabaseDir, error)
	rescan   func() *api.Rescan
	notReady func(context.Context) string
}

func openQuery(ctx context.Context, s *Shared, conf config.Config) (*Query, error) {
	q := &Query{Shared: s, auth: settings.Auth(conf)}
	if err := q.auth.Validate(); err != nil {
		return nil, fmt.Errorf("api.tokens: %w", err)
	}
	var err error
	q.index, q.indexing, err = openProjection(ctx, s, "index", index.Open, index.Remove)
	return q, err
}

// follow keeps the index up to date with the ledger. Without it nothing should be accepted any more.
func (q *Query) follow(ctx context.Context) error {
	return q.indexing.Follow(ctx, func(e pratique.Entry, live bool) {
		switch {
		case e.Err != nil:
			q.log.LogAttrs(ctx, slog.LevelWarn, "the ledger has an entry that cannot be read",
				slog.String("error", e.Err.Error()))
		case live: // a replay tells nothing new
			journal.Fact(ctx, q.log, e.Fact)
		}
	})
}

// handler is that of /api/ and of the OpenAPI document.
func (q *Query) handler(others elsewhere) (http.Handler, error) {
	intake := q.intake(pratique.RoleQuery)
	operator := operate.Operator{Broker: q.Broker, Intake: intake,
		Recorder: q.recorder(pratique.RoleOperate), Refused: others.refused, Paused: others.paused}
	return api.New(api.Config{
		Images: q.index, Events: q.index, Documents: q.Documents, Deployments: q.index.Deployments,
		Report: q.report, Submit: intake.Submit, Digest: others.digest,
		Reconcile: others.sweeps, Auth: q.auth, Now: q.now,
		Operate: operator, Places: others.places, NextAttempt: operator.NextAttempt,
		NotReady: func(ctx context.Context) string {
			if not := others.notReady(ctx); not != "" {
				return not
			}
			return projected(ctx, "index", q.indexing) // answers would leave out what happened
		},
		Describe: func(ctx context.Context) (api.Service, error) { return q.describe(ctx, others), nil },
		OnError: func(r *http.Request, err error) {
			q.log.LogAttrs(r.Context(), slog.LevelError, "request failed",
				slog.String("path", r.URL.Path), slog.String("error", err.Error()))
		},
	}), nil
}

// describe tells about the service.
func (q *Query) describe(ctx context.Context, others elsewhere) api.Service {
	about := api.Service{Version: settings.Version(), Profiles: others.profiles, Rescan: others.rescan()}
	if db, err := others.database(); err == nil {
		about.Database = &db.Database
	}
	box := others.outbox()
	about.Outbox = &box
	var err error
	if about.Queues, err = q.Broker.Pending(ctx); err != nil {
		// The rest is worth knowing all the more.
		q.log.LogAttrs(ctx, slog.LevelWarn, "the queues cannot be read",
			slog.String("error", err.Error()))
	}
	return about
}

// report is a report as the API gives it: whole, and with the time of the fact that names it.
func (q *Query) report(ctx context.Context, of pratique.Scanned) ([]byte, error) {
	r, err := scanner.LoadReport(ctx, q.Documents, of)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	return raw, pratique.Wrap(pratique.Internal, "encode report", of.Report.String(), err)
}

// attestedAt is when an image was evaluated that was allowed and attested, zero for others.
func (q *Query) attestedAt(subject pratique.Subject) (time.Time, error) {
	r, known, err := adapter.Record(q.index, subject)
	if !known || r.Attested == nil || r.Evaluated == nil ||
		r.Evaluated.Verdict.Outcome != pratique.Allow {
		return time.Time{}, err
	}
	return r.Evaluated.Verdict.EvaluatedAt, err
}

// deployed finds the images that have been deployed.
func (q *Query) deployed() deploying.Records { return adapter.Deployed{Index: q.index} }

// maxDenials bounds what is counted for one scrape.
const maxDenials = 10_000

// denialMetrics are the denials that no registry shows.
func (q *Query) denialMetrics(context.Context) (telemetry.Denials, error) {
	all, _, err := q.index.Denials(pratique.Subject{}, maxDenials)
	if err != nil {
		return telemetry.Denials{}, err
	}
	f := telemetry.Denials{Pending: len(all)}
	for _, d := range all {
		f.OldestAge = max(f.OldestAge, q.age(d.Since))
	}
	return f, nil
}
