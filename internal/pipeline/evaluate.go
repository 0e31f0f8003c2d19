package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// Policy decides about one platform image.
type Policy interface {
	ID() pratique.Profile
	Evaluate(ctx context.Context, e Evidence) (pratique.Decision, error)
	// Worst combines the decisions about the platforms of an index. Each platform that could not be inspected denies.
	Worst(all []pratique.PlatformDecision, uninspected []pratique.Uninspected) (pratique.Decision, []pratique.ChildVerdict, error)
}

// Evidence is all that a policy may look at: nothing that two pushes of one digest could differ in but the time.
type Evidence struct {
	Subject   pratique.Subject
	Inspected pratique.Inspected
	Report    pratique.Report
	// Extras is nil if nothing was looked for beside packages.
	Extras *pratique.Extras
	Now    time.Time
}

// evaluation is a verdict with the facts that it rests on; those of an index are its children's.
type evaluation struct {
	pratique.Evaluated
	subject   pratique.Subject
	children  []evaluation
	inspected *pratique.Inspected
	scanned   *pratique.Scanned
	report    pratique.Report
	// prepared is what was begun to attest it while it was evaluated; nil if nothing was.
	prepared *preparation
	// withdrawing is why a denied image could not be rid of its signature.
	withdrawing error
}

// evaluateIndex decides about every image of an index, and gives the index the worst of its children's verdicts.
func (s *Attest) evaluateIndex(ctx context.Context, w Work, m pratique.Manifest) (evaluation, error) {
	index := evaluation{subject: m.Subject}
	var all []pratique.PlatformDecision
	var inputs []pratique.Input
	for _, c := range m.Children {
		j, err := s.load(ctx, m.Subject.Sibling(c.Digest))
		if err != nil {
			return index, err
		}
		if err := s.evaluate(ctx, w, &j); err != nil {
			return index, err
		}
		all = append(all, pratique.PlatformDecision{Child: c, Decision: pratique.Decision{
			Outcome: j.Verdict.Outcome, Reasons: j.Verdict.Reasons, Notes: j.Verdict.Notes,
		}})
		inputs = append(inputs, pratique.Input{Kind: "verdict", Digest: j.Digest})
		index.children = append(index.children, j)
	}
	v := pratique.Verdict{Subject: m.Subject, Profile: s.Policy.ID(), EvaluatedAt: s.Now().UTC(), Inputs: inputs}
	d, verdicts, err := s.Policy.Worst(all, m.Uninspected)
	if err != nil {
		return index, err
	}
	v.Outcome, v.Reasons, v.Notes, v.Children = d.Outcome, d.Reasons, d.Notes, verdicts
	return index, s.decide(ctx, w, &index, v, d)
}

// ruleNotEvaluated is the reason about an image that the policy could not decide about.
const ruleNotEvaluated = "not_evaluated"

// load reads what is known about an image.
func (s *Attest) load(ctx context.Context, subject pratique.Subject) (evaluation, error) {
	inspected, err := newest[pratique.Inspected](ctx, s.Ledger, subject)
	if err != nil {
		return evaluation{}, err
	}
	scanned, err := newest[pratique.Scanned](ctx, s.Ledger, subject)
	if err != nil {
		return evaluation{}, err
	}
	if inspected == nil || scanned == nil || scanned.Inventory != inspected.Inventory {
		return evaluation{}, pratique.Errorf(pratique.Internal, "evaluate "+subject.String(), "it is not inspected and scanned")
	}
	j := evaluation{subject: subject, inspected: inspected, scanned: scanned}
	j.report, err = s.report(ctx, *scanned)
	return j, err
}

// evaluate decides about one image.
func (s *Attest) evaluate(ctx context.Context, w Work, j *evaluation) error {
	extras, err := s.extras(ctx, *j.inspected)
	if err != nil {
		return err
	}
	inspected, err := s.withAllLabels(ctx, *j.inspected)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	decision, err := Answer(ctx, s.Policy, Evidence{
		Subject: j.subject, Inspected: inspected, Report: j.report, Extras: extras, Now: now,
	})
	if err != nil {
		return err
	}
	verdict := pratique.Verdict{
		Subject: j.subject, Outcome: decision.Outcome, Reasons: decision.Reasons, Notes: decision.Notes,
		Profile: s.Policy.ID(), EvaluatedAt: now,
		Inputs: []pratique.Input{
			{Kind: "report", Digest: j.scanned.Report}, {Kind: "inventory", Digest: j.inspected.Inventory},
			{Kind: "spdx", Digest: j.inspected.SPDX}, {Kind: "cyclonedx", Digest: j.inspected.CycloneDX},
		},
	}
	if extras != nil {
		verdict.Inputs = append(verdict.Inputs, pratique.Input{Kind: "extras", Digest: j.inspected.Extras})
	}
	return s.decide(ctx, w, j, verdict, decision)
}

