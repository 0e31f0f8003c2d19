package pipeline

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/pratique-dev/pratique"
)

// SourceDenial is the source of the events that try again to attest a denial: nobody pushed.
const SourceDenial = "denial"

// Denials tries again to attest the denials that the registry did not take, for as long as it takes: the work for an event
// ends after a day, and with it a denial must not. It has an index evaluated again at once that says otherwise than its images
// do: the image was denied while the index was evaluated, or by a push of its own. It asks only where no other work goes on,
// the more seldom the longer it has been in vain.
type Denials struct {
	Base
	Batches Batches
	// Pending lists at most limit of them, those after a subject; the zero subject is before all. Next is where to go on; it
	// is zero at the end.
	Pending func(after pratique.Subject, limit int) (all []pratique.PendingDenial, next pratique.Subject, err error)
	// Every is how often it is looked.
	Every time.Duration
	Log   *slog.Logger

	next  pratique.Subject // where the last look ended
	tried map[pratique.Subject]time.Time
}

// The bounds of the pause between two attempts.
const (
	leastDenialPause = 10 * time.Minute
	mostDenialPause  = 6 * time.Hour
	mostDenials      = 500 // of one look
)

// Run works until ctx ends.
func (d *Denials) Run(ctx context.Context) error {
	ticker := time.NewTicker(d.Every)
	defer ticker.Stop()
	for {
		if err := d.Look(ctx); err != nil && ctx.Err() == nil {
			d.Log.LogAttrs(ctx, slog.LevelWarn, "denials that are not attested cannot be tried again", slog.String("error", err.Error()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Look asks once for what is due among the next denials. Where there are many, each look goes on behind the last one.
func (d *Denials) Look(ctx context.Context) error {
	all, next, err := d.Pending(d.next, mostDenials)
	if err != nil {
		return err
	}
	now := d.Now().UTC()
	// After that long it makes no difference any more.
	maps.DeleteFunc(d.tried, func(_ pratique.Subject, last time.Time) bool { return now.Sub(last) >= mostDenialPause })
	asked := map[pratique.Subject]time.Time{}
	var jobs []pratique.Message
	for _, p := range all {
		last, again := d.tried[p.Pushed]
		_, twice := asked[p.Pushed]
		pause := min(max(now.Sub(p.Since)/4, leastDenialPause), mostDenialPause)
		young := !p.Contradicted && now.Sub(p.Since) < leastDenialPause
		if !p.Idle || twice || young || again && now.Sub(last) < pause {
			continue
		}
		job, err := d.job(p, now)
		if err != nil {
			return err
		}
		asked[p.Pushed] = now
		jobs = append(jobs, job)
		message := "a denied image is still what it was in its registry; it is tried again"
		if p.Contradicted {
			message = "an index is allowed, and an image in it is denied; it is evaluated again"
		}
		d.Log.LogAttrs(ctx, slog.LevelError, message, slog.String("subject", p.Subject.String()), slog.Time("deniedAt", p.Since))
	}
	if len(jobs) > 0 {
		if err := d.Batches.PublishBatch(ctx, pratique.StageAttest, jobs); err != nil {
			return err
		}
	}
	if d.tried == nil {
		d.tried = map[pratique.Subject]time.Time{}
	}
	maps.Copy(d.tried, asked)
	d.next = next
	return nil
}

// job is the work that evaluates the subject again and attests what comes of it. The push keeps its time, so that nothing
// overtakes what was pushed since.
func (d *Denials) job(p pratique.PendingDenial, now time.Time) (pratique.Message, error) {
	ref := p.Push.Ref
	ref.Digest = p.Pushed.Digest
	e := pratique.Event{
		ID:  pratique.EventID(SourceDenial, ref, now.Format(time.RFC3339)),
		Ref: ref, Source: SourceDenial, Priority: pratique.PriorityRescan, OccurredAt: pushedAt(p.Push), ReceivedAt: now,
		RefreshOnly: p.Push.RefreshOnly,
	}
	body, err := Work{Event: e, Subject: p.Pushed}.encode()
	if err != nil {
		return pratique.Message{}, pratique.Wrap(pratique.Internal, "encode work", e.ID, err)
	}
	return pratique.Message{Priority: e.Priority, ID: e.ID + "." + pratique.StageAttest, Body: body}, nil
}
