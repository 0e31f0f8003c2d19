package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// SourceRematch is the source of the events that re-matching makes: nobody pushed.
const SourceRematch = "rematch"

// outcome is what re-matching makes of one image: a new report, facts about it, and who is to be judged again. Of an
// image whose answer is the same, all but settled is empty.
type outcome struct {
	settled scanner.Settled
	report  scanner.Document
	facts   []pratique.Fact
	jobs    []Message
	changed bool
	worse   bool
}

// settle deals with a batch of outdated images: documents first, then facts, then the jobs that read them, and at last
// the note that it is done. After a crash in between the batch is done again. The documents are the same then, an
// image whose facts are recorded gets no others, and a job that is enqueued twice is one.
func (s *Rematch) settle(ctx context.Context, r scanner.Rematch, images []scanner.Outdated) error {
	var facts []pratique.Fact
	var jobs []Message
	var settled []scanner.Settled
	changed, worse := 0, 0
	outcomes := make([]outcome, len(images))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() (err error) {
			if outcomes[i], err = s.outcome(groupCtx, r, image); err == nil && len(outcomes[i].facts) > 0 {
				_, err = s.Documents.Put(groupCtx, outcomes[i].report.Content)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, o := range outcomes {
		facts, jobs, settled = append(facts, o.facts...), append(jobs, o.jobs...), append(settled, o.settled)
		if o.changed {
			changed++
		}
		if o.worse {
			worse++
		}
	}
	if len(facts) > 0 {
		s.edge("rematch:before-facts")
		if err := s.Facts.AppendAll(ctx, facts); err != nil {
			return err
		}
		s.edge("rematch:after-facts")
	}
	if len(jobs) > 0 {
		if err := s.Batches.EnqueueAll(ctx, StageAttest, jobs); err != nil {
			return err
		}
		s.edge("rematch:after-jobs")
	}
	return s.Images.Settle(r.To.Digest, settled, changed, worse)
}

// atOnce is how many documents are read or written side by side: each waits for the disk.
const atOnce = 24

// outcome compares what the newest report on an image says with what holds now.
func (s *Rematch) outcome(ctx context.Context, r scanner.Rematch, image scanner.Outdated) (outcome, error) {
	same := outcome{settled: scanner.Settled{ID: image.ID, Report: image.Report}}
	unchanged := slices.Equal(image.Before, image.Now)
	if unchanged && !(image.Refresh && image.Database != r.To.Digest) {
		// The facts may be recorded, and the process have died before it asked for a new verdict.
		if len(image.Judge) > 0 && image.Event == rematchEvent(r, image.Judge[0], image.Report).ID {
			var err error
			same.jobs, err = rejudge(r, image.Judge, image.Report)
			return same, err
		}
		return same, nil
	}
	if len(image.Judge) == 0 || !image.Judged || len(image.Now) == 0 {
		// Nobody judged it yet, and who will sees that its report is old; or a part of it could not be matched, which
		// is logged. Its verdicts grow too old to be acted on.
		return same, nil
	}
	header, _, err := scanner.ReportParts(ctx, named{&s.Base}, image.Report)
	if isLost(orLost(err)) {
		return same, nil // the next push makes it anew
	}
	if err != nil {
		return outcome{}, err
	}
	// The time is that of the whole re-match, so that doing it again gives the same bytes.
	header.Inventory, header.Database, header.MatchedAt = image.Inventory, r.To, r.StartedAt
	header.DatabaseAgeSeconds = int64(r.To.Age(r.StartedAt) / time.Second)
	doc, err := scanner.ReportDocument(header, image.Now)
	if err != nil {
		return outcome{}, err
	}
	change, err := s.changes.of(ctx, named{&s.Base}, image.Before, image.Now)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{report: doc, changed: !unchanged, worse: len(change.added) > 0}
	event := rematchEvent(r, image.Judge[0], doc.Digest).ID
	o.settled = scanner.Settled{ID: image.ID, Report: doc.Digest, Findings: image.Now, Event: event}
	fact := func(f pratique.Fact) {
		f.Subject, f.Event, f.At, f.By = image.Subject, event, s.Now().UTC(), StageInspect+"@"+s.Instance
		o.facts = append(o.facts, f)
	}
	if o.worse { // first: where the other fact is, this one is, too
		fact(pratique.Fact{Kind: pratique.FactAffected, Affected: &pratique.Affected{
			Report: doc.Digest, Before: image.Report, Database: r.To, Total: len(change.added),
			Findings: change.added[:min(len(change.added), pratique.MaxAffected)],
		}})
	}
	fact(pratique.Fact{Kind: pratique.FactMatched, Matched: &pratique.Matched{
		Report: doc.Digest, Inventory: image.Inventory, Database: r.To, Counts: change.counts, Fixable: change.fixable, StartedAt: r.StartedAt,
	}})
	if o.changed {
		o.jobs, err = rejudge(r, image.Judge, doc.Digest)
	}
	return o, err
}

// rematchEvent is the event that a new report makes for a subject. Its push is the subject's newest, so that it never
// overtakes one that came later. The id depends on the report, too: a second platform of an index whose report comes
// later has the index judged once more.
func rematchEvent(r scanner.Rematch, p scanner.Pushed, report pratique.Digest) pratique.Event {
	ref := pratique.ImageRef{Repository: p.Subject.Repository, Tag: p.Ref.Tag, Digest: p.Subject.Digest}
	return pratique.Event{
		ID:  pratique.EventID(SourceRematch, ref, r.To.Digest.String()+report.String()),
		Ref: ref, Source: SourceRematch, Lane: pratique.LaneRescan, OccurredAt: p.At, ReceivedAt: r.StartedAt,
	}
}

// rejudge makes the jobs that judge subjects again.
func rejudge(r scanner.Rematch, judge []scanner.Pushed, report pratique.Digest) ([]Message, error) {
	var jobs []Message
	for _, p := range judge {
		w := Work{Event: rematchEvent(r, p, report), Subject: p.Subject}
		body, err := json.Marshal(w)
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode work", w.Event.ID, err)
		}
		jobs = append(jobs, Message{Lane: w.Event.Lane, ID: w.Event.ID + "." + StageAttest, Body: body})
	}
	return jobs, nil
}
