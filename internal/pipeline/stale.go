package pipeline

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// atOnce is how many documents are read or written at the same time: each waits for the disk.
const atOnce = 24

// update deals with a batch of stale images: documents first, then facts, then the jobs that read them, and
// at last the inventory. After a crash in between the batch is done again. The documents are the same then,
// an image whose facts are recorded gets no others, and a job that is enqueued twice is one.
//
// An image that cannot be dealt with is set aside, so that the others go on.
func (s *Rescan) update(ctx context.Context, p pratique.Rescan, images []rescan.StaleImage) error {
	outcomes := make([]rescan.Outcome, len(images))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() (err error) {
			outcomes[i], err = s.outcome(groupCtx, p, image)
			if err != nil && !passes(groupCtx, err) {
				outcomes[i], err = image.SetAside(err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.publish(ctx, outcomes...); err != nil {
		if passes(ctx, err) {
			return err
		}
		// It is the fault of one of them.
		for i := range outcomes {
			err := s.publish(ctx, outcomes[i])
			if err != nil && !passes(ctx, err) {
				outcomes[i] = images[i].SetAside(err)
				err = s.publish(ctx, outcomes[i])
			}
			if err != nil {
				return err
			}
		}
	}
	results := make([]rescan.ImageResult, len(outcomes))
	changed, worse := 0, 0
	for i, o := range outcomes {
		results[i] = o.Result
		if o.Changed {
			changed++
		}
		if o.NewFindings {
			worse++
		}
		if o.Result.Failed != "" {
			s.Log.LogAttrs(ctx, slog.LevelError, "an image is set aside: it cannot be looked at with the newest database",
				slog.String("subject", images[i].Subject.String()), slog.String("error", o.Result.Failed))
		}
	}
	return s.Images.Update(p.To.Digest, results, changed, worse)
}

// outcome finds out what becomes of one image, and stores its report.
func (s *Rescan) outcome(ctx context.Context, p pratique.Rescan, image rescan.StaleImage) (o rescan.Outcome, err error) {
	defer pratique.Caught(pratique.Corrupt, "look at image", &err)
	o, done, err := image.Check(p)
	if done || err != nil {
		return o, err
	}
	header, _, err := scanner.ReportHeader(ctx, named{&s.Base}, image.Report)
	if err != nil {
		return o, orLost(err)
	}
	difference, err := s.comparisons.Compare(ctx, named{&s.Base}, image.Before, image.Now)
	if err != nil {
		return o, orLost(err)
	}
	if o, err = image.Rescanned(p, header, difference); err != nil {
		return o, err
	}
	_, err = s.Documents.Put(ctx, o.Report.Content)
	return o, err
}

// publish records the facts of some outcomes, and asks for their evaluations.
func (s *Rescan) publish(ctx context.Context, outcomes ...rescan.Outcome) error {
	var facts []pratique.Fact
	var jobs []pratique.Message
	for _, o := range outcomes {
		for _, f := range o.Facts {
			f.At, f.By = s.Now().UTC(), pratique.StageInspect+"@"+s.Instance
			facts = append(facts, f)
		}
		for _, e := range o.Evaluate {
			body, err := Work{Event: e.Event, Subject: e.Subject}.encode()
			if err != nil {
				return err
			}
			jobs = append(jobs, pratique.Message{Priority: e.Event.Priority, ID: e.Event.ID + "." + pratique.StageAttest, Body: body})
		}
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
