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

// concurrency is how many images are read and written at a time: each waits for the disk.
const concurrency = 24

// update updates a batch of stale images: first documents, then facts, then the jobs that read
// them, and last the inventory projection. After a crash the batch is done again. It stores the
// same documents, records no second fact about an image, and a job enqueued twice is one job.
//
// An image that cannot be updated is set aside, so that the others go on.
func (s *Rescan) update(ctx context.Context, p pratique.Rescan, images []rescan.StaleImage) error {
	outcomes := make([]rescan.Outcome, len(images))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i, image := range images {
		group.Go(func() (err error) {
			outcomes[i], err = s.outcome(groupCtx, p, image)
			if err != nil && !isTransient(groupCtx, err) {
				outcomes[i], err = image.SetAside(err), nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.publish(ctx, outcomes...); err != nil {
		if isTransient(ctx, err) {
			return err
		}
		// One of the images is to blame.
		for i := range outcomes {
			err := s.publish(ctx, outcomes[i])
			if err != nil && !isTransient(ctx, err) {
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
			s.Log.LogAttrs(ctx, slog.LevelError,
				"an image cannot be scanned with the newest database and is set aside",
				slog.String("subject", images[i].Subject.String()), slog.String("error", o.Result.Failed))
		}
	}
	return s.Images.Update(p.To.Digest, results, changed, worse)
}

// outcome compares the old and the new findings of one image, and stores its report.
func (s *Rescan) outcome(ctx context.Context, p pratique.Rescan,
	image rescan.StaleImage) (o rescan.Outcome, err error) {
	defer pratique.Caught(pratique.Corrupt, "rescan image", &err)
	o, done, err := image.Check(p)
	if done || err != nil {
		return o, err
	}
	header, _, err := scanner.ReportHeader(ctx, s.recorded(), image.Report)
	if err != nil {
		return o, pipeline.LostIfCorrupt(err)
	}
	difference, err := s.comparisons.Compare(ctx, s.recorded(), image.Before, image.Now)
	if err != nil {
		return o, pipeline.LostIfCorrupt(err)
	}
	if o, err = image.Rescanned(p, header, difference); err != nil {
		return o, err
	}
	_, err = s.Documents.Put(ctx, o.Report.Content)
	return o, err
}

// publish records the facts of outcomes, and enqueues the evaluations that they need.
func (s *Rescan) publish(ctx context.Context, outcomes ...rescan.Outcome) error {
	var facts []pratique.Fact
	var jobs []pratique.Message
	for _, o := range outcomes {
		for _, f := range o.Facts {
			f.At, f.By = s.Now().UTC(), s.By(pratique.RoleInspect)
			facts = append(facts, f)
		}
		for _, e := range o.Evaluate {
			job, err := pipeline.Work{Event: e.Event, Subject: e.Subject}.Message(pratique.StageAttest)
			if err != nil {
				return err
			}
			jobs = append(jobs, job)
		}
	}
	if len(facts) > 0 {
		s.AtEdge("rescan:before-facts")
		if err := s.Facts.AppendAll(ctx, facts); err != nil {
			return err
		}
		s.AtEdge("rescan:after-facts")
	}
	if len(jobs) > 0 {
		if err := s.Batches.PublishBatch(ctx, pratique.StageAttest, jobs); err != nil {
			return err
		}
		s.AtEdge("rescan:after-jobs")
	}
	return nil
}
