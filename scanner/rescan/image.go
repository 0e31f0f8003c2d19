package rescan

import (
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Source is the source of the events that rescanning makes.
const Source = "rescan"

// maxText bounds an error text in a fact, in bytes.
const maxText = 2 << 10

// Outcome is the outcome for a stale image. If nothing changed, only Result is set.
type Outcome struct {
	Result ImageResult
	// Report is the document of the new report.
	Report scanner.Document
	// Facts have no time and author yet. They have to be recorded together.
	Facts []pratique.Fact
	// Evaluate are the events to evaluate again, with their subjects.
	Evaluate []Evaluation
	// Changed reports that the findings differ, NewFindings that there are new ones.
	Changed, NewFindings bool
}

// Evaluation is a subject to be evaluated again, and the event for that.
type Evaluation struct {
	Event   pratique.Event
	Subject pratique.Subject
}

// Check returns the outcome for an image whose report is still valid; ok is false if it needs a new
// one.
func (i StaleImage) Check(p pratique.Rescan) (o Outcome, ok bool, err error) {
	o = Outcome{Result: ImageResult{ID: i.ID, Report: i.Report}}
	if slices.Equal(i.Before, i.Now) && (!i.Refresh || i.Database == p.To.Digest) {
		// The process that recorded the facts may have died before it requested new verdicts.
		if len(i.Evaluate) > 0 && i.Event == event(p, i.Evaluate[0], i.Previous, i.Report).ID {
			o.Evaluate = evaluations(p, i.Evaluate, i.Previous, i.Report)
		}
		return o, true, nil
	}
	if len(i.Evaluate) == 0 || !i.Evaluated {
		return o, true, nil // the first evaluation is still to come, and will notice the old report
	}
	if len(i.Now) > 0 {
		return o, false, nil
	}
	if i.Unmatched != "" {
		err = pratique.Errorf(pratique.Died, "match image", "%s", i.Unmatched)
	}
	return o, true, err
}

// Rescanned returns the outcome for an image that needs a new report. Except for the times in facts
// and events it only depends on the ledger and the database: another process, or another machine,
// makes the same document and the same events. header is the previous report.
func (i StaleImage) Rescanned(p pratique.Rescan, header pratique.Report, d Difference) (Outcome, error) {
	header.Inventory, header.Database = i.Inventory, p.To
	doc, err := scanner.ReportDocument(header, i.Now)
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{Report: doc, Changed: !slices.Equal(i.Before, i.Now), NewFindings: d.Total > 0}
	evaluate := evaluations(p, i.Evaluate, i.Event, doc.Digest)
	work := evaluate[0].Event.ID
	o.Result = ImageResult{ID: i.ID, Report: doc.Digest, Findings: i.Now, Event: work}
	if o.NewFindings { // first, so that it is recorded if the other one is
		o.Facts = append(o.Facts, pratique.Fact{Subject: i.Subject, Event: work, Body: &pratique.Affected{
			Report: doc.Digest, Before: i.Report, Database: p.To, Total: d.Total, Findings: d.MostSevere,
		}})
	}
	o.Facts = append(o.Facts, pratique.Fact{Subject: i.Subject, Event: work, Body: &pratique.Scanned{
		Report: doc.Digest, Inventory: i.Inventory, Database: p.To, Counts: d.Counts, Fixable: d.Fixable,
		StartedAt: p.StartedAt, ScannedAt: p.StartedAt,
	}})
	if o.Changed {
		o.Evaluate = evaluate
	}
	return o, nil
}

// SetAside returns the outcome for an image that could not be processed: it keeps its report, and a
// fact says why.
func (i StaleImage) SetAside(cause error) Outcome {
	failed := pratique.Failed{
		Stage: pratique.StageRescan, Kind: pratique.KindOf(cause),
		Message: pratique.Excerpt(cause.Error(), maxText), Attempts: 1, Final: true,
	}
	if len(i.Evaluate) > 0 {
		failed.Ref = i.Evaluate[0].Ref
	}
	return Outcome{
		Result: ImageResult{ID: i.ID, Report: i.Report, Failed: failed.Message},
		Facts:  []pratique.Fact{{Subject: i.Subject, Body: &failed}},
	}
}

// event returns the event for a new report about a subject. It has the time of the subject's newest
// push, so that it never supersedes a later one. Its id depends on the report, since another
// platform of the same index may get its report later, and on the work for the previous report: a
// database that is used again, for example after importing an older one, gives the same reports
// again, but new events.
func event(p pratique.Rescan, push Push, previous string, report pratique.Digest) pratique.Event {
	ref := pratique.ImageRef{Repository: push.Subject.Repository, Tag: push.Ref.Tag,
		Digest: push.Subject.Digest}
	return pratique.Event{
		ID:  pratique.EventID(Source, ref, p.To.Digest.String()+report.String()+previous),
		Ref: ref, Source: Source, Priority: pratique.PriorityRescan, RefreshOnly: push.RefreshOnly,
		OccurredAt: push.At, ReceivedAt: p.StartedAt,
	}
}

func evaluations(p pratique.Rescan, pushes []Push, previous string, report pratique.Digest) []Evaluation {
	all := make([]Evaluation, len(pushes))
	for n, push := range pushes {
		all[n] = Evaluation{Event: event(p, push, previous, report), Subject: push.Subject}
	}
	return all
}
