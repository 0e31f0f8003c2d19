package rescanning

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// batch is a batch of lists that are matched against one database.
type batch struct {
	*Rescan
	db    scanner.DatabaseDir
	slots chan struct{} // bounds the requests to the matcher
}

// match matches a batch of lists in several requests. While the matcher has one, others read and
// write documents.
func (s *Rescan) match(ctx context.Context, lists []rescan.List, db scanner.DatabaseDir) error {
	results := make([]rescan.ListResult, len(lists))
	b := batch{s, db, make(chan struct{}, max(1, s.Requests))}
	group, groupCtx := errgroup.WithContext(ctx)
	for from := 0; from < len(lists); from += listsPerRequest {
		to := min(from+listsPerRequest, len(lists))
		group.Go(func() error { return b.matchLists(groupCtx, lists[from:to], results[from:to]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.AtEdge("rescan:after-match")
	if err := s.Lists.Matched(db.Digest, results); err != nil {
		return err
	}
	s.AtEdge("rescan:after-matched")
	return nil
}

// matchLists matches lists in one request. If the request fails because of a list, the lists are
// matched one by one, so that only that list fails.
func (b batch) matchLists(ctx context.Context, lists []rescan.List, results []rescan.ListResult) error {
	err := b.request(ctx, lists, results)
	if err == nil || isTransient(ctx, err) {
		return err
	}
	if len(lists) > 1 {
		for i := range lists {
			if err := b.matchLists(ctx, lists[i:i+1], results[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if pratique.KindOf(err) == pratique.Died && b.Isolated != nil { // the cause is unknown, as for a push
		if err = b.request(b.Isolated(ctx), lists, results); err == nil || isTransient(ctx, err) {
			return err
		}
	}
	b.Log.LogAttrs(ctx, slog.LevelError, "a package list cannot be matched with the newest database",
		slog.String("list", lists[0].Digest.String()), slog.String("error", err.Error()))
	results[0], err = b.unmatched(ctx, lists[0], err)
	return err
}

// request matches lists in one request, and stores the findings.
func (b batch) request(ctx context.Context, lists []rescan.List,
	results []rescan.ListResult) (err error) {
	defer pratique.Caught(pratique.Corrupt, "match list", &err)
	change := b.change
	if change != nil && change.To != b.db.Digest {
		change = nil
	}
	questions := make([]rescan.Question, len(lists))
	for i, l := range lists {
		if questions[i], err = rescan.LoadQuestion(ctx, b.recorded(), l, change); err != nil {
			return pipeline.LostIfCorrupt(err)
		}
	}
	request := rescan.NewRequest(questions, change)
	if len(request.Pending()) > 0 {
		if err := b.send(ctx, request); err != nil {
			return err
		}
	}
	for i, l := range lists {
		found, err := request.Findings(i)
		if err != nil {
			return err
		}
		if err := pipeline.PutAll(ctx, b.Documents, found.Documents); err != nil {
			return err
		}
		if found.Difference != nil {
			b.comparisons.Put(l.Findings, found.Digest, *found.Difference)
		}
		results[i] = rescan.ListResult{ID: l.ID, Findings: found.Digest,
			Vulnerabilities: found.Vulnerabilities}
	}
	return nil
}

// send sends a request to the matcher once it has a free slot. Another request may have answered
// the same questions by then.
func (b batch) send(ctx context.Context, request *rescan.Request) error {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return pratique.Wrap(pratique.Unavailable, "wait for the matcher", "", context.Cause(ctx))
	}
	open := request.Pending()
	if len(open) == 0 {
		return nil
	}
	reports, err := b.Matcher.Match(ctx, open, b.db)
	if err != nil {
		return err
	}
	return request.SetReports(reports)
}

// unmatched is the result for a list that the matcher failed on. If its document is lost, too, the
// result has no findings.
func (b batch) unmatched(ctx context.Context, l rescan.List, cause error) (rescan.ListResult, error) {
	result := rescan.ListResult{ID: l.ID, Failed: pipeline.Excerpt(cause.Error())}
	list, err := scanner.LoadListDocument(ctx, b.recorded(), l.Digest)
	if err != nil {
		if !isTransient(ctx, err) {
			err = nil
		}
		return result, err
	}
	found, err := rescan.Failed(list)
	if err == nil {
		err = pipeline.PutAll(ctx, b.Documents, found.Documents)
	}
	result.Findings = found.Digest
	return result, err
}

// recorded reads documents that facts name.
func (s *Rescan) recorded() pipeline.Recorded { return pipeline.Recorded{Documents: s.Documents} }
