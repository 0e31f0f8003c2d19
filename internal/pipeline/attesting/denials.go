package attesting

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// SourceDenial is the source of the events that attest a denial again. They are no pushes.
const SourceDenial = "denial"

// Denials attests denials again that the registry did not accept, without an end: the work for an
// event ends after a day, and a denial must not. It also has an index evaluated again that is
// allowed while one of its images is denied, because the image was denied while the index was
// evaluated, or by a push of its own. It skips images with other work in progress, and waits longer
// between attempts the longer they have failed.
type Denials struct {
	Batches pipeline.Batches
	// Pending lists at most limit pending denials after a subject. The zero subject is before all.
	// Next is the subject to continue after, zero at the end.
	Pending func(after pratique.Subject, limit int) (all []pratique.PendingDenial,
		next pratique.Subject, err error)
	// Interval is the time between two looks at the pending denials.
	Interval time.Duration
	Now      func() time.Time
	Log      *slog.Logger

	next  pratique.Subject // where the next look begins
	tried map[pratique.Subject]time.Time
}

// Bounds of the pause between two attempts, and of the denials of one look.
const (
	minPause   = 10 * time.Minute
	maxPause   = 6 * time.Hour
	maxDenials = 500
)

// Run works until ctx ends.
func (d *Denials) Run(ctx context.Context) error {
	ticker := time.NewTicker(d.Interval)
	defer ticker.Stop()
	for {
		if err := d.Retry(ctx); err != nil && ctx.Err() == nil {
			d.Log.LogAttrs(ctx, slog.LevelWarn, "pending denials cannot be retried",
				slog.String("error", err.Error()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Retry enqueues the work for the denials that are due. If there are many, each call continues after
// the last one.
func (d *Denials) Retry(ctx context.Context) error {
	all, next, err := d.Pending(d.next, maxDenials)
	if err != nil {
		return err
	}
	now := d.Now().UTC()
	maps.DeleteFunc(d.tried, func(_ pratique.Subject, last time.Time) bool {
		return now.Sub(last) >= maxPause
	})
	enqueued := map[pratique.Subject]time.Time{}
	var jobs []pratique.Message
	for _, p := range all {
		last, tried := d.tried[p.Pushed]
		_, twice := enqueued[p.Pushed]
		pause := min(max(now.Sub(p.Since)/4, minPause), maxPause)
		tooYoung := !p.Contradicted && now.Sub(p.Since) < minPause
		if !p.Idle || twice || tooYoung || tried && now.Sub(last) < pause {
			continue
		}
		job, err := job(p, now)
		if err != nil {
			return err
		}
		enqueued[p.Pushed] = now
		jobs = append(jobs, job)
		message := "the registry does not show a denial; it is attested again"
		if p.Contradicted {
			message = "an index is allowed, and an image in it is denied; the index is evaluated again"
		}
		d.Log.LogAttrs(ctx, slog.LevelError, message, slog.String("subject", p.Subject.String()),
			slog.Time("deniedAt", p.Since))
	}
	if len(jobs) > 0 {
		if err := d.Batches.PublishBatch(ctx, pratique.StageAttest, jobs); err != nil {
			return err
		}
	}
	if d.tried == nil {
		d.tried = map[pratique.Subject]time.Time{}
	}
	maps.Copy(d.tried, enqueued)
	d.next = next
	return nil
}

// job is the work that evaluates and attests the pushed subject again. It keeps the time of the
// push, so that it does not overtake later pushes.
func job(p pratique.PendingDenial, now time.Time) (pratique.Message, error) {
	ref := p.Push.Ref
	ref.Digest = p.Pushed.Digest
	e := pratique.Event{
		ID:  pratique.EventID(SourceDenial, ref, now.Format(time.RFC3339)),
		Ref: ref, Source: SourceDenial, Priority: pratique.PriorityRescan,
		OccurredAt: p.Push.PushedAt(), ReceivedAt: now,
		RefreshOnly: p.Push.RefreshOnly,
	}
	return pipeline.Work{Event: e, Subject: p.Pushed}.Message(pratique.StageAttest)
}
