package attesting

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// evaluation is a verdict and the facts that it rests on. An index rests on its children.
type evaluation struct {
	pratique.Evaluated
	subject   pratique.Subject
	children  []evaluation
	inspected *pratique.Inspected
	scanned   *pratique.Scanned
	report    pratique.Report
	// prepared is the evidence that is signed while the image is evaluated, nil if none is.
	prepared *preparation
	// withdrawErr is why the signature of a denied image could not be withdrawn.
	withdrawErr error
}

// evaluateIndex decides about every image of an index. The index gets the worst verdict.
func (s *Stage) evaluateIndex(ctx context.Context, w pipeline.Work,
	m pratique.Manifest) (evaluation, error) {
	index := evaluation{subject: m.Subject}
	var decisions []pratique.PlatformDecision
	var inputs []pratique.Input
	for _, c := range m.Children {
		e, err := s.load(ctx, m.Subject.Sibling(c.Digest))
		if err != nil {
			return index, err
		}
		if err := s.evaluate(ctx, w, &e); err != nil {
			return index, err
		}
		decisions = append(decisions, pratique.PlatformDecision{Child: c, Decision: pratique.Decision{
			Outcome: e.Verdict.Outcome, Reasons: e.Verdict.Reasons, Notes: e.Verdict.Notes,
		}})
		inputs = append(inputs, pratique.Input{Kind: "verdict", Digest: e.Digest})
		index.children = append(index.children, e)
	}
	v := pratique.Verdict{Subject: m.Subject, Profile: s.Policy.ID(), EvaluatedAt: s.Now().UTC(),
		Inputs: inputs}
	d, verdicts, err := s.Policy.Worst(decisions, m.Uninspected)
	if err != nil {
		return index, err
	}
	v.Outcome, v.Reasons, v.Notes, v.Children = d.Outcome, d.Reasons, d.Notes, verdicts
	return index, s.recordVerdict(ctx, w, &index, v, d)
}

// load reads what is known about an image.
func (s *Stage) load(ctx context.Context, subject pratique.Subject) (evaluation, error) {
	inspected, err := pipeline.Newest[pratique.Inspected](ctx, s.Facts, subject)
	if err != nil {
		return evaluation{}, err
	}
	scanned, err := pipeline.Newest[pratique.Scanned](ctx, s.Facts, subject)
	if err != nil {
		return evaluation{}, err
	}
	if inspected == nil || scanned == nil || scanned.Inventory != inspected.Inventory {
		return evaluation{}, pratique.Errorf(pratique.Internal, "evaluate "+subject.String(),
			"the image is not inspected and scanned")
	}
	e := evaluation{subject: subject, inspected: inspected, scanned: scanned}
	e.report, err = s.recorded().Report(ctx, *scanned)
	return e, err
}

// recorded reads documents that facts name.
func (s *Stage) recorded() pipeline.Recorded { return pipeline.Recorded{Documents: s.Documents} }

// evaluate decides about one image.
func (s *Stage) evaluate(ctx context.Context, w pipeline.Work, e *evaluation) error {
	extras, err := s.extras(ctx, *e.inspected)
	if err != nil {
		return err
	}
	inspected, err := s.withAllLabels(ctx, *e.inspected)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	decision, err := Decide(ctx, s.Policy, Evidence{
		Subject: e.subject, Inspected: inspected, Report: e.report, Extras: extras, Now: now,
	})
	if err != nil {
		return err
	}
	verdict := pratique.Verdict{
		Subject: e.subject, Outcome: decision.Outcome, Reasons: decision.Reasons, Notes: decision.Notes,
		Profile: s.Policy.ID(), EvaluatedAt: now,
		Inputs: []pratique.Input{
			{Kind: "report", Digest: e.scanned.Report},
			{Kind: "inventory", Digest: e.inspected.Inventory},
			{Kind: "spdx", Digest: e.inspected.SPDX}, {Kind: "cyclonedx", Digest: e.inspected.CycloneDX},
		},
	}
	if extras != nil {
		verdict.Inputs = append(verdict.Inputs, pratique.Input{Kind: "extras",
			Digest: e.inspected.Extras})
	}
	return s.recordVerdict(ctx, w, e, verdict, decision)
}

