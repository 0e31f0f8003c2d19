package pipeline

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/scanner"
)

// Rescan matches again what a new vulnerability database may have changed, and has the images evaluated again whose
// findings it did change. It is no stage with a queue: what is left to do is in the inventory, so a process may die
// anywhere, and the next one goes on. For an image whose answer is the same nothing is written.
type Rescan struct {
	Base
	Parts   Parts
	Images  OutdatedImages
	Matcher Matcher
	Facts   Facts
	Batches Batches
	// Database is the one in use; Diff compares the one with that digest to it.
	Database func() (scanner.DatabaseDir, error)
	Diff     func(ctx context.Context, from pratique.Digest, to scanner.DatabaseDir) (scanner.Delta, error)
	// Ready says whether the inventory knows what the ledger held when this process began.
	Ready func(ctx context.Context) (bool, error)
	// Requests is how many requests may be with the matcher at once, so that pushes find it free.
	Requests int
	// Again marks a call to the matcher that a process died of before, so that a fresh one does it.
	Again func(ctx context.Context) context.Context
	// Every is how often a new database, or anything else to do, is looked for.
	Every time.Duration
	Log   *slog.Logger

	// Narrow cuts parts down to what a delta concerns.
	Narrow Narrow

	narrowing *narrowing
	changes   changes
}

// Parts is what the inventory knows of the parts of inventories, and which of them are to be matched again.
type Parts interface {
	Rescan() (pratique.Rescan, error)
	Begin(db pratique.Database, d scanner.Delta, now time.Time) (pratique.Rescan, error)
	Todo(limit int) ([]scanner.Part, error)
	Matched(database pratique.Digest, all []scanner.Matched) error
}

// OutdatedImages are those whose report may say something else than the database in use.
type OutdatedImages interface {
	Outdated(limit int) ([]scanner.Outdated, error)
	Update(database pratique.Digest, all []scanner.Updated, changed, worse int) error
	Finish(database pratique.Digest, now time.Time) (pratique.Rescan, error)
}

// Facts records many facts at once: all are durable when it returns nil, in their order. After an error none or some
// may be.
type Facts interface {
	AppendAll(ctx context.Context, facts []pratique.Fact) error
}

// What is done between two looks at the database and at what waits: a push that comes meanwhile waits no longer for a
// child than a batch takes.
const (
	requestParts = 12
	batchParts   = 24 * requestParts // most of them wait for the disk at any time
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
	r, err := s.Parts.Rescan()
	if err != nil {
		return false, err
	}
	if r.To.Digest != db.Digest {
		return s.begin(ctx, r, db)
	}
	parts, err := s.Parts.Todo(batchParts)
	if err != nil {
		return false, err
	}
	if len(parts) > 0 {
		return true, s.match(ctx, parts, db)
	}
	images, err := s.Images.Outdated(batchImages)
	if err != nil {
		return false, err
	}
	if len(images) > 0 {
		return true, s.update(ctx, r, images)
	}
	if !r.FinishedAt.IsZero() {
		return false, nil
	}
	if r, err = s.Images.Finish(db.Digest, s.Now()); err != nil || r.FinishedAt.IsZero() {
		return false, err
	}
	s.narrowing.forget()
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescanning is over", append(describe(r), slog.Int("matched", r.Matched), slog.Int("failed", r.Failed),
		slog.Int("touched", r.Touched), slog.Int("changed", r.Changed), slog.Int("newlyAffected", r.NewlyAffected), slog.Int("aside", r.SetAside), slog.Duration("took", r.FinishedAt.Sub(r.StartedAt)))...)
	return false, nil
}

func describe(r pratique.Rescan) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("from", r.From.String()), slog.String("to", r.To.Digest.String()), slog.Int("names", r.Names),
		slog.Int("vulnerabilities", r.Vulnerabilities), slog.Int("lists", r.Lists), slog.Int("affected", r.Affected),
	}
	if r.Everything != "" {
		attrs = append(attrs, slog.String("everything", r.Everything))
	}
	return attrs
}

// begin goes over to a new database.
func (s *Rescan) begin(ctx context.Context, r pratique.Rescan, db scanner.DatabaseDir) (bool, error) {
	if ready, err := s.Ready(ctx); !ready || err != nil {
		return false, err
	}
	delta := scanner.Delta{Everything: "nothing is known of any database before"}
	if !r.To.Digest.IsZero() {
		var err error
		if delta, err = s.Diff(ctx, r.To.Digest, db); err != nil {
			return false, err
		}
	}
	// Only if nothing is left of the rescan before, all that is known holds for the database that was compared.
	s.narrowing = nil
	if delta.Everything == "" && !r.FinishedAt.IsZero() {
		s.narrowing = &narrowing{to: db.Digest, names: set(delta.Names), vulnerabilities: set(delta.Vulnerabilities)}
	}
	s.edge("rescan:before-begin")
	r, err := s.Parts.Begin(db.Database, delta, s.Now())
	if err != nil {
		return false, err
	}
	s.edge("rescan:after-begin")
	s.Log.LogAttrs(ctx, slog.LevelInfo, "rescanning begins", describe(r)...)
	return true, nil
}

func set(all []string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, s := range all {
		m[s] = true
	}
	return m
}

