package pipeline

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// Rescan matches again what a new vulnerability database may have changed, and has the images evaluated
// again whose findings it did change. What it means is decided by the package rescan; here it is scheduled.
// There is no queue: what is left to do is in the inventory, so a process may die anywhere and the next one
// goes on. Nothing is written about an image that nothing changed for.
type Rescan struct {
	Base
	Lists   Lists
	Images  StaleImages
	Matcher Matcher
	Facts   Facts
	Batches Batches
	// Database is the one in use; Diff compares the one with that digest to it.
	Database func() (scanner.DatabaseDir, error)
	Diff     func(ctx context.Context, from pratique.Digest, to scanner.DatabaseDir) (rescan.Delta, error)
	// Lookup allows to match less than whole lists.
	Lookup rescan.Lookup
	// Ready says whether the inventory knows what the ledger held when this process began.
	Ready func(ctx context.Context) (bool, error)
	// Requests is how many requests may be with the matcher at once, so that pushes find it free.
	Requests int
	// Again marks a call to the matcher that a process died of before, so that a fresh one does it.
	Again func(ctx context.Context) context.Context
	// Every is how often a new database, or anything else to do, is looked for.
	Every time.Duration
	Log   *slog.Logger

	// change is the rescan that this process began. One that goes on with what another began matches whole lists.
	change      *rescan.Change
	comparisons rescan.Comparisons
}

// Lists is what the inventory knows of package lists, and of what is to be matched again.
type Lists interface {
	Rescan() (pratique.Rescan, error)
	Begin(db pratique.Database, d rescan.Delta, now time.Time) (pratique.Rescan, error)
	Pending(limit int) ([]rescan.List, error)
	Matched(database pratique.Digest, all []rescan.ListResult) error
}

// StaleImages are those whose report may not be what the database in use gives.
type StaleImages interface {
	Stale(limit int) ([]rescan.StaleImage, error)
	Update(database pratique.Digest, all []rescan.ImageResult, changed, worse int) error
	Finish(database pratique.Digest, now time.Time) (pratique.Rescan, error)
}

// Facts records many facts at once: all are durable when it returns nil, in their order. After an error none or some
// may be.
type Facts interface {
	AppendAll(ctx context.Context, facts []pratique.Fact) error
}

// The sizes of batches. Between batches a newer database is looked for and pushes go first, so that a push
// never waits for longer than one batch takes.
const (
	requestLists = 12
	batchLists   = 24 * requestLists // most of them wait for the disk at any time
	batchImages  = 500
)

// Run works until ctx ends. What fails is tried again after a pause that grows to a minute.
func (s *Rescan) Run(ctx context.Context) error {
	failures := 0
	for {
		more, err := s.step(ctx)
		wait := s.Every
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			wait = backoff.Backoff{Min: 2 * s.Every, Max: time.Minute}.Delay(failures, 0)
			s.Log.LogAttrs(ctx, slog.LevelWarn, "rescanning is interrupted", slog.String("error", err.Error()), slog.Duration("again", wait))
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

// step does one batch of what there is to do; more is false if there was nothing.
func (s *Rescan) step(ctx context.Context) (more bool, err error) {
	db, err := s.Database()
	if err != nil {
		return false, nil // there is none yet, which others tell
	}
	p, err := s.Lists.Rescan()
	if err != nil {
		return false, err
	}
	if p.To.Digest != db.Digest {
		return s.begin(ctx, p, db)
	}
	lists, err := s.Lists.Pending(batchLists)
	if err != nil {
		return false, err
	}
	if len(lists) > 0 {
		return true, s.match(ctx, lists, db)
	}
	images, err := s.Images.Stale(batchImages)
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
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescanning is over", append(describe(p), slog.Int("matched", p.Matched), slog.Int("failed", p.Failed),
		slog.Int("touched", p.Touched), slog.Int("changed", p.Changed), slog.Int("newlyAffected", p.NewlyAffected), slog.Int("aside", p.SetAside), slog.Duration("took", p.FinishedAt.Sub(p.StartedAt)))...)
	return false, nil
}

func describe(p pratique.Rescan) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("from", p.From.String()), slog.String("to", p.To.Digest.String()), slog.Int("names", p.Names),
		slog.Int("vulnerabilities", p.Vulnerabilities), slog.Int("lists", p.Lists), slog.Int("affected", p.Affected),
	}
	if p.Everything != "" {
		attrs = append(attrs, slog.String("everything", p.Everything))
	}
	return attrs
}