// extras reads extra findings, nil if nothing was looked for.
func (s *Stage) extras(ctx context.Context, inspected pratique.Inspected) (*pratique.Extras, error) {
	if inspected.Extras.IsZero() {
		return nil, nil
	}
	var found pratique.Extras
	return &found, s.readJSON(ctx, "decode extras", inspected.Extras, &found)
}

// withAllLabels is an inspection with all labels of the image, for the policy.
func (s *Stage) withAllLabels(ctx context.Context, i pratique.Inspected) (pratique.Inspected, error) {
	if i.Image.AllLabels.IsZero() {
		return i, nil
	}
	i.Image.Labels = nil
	return i, s.readJSON(ctx, "decode labels", i.Image.AllLabels, &i.Image.Labels)
}

func (s *Stage) readJSON(ctx context.Context, op string, d pratique.Digest, into any) error {
	content, err := s.recorded().Get(ctx, d)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return pipeline.Lost(pratique.Wrap(pratique.Corrupt, op, d.String(), err))
	}
	return nil
}

// recordVerdict records a verdict, unless it is the same as the last one, which is still fresh.
// Then the last one stays, so a redelivery, or a second push of the same digest, changes nothing.
//
// A denial first withdraws the signature, so that no later error leaves it in place. If that fails,
// the error is returned by attest, which withdraws it again.
//
// The document has all reasons and notes. The fact has those that the policy chose.
func (s *Stage) recordVerdict(ctx context.Context, w pipeline.Work, e *evaluation,
	v pratique.Verdict, d pratique.Decision) error {
	if v.Outcome != pratique.Allow {
		e.withdrawErr = s.withdraw(ctx, e)
	}
	last, err := pipeline.Newest[pratique.Evaluated](ctx, s.Facts, v.Subject)
	if err != nil {
		return err
	}
	if last != nil && w.Round == 0 && s.isFresh(last.Verdict, v.EvaluatedAt) &&
		sameVerdict(v, last.Verdict) {
		e.Evaluated = *last
		return nil
	}
	whole := v
	if d.AllReasons != nil {
		whole.Reasons = d.AllReasons
	}
	if d.AllNotes != nil {
		whole.Notes = d.AllNotes
	}
	digest, err := pipeline.PutJSON(ctx, s.Documents, whole)
	if err != nil {
		return err
	}
	e.Evaluated = pratique.Evaluated{Verdict: v, Digest: digest}
	return s.Record(ctx, w, v.Subject, &e.Evaluated)
}

// withdraw withdraws the signature of a denied image.
func (s *Stage) withdraw(ctx context.Context, e *evaluation) error {
	if p := e.prepared; p != nil {
		if <-p.opened; p.session != nil {
			return p.session.Withdraw(ctx)
		}
	}
	session, err := s.open(ctx, e.subject)
	if err != nil {
		return err
	}
	return session.Withdraw(ctx)
}

// clockSkew is how far in the future the time of a verdict may be. The gate allows as much.
const clockSkew = 5 * time.Minute

// isFresh reports whether a verdict need not be signed again. A verdict from the future is not
// fresh: the clock was wrong when it was made, and nobody would act on it until that time has come.
func (s *Stage) isFresh(v pratique.Verdict, now time.Time) bool {
	age := now.Sub(v.EvaluatedAt)
	return -clockSkew <= age && age < s.Refresh
}

// sameVerdict compares all but the time.
func sameVerdict(a, b pratique.Verdict) bool {
	return a.Outcome == b.Outcome && a.Profile == b.Profile && slices.Equal(a.Reasons, b.Reasons) &&
		slices.Equal(a.Notes, b.Notes) && slices.Equal(a.Inputs, b.Inputs) &&
		slices.Equal(a.Children, b.Children)
}