// match matches a batch of parts in several requests. What is done around a request is done for others meanwhile.
func (s *Rescan) match(ctx context.Context, parts []scanner.Part, db scanner.DatabaseDir) error {
	answers := make([]scanner.Matched, len(parts))
	group, groupCtx := errgroup.WithContext(ctx)
	free := make(chan struct{}, max(1, s.Requests))
	for from := 0; from < len(parts); from += requestParts {
		to := min(from+requestParts, len(parts))
		group.Go(func() error { return s.matchSome(groupCtx, parts[from:to], answers[from:to], db, free) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.edge("rescan:after-match")
	if err := s.Parts.Matched(db.Digest, answers); err != nil {
		return err
	}
	s.edge("rescan:after-matched")
	return nil
}

// matchSome matches parts in one request. If that fails because of one of them they are matched one by one, so that
// it fails alone.
func (s *Rescan) matchSome(ctx context.Context, parts []scanner.Part, answers []scanner.Matched, db scanner.DatabaseDir, free chan struct{}) error {
	err := s.request(ctx, parts, answers, db, free)
	if err == nil {
		return nil
	}
	if kind := pratique.KindOf(err); !isLost(err) && (kind == pratique.Unavailable || kind == pratique.RateLimited) || ctx.Err() != nil {
		return err
	}
	if len(parts) == 1 && pratique.KindOf(err) == pratique.Died && s.Again != nil {
		// Its cause is not known, as for a push.
		if err = s.request(s.Again(ctx), parts, answers, db, free); err == nil || passes(ctx, err) {
			return err
		}
	}
	if len(parts) == 1 {
		s.Log.LogAttrs(ctx, slog.LevelError, "a package list cannot be matched with the newest database",
			slog.String("list", parts[0].Digest.String()), slog.String("error", err.Error()))
		answers[0], err = s.unmatched(ctx, parts[0], err)
		return err
	}
	for i := range parts {
		if err := s.matchSome(ctx, parts[i:i+1], answers[i:i+1], db, free); err != nil {
			return err
		}
	}
	return nil
}

// unmatched is the answer about a part on which the matcher failed. Its images are not to keep verdicts of the time before,
// so a document takes the place of the findings and says that nothing is known of these packages: that denies.
func (s *Rescan) unmatched(ctx context.Context, p scanner.Part, cause error) (scanner.Matched, error) {
	answer := scanner.Matched{ID: p.ID, Failed: pratique.Excerpt(cause.Error(), mostText)}
	outline, err := scanner.LoadOutline(ctx, named{&s.Base}, p.Digest)
	switch {
	case err != nil && passes(ctx, err):
		return answer, err
	case err != nil:
		return answer, nil // without its list nothing can be said of it
	}
	covered := scanner.FailedCoverage(outline.Inventory)
	docs, err := scanner.FoundDocuments(nil, &covered)
	if err != nil {
		return answer, err
	}
	if err := s.putAll(ctx, docs); err != nil {
		return answer, err
	}
	answer.Findings = docs[len(docs)-1].Digest
	return answer, nil
}

func (s *Rescan) request(ctx context.Context, parts []scanner.Part, answers []scanner.Matched, db scanner.DatabaseDir, free chan struct{}) (err error) {
	defer pratique.Caught(pratique.Corrupt, "match list", &err)
	all := make([]narrowed, len(parts))
	for i, p := range parts {
		if all[i], err = s.prepare(ctx, p, db.Digest); err != nil {
			return err
		}
	}
	if err := s.ask(ctx, all, db, free); err != nil {
		return err
	}
	for i, n := range all {
		if answers[i], err = s.finish(ctx, parts[i], n); err != nil {
			return err
		}
	}
	return nil
}

// ask has all pieces matched whose answer is not known, in one request, when one is free.
func (s *Rescan) ask(ctx context.Context, all []narrowed, db scanner.DatabaseDir, free chan struct{}) error {
	if len(s.unanswered(all)) == 0 {
		return nil
	}
	select {
	case free <- struct{}{}:
		defer func() { <-free }()
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait for the matcher", "", context.Cause(ctx))
	}
	// While this request waited others may have asked the same.
	pieces := s.unanswered(all)
	if len(pieces) == 0 {
		return nil
	}
	var asked []pratique.Inventory
	var keys []pratique.Digest
	places := map[pratique.Digest]int{} // of what is asked once for several lists
	at := make([]int, len(pieces))
	for i, p := range pieces {
		place, ok := places[p.key]
		if !ok || p.key.IsZero() {
			place = len(asked)
			places[p.key] = place
			asked, keys = append(asked, p.inventory), append(keys, p.key)
		}
		at[i] = place
	}
	reports, err := s.Matcher.Match(ctx, asked, db)
	if err != nil {
		return err
	}
	if len(reports) != len(asked) {
		return pratique.Errorf(pratique.Internal, "match inventory", "%d reports on %d parts", len(reports), len(asked))
	}
	answers := make([][]scanner.Found, len(asked))
	for i, r := range reports {
		if answers[i], err = scanner.Divide(r.Findings); err != nil {
			return err
		}
		if !keys[i].IsZero() {
			s.narrowing.learn(keys[i], answers[i])
		}
	}
	for i, p := range pieces {
		p.found, p.covered, p.known = answers[at[i]], reports[at[i]].Coverage, true
	}
	return nil
}

// unanswered returns the pieces whose answer is not known, and gives the others theirs.
func (s *Rescan) unanswered(all []narrowed) []*piece {
	var open []*piece
	for i := range all {
		for j := range all[i].pieces {
			p := &all[i].pieces[j]
			if !p.key.IsZero() && !p.known {
				p.found, p.known = s.narrowing.answer(p.key)
			}
			if !p.known {
				open = append(open, p)
			}
		}
	}
	return open
}
