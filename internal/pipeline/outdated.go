package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// SourceRescan is the source of the events that rescanning makes: nobody pushed.
const SourceRescan = "rescan"

// outcome is what rescanning makes of one image: a new report, facts about it, and who is to be evaluated again. Of an
// image whose answer is the same, all but updated is empty.
type outcome struct {
	updated scanner.Updated
	report  scanner.Document
	facts   []pratique.Fact
	jobs    []pratique.Message
	changed bool
	worse   bool
}

// update deals with a batch of outdated images: documents first, then facts, then the jobs that read them, and at last
// the note that it is done. After a crash in between the batch is done again. The documents are the same then, an
// image whose facts are recorded gets no others, and a job that is enqueued twice is one.
//
// An image is not in the way of the others, whatever is wrong with it: it is set aside.
func (s *Rescan) update(ctx context.Context, r pratique.Rescan, images []scanner.Outdated) error {
	outcomes := make([]outcome, len(images))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() (err error) {
			outcomes[i], err = s.look(groupCtx, r, image)
			if err != nil && !passes(groupCtx, err) {
				outcomes[i], err = s.aside(r, image, err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.publish(ctx, outcomes); err != nil {
		if passes(ctx, err) {
			return err
		}
		// It is the fault of one of them.
		for i := range outcomes {
			if err := s.publish(ctx, outcomes[i:i+1]); err != nil && passes(ctx, err) {
				return err
			} else if err != nil {
				outcomes[i] = s.aside(r, images[i], err)
				if err := s.publish(ctx, outcomes[i:i+1]); err != nil {
					return err
				}
			}
		}
	}
	var updated []scanner.Updated
	changed, worse := 0, 0
	for i, o := range outcomes {
		updated = append(updated, o.updated)
		if o.changed {
			changed++
		}
		if o.worse {
			worse++
		}
		if o.updated.Failed != "" {
			s.Log.LogAttrs(ctx, slog.LevelError, "an image is set aside: it cannot be looked at with the newest database",
				slog.String("subject", images[i].Subject.String()), slog.String("error", o.updated.Failed))
		}
	}
	return s.Images.Update(r.To.Digest, updated, changed, worse)
}

// look finds the outcome of one image and stores its report.
func (s *Rescan) look(ctx context.Context, r pratique.Rescan, image scanner.Outdated) (o outcome, err error) {
	defer pratique.Caught(pratique.Corrupt, "look at image", &err)
	if o, err = s.outcome(ctx, r, image); err == nil && len(o.facts) > 0 {
		_, err = s.Documents.Put(ctx, o.report.Content)
	}
	return o, err
}

// publish records the facts of some outcomes, and asks for their jobs.
func (s *Rescan) publish(ctx context.Context, outcomes []outcome) error {
	var facts []pratique.Fact
	var jobs []pratique.Message
	for _, o := range outcomes {
		facts, jobs = append(facts, o.facts...), append(jobs, o.jobs...)
	}
	if len(facts) > 0 {
		s.edge("rescan:before-facts")
		if err := s.Facts.AppendAll(ctx, facts); err != nil {
			return err
		}
		s.edge("rescan:after-facts")
	}
	if len(jobs) > 0 {
		if err := s.Batches.PublishBatch(ctx, pratique.StageAttest, jobs); err != nil {
			return err
		}
		s.edge("rescan:after-jobs")
	}
	return nil
}

// passes says whether an error is nobody's fault, and may pass.
func passes(ctx context.Context, err error) bool {
	switch pratique.KindOf(err) {
	case pratique.Unavailable, pratique.RateLimited, pratique.Denied:
		return !isLost(err)
	}
	return ctx.Err() != nil
}

// aside is the outcome of an image that could not be dealt with: it keeps its report, and a fact says so.
func (s *Rescan) aside(r pratique.Rescan, image scanner.Outdated, cause error) outcome {
	failed := pratique.Failed{
		Stage: pratique.StageRescan, Kind: pratique.KindOf(cause), Message: pratique.Excerpt(cause.Error(), mostText), Attempts: 1, Final: true,
	}
	if len(image.Evaluate) > 0 {
		failed.Ref = image.Evaluate[0].Ref
	}
	return outcome{
		updated: scanner.Updated{ID: image.ID, Report: image.Report, Failed: failed.Message},
		facts: []pratique.Fact{{
			Subject: image.Subject, At: r.StartedAt, By: pratique.StageInspect + "@" + s.Instance, Body: &failed,
		}},
	}
}

// atOnce is how many documents are read or written side by side: each waits for the disk.
const atOnce = 24

// outcome compares what the newest report on an image says with what holds now.
func (s *Rescan) outcome(ctx context.Context, r pratique.Rescan, image scanner.Outdated) (outcome, error) {
	same := outcome{updated: scanner.Updated{ID: image.ID, Report: image.Report}}
	unchanged := slices.Equal(image.Before, image.Now)
	if unchanged && !(image.Refresh && image.Database != r.To.Digest) {
		// The facts may be recorded, and the process have died before it asked for a new verdict.
		if len(image.Evaluate) > 0 && image.Event == rescanEvent(r, image.Evaluate[0], image.Report).ID {
			var err error
			same.jobs, err = reevaluate(r, image.Evaluate, image.Report)
			return same, err
		}
		return same, nil
	}
	if len(image.Evaluate) == 0 || !image.Evaluated {
		return same, nil // nobody evaluated it yet, and who will sees that its report is old
	}
	if image.Unmatched != "" && len(image.Now) == 0 { // its verdicts grow too old to be acted on
		return outcome{}, pratique.Errorf(pratique.Died, "match image", "%s", image.Unmatched)
	}
	if len(image.Now) == 0 {
		return same, nil
	}
	header, _, err := scanner.ReportParts(ctx, named{&s.Base}, image.Report)
	if err != nil {
		return outcome{}, orLost(err)
	}
	// The time is that of the whole rescan, so that doing it again gives the same bytes.
	header.Inventory, header.Database, header.ScannedAt = image.Inventory, r.To, r.StartedAt
	header.DatabaseAgeSeconds = int64(r.To.Age(r.StartedAt) / time.Second)
	doc, err := scanner.ReportDocument(header, image.Now)
	if err != nil {
		return outcome{}, err
	}
	change, err := s.changes.of(ctx, named{&s.Base}, image.Before, image.Now)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{report: doc, changed: !unchanged, worse: change.total > 0}
	event := rescanEvent(r, image.Evaluate[0], doc.Digest).ID
	o.updated = scanner.Updated{ID: image.ID, Report: doc.Digest, Findings: image.Now, Event: event}
	fact := func(f pratique.Fact) {
		f.Subject, f.Event, f.At, f.By = image.Subject, event, s.Now().UTC(), pratique.StageInspect+"@"+s.Instance
		o.facts = append(o.facts, f)
	}
	if o.worse { // first: where the other fact is, this one is, too
		fact(pratique.Fact{Body: &pratique.Affected{
			Report: doc.Digest, Before: image.Report, Database: r.To, Total: change.total, Findings: change.gravest,
		}})
	}
	fact(pratique.Fact{Body: &pratique.Scanned{
		Report: doc.Digest, Inventory: image.Inventory, Database: r.To, Counts: change.counts, Fixable: change.fixable, StartedAt: r.StartedAt,
	}})
	if o.changed {
		o.jobs, err = reevaluate(r, image.Evaluate, doc.Digest)
	}
	return o, err
}

// rescanEvent is the event that a new report makes for a subject. Its push is the subject's newest, so that it never
// overtakes one that came later. The id depends on the report, too: a second platform of an index whose report comes
// later has the index evaluated once more.
func rescanEvent(r pratique.Rescan, p scanner.Pushed, report pratique.Digest) pratique.Event {
	ref := pratique.ImageRef{Repository: p.Subject.Repository, Tag: p.Ref.Tag, Digest: p.Subject.Digest}
	return pratique.Event{
		ID:  pratique.EventID(SourceRescan, ref, r.To.Digest.String()+report.String()),
		Ref: ref, Source: SourceRescan, Priority: pratique.PriorityRescan, RefreshOnly: p.RefreshOnly, OccurredAt: p.At, ReceivedAt: r.StartedAt,
	}
}

// reevaluate makes the jobs that evaluate subjects again.
func reevaluate(r pratique.Rescan, evaluate []scanner.Pushed, report pratique.Digest) ([]pratique.Message, error) {
	var jobs []pratique.Message
	for _, p := range evaluate {
		w := Work{Event: rescanEvent(r, p, report), Subject: p.Subject}
		body, err := w.encode()
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode work", w.Event.ID, err)
		}
		jobs = append(jobs, pratique.Message{Priority: w.Event.Priority, ID: w.Event.ID + "." + pratique.StageAttest, Body: body})
	}
	return jobs, nil
}