// Answer asks the policy. An image that it cannot decide about is denied, and the reason says why: else one that was
// allowed before would keep its signature. Too little time may be the machine's fault, so that is tried twice.
func Answer(ctx context.Context, policy Policy, e Evidence) (pratique.Decision, error) {
	d, err := policy.Evaluate(ctx, e)
	if pratique.KindOf(err) == pratique.Exhausted && ctx.Err() == nil {
		d, err = policy.Evaluate(ctx, e)
	}
	switch pratique.KindOf(err) {
	case pratique.Invalid, pratique.Exhausted:
	default:
		return d, err
	}
	return pratique.Decision{Outcome: pratique.Deny, Reasons: []pratique.Reason{
		{Rule: ruleNotEvaluated, Message: pratique.Excerpt(err.Error(), mostText)},
	}}, nil
}

// extras reads what was found beside packages, nil if nothing was looked for.
func (s *Attest) extras(ctx context.Context, inspected pratique.Inspected) (*pratique.Extras, error) {
	if inspected.Extras.IsZero() {
		return nil, nil
	}
	content, err := s.document(ctx, inspected.Extras)
	if err != nil {
		return nil, err
	}
	var found pratique.Extras
	if err := json.Unmarshal(content, &found); err != nil {
		return nil, lostDocument{pratique.Wrap(pratique.Corrupt, "decode extras", inspected.Extras.String(), err)}
	}
	return &found, nil
}

// decide records the verdict, unless it says what the last one says and that one is young: then the last one
// stands, and nothing is written. So a redelivery, or a second push of the same digest, changes nothing.
//
// A denial takes the signature away before anything else, so that nothing that goes wrong afterwards leaves it there.
// Attaching tries again and says what was in the way, so here that is only remembered.
//
// The document has all reasons and notes, the fact those that the decision chose.
func (s *Attest) decide(ctx context.Context, w Work, j *evaluation, v pratique.Verdict, d pratique.Decision) error {
	if v.Outcome != pratique.Allow {
		j.withdrawing = s.withdraw(ctx, j)
	}
	last, err := newest[pratique.Evaluated](ctx, s.Ledger, v.Subject)
	if err != nil {
		return err
	}
	if last != nil && w.Round == 0 && s.young(last.Verdict, v.EvaluatedAt) && sameVerdict(v, last.Verdict) {
		j.Evaluated = *last
		return nil
	}
	whole := v
	if d.AllReasons != nil {
		whole.Reasons = d.AllReasons
	}
	if d.AllNotes != nil {
		whole.Notes = d.AllNotes
	}
	digest, err := s.putJSON(ctx, whole)
	if err != nil {
		return err
	}
	j.Evaluated = pratique.Evaluated{Verdict: v, Digest: digest}
	return s.record(ctx, pratique.StageAttest, w, v.Subject, pratique.Fact{Body: &j.Evaluated})
}

// withdraw takes the signature of a denied image away.
func (s *Attest) withdraw(ctx context.Context, j *evaluation) error {
	if p := j.prepared; p != nil {
		if <-p.begun; p.session != nil {
			return p.session.Withdraw(ctx)
		}
	}
	session, err := s.open(ctx, j.subject)
	if err != nil {
		return err
	}
	return session.Withdraw(ctx)
}

// clockSkew is how far in the future a verdict may lie and stand; the gate allows as much.
const clockSkew = 5 * time.Minute

// young reports whether a verdict needs no refreshing. One from the future does: a clock was wrong when it was
// made, and nobody would act on it until that time has come.
func (s *Attest) young(v pratique.Verdict, now time.Time) bool {
	age := now.Sub(v.EvaluatedAt)
	return -clockSkew <= age && age < s.Refresh
}

// sameVerdict compares all but the time.
func sameVerdict(a, b pratique.Verdict) bool {
	return a.Outcome == b.Outcome && a.Profile == b.Profile && slices.Equal(a.Reasons, b.Reasons) &&
		slices.Equal(a.Notes, b.Notes) && slices.Equal(a.Inputs, b.Inputs) && slices.Equal(a.Children, b.Children)
}
