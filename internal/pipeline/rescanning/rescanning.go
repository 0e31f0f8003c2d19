// Package rescanning matches again what a new vulnerability database may have changed, and has the
// images evaluated again whose findings did change. Package scanner/rescan decides what that is;
// this package schedules it. There is no queue: the inventory projection knows what is left to do,
// so a process may die anywhere and the next one continues. Nothing is written about an image for
// which nothing changed.
package rescanning

import (
	"context"
	"log/slog"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// Rescan schedules rescans.
type Rescan struct {
	pipeline.Process
	Documents pipeline.Documents
	Lists     Lists
	Images    StaleImages
	Matcher   pipeline.Matcher
	Facts     FactWriter
	Batches   pipeline.Batches
	// Database is the one in use. Diff compares the database of a digest with it.
	Database func() (scanner.DatabaseDir, error)
	Diff     func(ctx context.Context, from pratique.Digest, to scanner.DatabaseDir) (rescan.Delta, error)
	// Lookup allows to match parts of lists.
	Lookup rescan.Lookup
	// Ready reports whether the inventory projection has read what the ledger held when this process
	// started.
	Ready func(ctx context.Context) (bool, error)
	// Requests is how many requests the matcher gets at a time. The rest of it is left to pushes.
	Requests int
	// Isolated, if set, marks a request that failed because a process died. It is repeated in a
	// fresh process.
	Isolated func(ctx context.Context) context.Context
	// Interval is the time between two looks for a new database, or for other work.
	Interval time.Duration
	Log      *slog.Logger

	// change is the rescan that this process began. A rescan that another process began is continued
	// with whole lists.
	change      *rescan.Change
	comparisons rescan.Comparisons
}

// Lists are the package lists that the inventory projection knows, and those to be matched again.
type Lists interface {
	Rescan() (pratique.Rescan, error)
	Begin(db pratique.Database, d rescan.Delta, now time.Time) (pratique.Rescan, error)
	Pending(limit int) ([]rescan.List, error)
	Matched(database pratique.Digest, all []rescan.ListResult) error
}

// StaleImages are images whose reports may differ from what the database in use gives.
type StaleImages interface {
	Stale(limit int) ([]rescan.StaleImage, error)
	Update(database pratique.Digest, all []rescan.ImageResult, changed, worse int) error
	Finish(database pratique.Digest, now time.Time) (pratique.Rescan, error)
}

// FactWriter records many facts at once. When AppendAll returns nil all are durable, in their order.
// After an error none or some may be.
type FactWriter interface {
	AppendAll(ctx context.Context, facts []pratique.Fact) error
}

// Sizes of batches. Between batches, a newer database is looked for and pushes go first, so a push
// never waits longer than one batch.
const (
	listsPerRequest = 12
	listsPerBatch   = 24 * listsPerRequest // most of them wait for the disk at any time
	imagesPerBatch  = 500
)

// Run works until ctx ends. After an error it waits, up to a minute.
func (s *Rescan) Run(ctx context.Context) error {
	failures := 0
	for {
		more, err := s.step(ctx)
		wait := s.Interval
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			wait = backoff.Backoff{Min: 2 * s.Interval, Max: time.Minute}.Delay(failures, 0)
			s.Log.LogAttrs(ctx, slog.LevelWarn, "rescan interrupted",
				slog.String("error", err.Error()), slog.Duration("retryIn", wait))
		default:
			failures = 0
		}
		if more && err == nil {
			continue
		}
		if backoff.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// step does one batch of work, and reports whether there may be more.
func (s *Rescan) step(ctx context.Context) (more bool, err error) {
	db, err := s.Database()
	if err != nil {
		return false, nil // there is no database yet, and others say so
	}
	p, err := s.Lists.Rescan()
	if err != nil {
		return false, err
	}
	if p.To.Digest != db.Digest {
		return s.begin(ctx, p, db)
	}
	lists, err := s.Lists.Pending(listsPerBatch)
	if err != nil {
		return false, err
	}
	if len(lists) > 0 {
		return true, s.match(ctx, lists, db)
	}
	images, err := s.Images.Stale(imagesPerBatch)
	if err != nil {
		return false, err
	}
	if len(images) > 0 {
		return true, s.update(ctx, p, images)
	}
	if !p.FinishedAt.IsZero() {
		return false, nil
	}
	if p, err = s.Images.Finish(db.Digest, s.Now()); err != nil || p.FinishedAt.IsZero() {
		return false, err
	}
	s.change = nil
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescan finished",
		append(describe(p), slog.Int("matched", p.Matched), slog.Int("failed", p.Failed),
			slog.Int("touched", p.Touched), slog.Int("changed", p.Changed),
			slog.Int("newlyAffected", p.NewlyAffected), slog.Int("setAside", p.SetAside),
			slog.Duration("duration", p.FinishedAt.Sub(p.StartedAt)))...)
	return false, nil
}

func describe(p pratique.Rescan) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("from", p.From.String()), slog.String("to", p.To.Digest.String()),
		slog.Int("names", p.Names),
		slog.Int("vulnerabilities", p.Vulnerabilities), slog.Int("lists", p.Lists),
		slog.Int("affected", p.Affected),
	}
	if p.Everything != "" {
		attrs = append(attrs, slog.String("fullRescan", p.Everything))
	}
	return attrs
}

// begin begins the rescan for a new database.
func (s *Rescan) begin(ctx context.Context, p pratique.Rescan, db scanner.DatabaseDir) (bool, error) {
	if ready, err := s.Ready(ctx); !ready || err != nil {
		return false, err
	}
	delta := rescan.Delta{Everything: "there is no earlier database to compare with"}
	if !p.To.Digest.IsZero() {
		var err error
		if delta, err = s.Diff(ctx, p.To.Digest, db); err != nil {
			return false, err
		}
	}
	// If the rescan before has not finished, some findings do not hold for the database that the new
	// one was compared with.
	s.change = nil
	if !p.FinishedAt.IsZero() {
		s.change = rescan.NewChange(db.Digest, delta, s.Lookup)
	}
	s.AtEdge("rescan:before-begin")
	p, err := s.Lists.Begin(db.Database, delta, s.Now())
	if err != nil {
		return false, err
	}
	s.AtEdge("rescan:after-begin")
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescan started", describe(p)...)
	return true, nil
}

// isTransient reports whether an error is no fault of the image or list, and may pass.
func isTransient(ctx context.Context, err error) bool {
	switch pratique.KindOf(err) {
	case pratique.Unavailable, pratique.RateLimited, pratique.Denied:
		return !pipeline.IsLost(err)
	}
	return ctx.Err() != nil
}