// begin goes over to a new database.
func (s *Rescan) begin(ctx context.Context, p pratique.Rescan, db scanner.DatabaseDir) (bool, error) {
	if ready, err := s.Ready(ctx); !ready || err != nil {
		return false, err
	}
	delta := rescan.Delta{Everything: "nothing is known of any database before"}
	if !p.To.Digest.IsZero() {
		var err error
		if delta, err = s.Diff(ctx, p.To.Digest, db); err != nil {
			return false, err
		}
	}
	// Unless the rescan before is over, some of what is known does not hold for the database that was compared.
	s.change = nil
	if !p.FinishedAt.IsZero() {
		s.change = rescan.NewChange(db.Digest, delta, s.Lookup)
	}
	s.edge("rescan:before-begin")
	p, err := s.Lists.Begin(db.Database, delta, s.Now())
	if err != nil {
		return false, err
	}
	s.edge("rescan:after-begin")
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescanning begins", describe(p)...)
	return true, nil
}

// match matches a batch of lists in several requests. While one is with the matcher others read and write.
func (s *Rescan) match(ctx context.Context, lists []rescan.List, db scanner.DatabaseDir) error {
	results := make([]rescan.ListResult, len(lists))
	group, groupCtx := errgroup.WithContext(ctx)
	free := make(chan struct{}, max(1, s.Requests))
	for from := 0; from < len(lists); from += requestLists {
		to := min(from+requestLists, len(lists))
		group.Go(func() error { return s.matchSome(groupCtx, lists[from:to], results[from:to], db, free) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.edge("rescan:after-match")
	if err := s.Lists.Matched(db.Digest, results); err != nil {
		return err
	}
	s.edge("rescan:after-matched")
	return nil
}

// matchSome matches lists in one request. If it fails because of one of them, they are matched one by one,
// so that one list fails alone.
func (s *Rescan) matchSome(ctx context.Context, lists []rescan.List, results []rescan.ListResult, db scanner.DatabaseDir, free chan struct{}) error {
	err := s.request(ctx, lists, results, db, free)
	if err == nil || passes(ctx, err) {
		return err
	}
	if len(lists) > 1 {
		for i := range lists {
			if err := s.matchSome(ctx, lists[i:i+1], results[i:i+1], db, free); err != nil {
				return err
			}
		}
		return nil
	}
	if pratique.KindOf(err) == pratique.Died && s.Again != nil { // its cause is not known, as for a push
		if err = s.request(s.Again(ctx), lists, results, db, free); err == nil || passes(ctx, err) {
			return err
		}
	}
	s.Log.LogAttrs(ctx, slog.LevelError, "a package list cannot be matched with the newest database",
		slog.String("list", lists[0].Digest.String()), slog.String("error", err.Error()))
	results[0], err = s.unmatched(ctx, lists[0], err)
	return err
}

// request matches lists in one request, and stores what is found.
func (s *Rescan) request(ctx context.Context, lists []rescan.List, results []rescan.ListResult, db scanner.DatabaseDir, free chan struct{}) (err error) {
	defer pratique.Caught(pratique.Corrupt, "match list", &err)
	change := s.change
	if change != nil && change.To != db.Digest {
		change = nil
	}
	questions := make([]rescan.Question, len(lists))
	for i, l := range lists {
		if questions[i], err = rescan.LoadQuestion(ctx, named{&s.Base}, l, change); err != nil {
			return orLost(err)
		}
	}
	request := rescan.NewRequest(questions, change)
	if len(request.Pending()) > 0 {
		if err := s.put(ctx, request, db, free); err != nil {
			return err
		}
	}
	for i, l := range lists {
		found, err := request.Findings(i)
		if err != nil {
			return err
		}
		if err := s.putAll(ctx, found.Documents); err != nil {
			return err
		}
		if found.Difference != nil {
			s.comparisons.Put(l.Findings, found.Digest, *found.Difference)
		}
		results[i] = rescan.ListResult{ID: l.ID, Findings: found.Digest, Vulnerabilities: found.Vulnerabilities}
	}
	return nil
}

// put has the matcher answer a request, once it is free. Others may have asked the same by then.
func (s *Rescan) put(ctx context.Context, request *rescan.Request, db scanner.DatabaseDir, free chan struct{}) error {
	select {
	case free <- struct{}{}:
		defer func() { <-free }()
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait for the matcher", "", context.Cause(ctx))
	}
	open := request.Pending()
	if len(open) == 0 {
		return nil
	}
	reports, err := s.Matcher.Match(ctx, open, db)
	if err != nil {
		return err
	}
	return request.SetReports(reports)
}

// unmatched is the result for a list on which the matcher failed. Without its document there are no findings.
func (s *Rescan) unmatched(ctx context.Context, l rescan.List, cause error) (rescan.ListResult, error) {
	result := rescan.ListResult{ID: l.ID, Failed: pratique.Excerpt(cause.Error(), mostText)}
	list, err := scanner.LoadListDocument(ctx, named{&s.Base}, l.Digest)
	if err != nil {
		if !passes(ctx, err) {
			err = nil
		}
		return result, err
	}
	found, err := rescan.Failed(list)
	if err == nil {
		err = s.putAll(ctx, found.Documents)
	}
	result.Findings = found.Digest
	return result, err
}
