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
	ID() pratique.Policy
	Judge(ctx context.Context, e Evidence) (Decision, error)
	// Worst combines the decisions about the platforms of an index.
	Worst(all []PlatformDecision) (Decision, []pratique.ChildVerdict, error)
}

// Evidence is all that a policy may look at.
type Evidence struct {
	Subject   pratique.Subject
	Tag       string
	Inspected pratique.Inspected
	Report    pratique.Report
	// Sections is nil if nothing was looked for beside packages.
	Sections *pratique.Sections
	Now      time.Time
}

// Decision is a policy's answer about one platform image.
type Decision struct {
	Outcome        pratique.Outcome
	Reasons, Notes []pratique.Reason
}

// PlatformDecision is the decision about one platform of an index.
type PlatformDecision struct {
	pratique.Child
	Decision Decision
}

// judgement is a verdict with the facts that it rests on; an index has no facts of its own.
type judgement struct {
	pratique.Judged
	subject   pratique.Subject
	inspected *pratique.Inspected
	matched   *pratique.Matched
	report    pratique.Report
	// prepared is what was begun to attest it while it was judged; nil if nothing was.
	prepared *preparation
}

// judgeIndex decides about every image of an index, and gives the index the worst of its children's verdicts.
func (s *Attest) judgeIndex(ctx context.Context, w Work, m pratique.Manifest) (pratique.Judged, []judgement, error) {
	var children []judgement
	for _, c := range m.Children {
		j, err := s.load(ctx, m.Subject.Sibling(c.Digest))
		if err != nil {
			return pratique.Judged{}, nil, err
		}
		if j.Judged, err = s.judge(ctx, w, j); err != nil {
			return pratique.Judged{}, nil, err
		}
		children = append(children, j)
	}
	verdict, err := s.worst(m, children)
	if err != nil {
		return pratique.Judged{}, nil, err
	}
	judged, err := s.decide(ctx, w, verdict)
	return judged, children, err
}

// worst combines the verdicts of an index's children: it allows only what every child allows.
func (s *Attest) worst(m pratique.Manifest, children []judgement) (pratique.Verdict, error) {
	v := pratique.Verdict{Subject: m.Subject, Policy: s.Policy.ID(), JudgedAt: s.Now().UTC()}
	var all []PlatformDecision
	for i, c := range children {
		all = append(all, PlatformDecision{Child: m.Children[i], Decision: Decision{
			Outcome: c.Verdict.Outcome, Reasons: c.Verdict.Reasons, Notes: c.Verdict.Notes,
		}})
		v.Inputs = append(v.Inputs, pratique.Input{Kind: "verdict", Digest: c.Digest})
	}
	d, verdicts, err := s.Policy.Worst(all)
	v.Outcome, v.Reasons, v.Notes, v.Children = d.Outcome, d.Reasons, d.Notes, verdicts
	return v, err
}

// load reads what is known about an image.
func (s *Attest) load(ctx context.Context, subject pratique.Subject) (judgement, error) {
	inspected, ok, err := s.Ledger.Last(ctx, subject, pratique.FactInspected)
	if err != nil {
		return judgement{}, err
	}
	matched, ok2, err := s.Ledger.Last(ctx, subject, pratique.FactMatched)
	if err != nil {
		return judgement{}, err
	}
	if !ok || !ok2 || matched.Matched.Inventory != inspected.Inspected.Inventory {
		return judgement{}, pratique.Errorf(pratique.Internal, "judge "+subject.String(), "it is not inspected and matched")
	}
	j := judgement{subject: subject, inspected: inspected.Inspected, matched: matched.Matched}
	j.report, err = s.report(ctx, matched.Matched.Report)
	return j, err
}

// judge decides about one image.
func (s *Attest) judge(ctx context.Context, w Work, j judgement) (pratique.Judged, error) {
	sections, err := s.sections(ctx, *j.inspected)
	if err != nil {
		return pratique.Judged{}, err
	}
	now := s.Now().UTC()
	decision, err := s.Policy.Judge(ctx, Evidence{
		Subject: j.subject, Tag: w.Event.Ref.Tag, Inspected: *j.inspected, Report: j.report, Sections: sections, Now: now,
	})
	if err != nil {
		return pratique.Judged{}, err
	}
	verdict := pratique.Verdict{
		Subject: j.subject, Outcome: decision.Outcome, Reasons: decision.Reasons, Notes: decision.Notes,
		Policy: s.Policy.ID(), JudgedAt: now,
		Inputs: []pratique.Input{
			{Kind: "report", Digest: j.matched.Report}, {Kind: "inventory", Digest: j.inspected.Inventory},
			{Kind: "spdx", Digest: j.inspected.SPDX}, {Kind: "cyclonedx", Digest: j.inspected.CycloneDX},
		},
	}
	if sections != nil {
		verdict.Inputs = append(verdict.Inputs, pratique.Input{Kind: "sections", Digest: j.inspected.Sections})
	}
	return s.decide(ctx, w, verdict)
}

// sections reads what was found beside packages, nil if nothing was looked for.
func (s *Attest) sections(ctx context.Context, inspected pratique.Inspected) (*pratique.Sections, error) {
	if inspected.Sections.IsZero() {
		return nil, nil
	}
	content, err := s.document(ctx, inspected.Sections)
	if err != nil {
		return nil, err
	}
	var found pratique.Sections
	if err := json.Unmarshal(content, &found); err != nil {
		return nil, lostDocument{pratique.Wrap(pratique.Corrupt, "decode sections", inspected.Sections.String(), err)}
	}
	return &found, nil
}

// decide records the verdict, unless it says what the last one says and that one is young: then the last one
// stands, and nothing is written. So a redelivery, or a second push of the same digest, changes nothing.
func (s *Attest) decide(ctx context.Context, w Work, v pratique.Verdict) (pratique.Judged, error) {
	last, ok, err := s.Ledger.Last(ctx, v.Subject, pratique.FactJudged)
	if err != nil {
		return pratique.Judged{}, err
	}
	if ok && w.Round == 0 && s.young(last.Judged.Verdict, v.JudgedAt) && sameVerdict(v, last.Judged.Verdict) {
		return *last.Judged, nil
	}
	digest, err := s.putJSON(ctx, v)
	if err != nil {
		return pratique.Judged{}, err
	}
	judged := pratique.Judged{Verdict: v, Digest: digest}
	return judged, s.record(ctx, StageAttest, w, v.Subject, pratique.Fact{Kind: pratique.FactJudged, Judged: &judged})
}

// clockSkew is how far in the future a verdict may lie and stand; the gate allows as much.
const clockSkew = 5 * time.Minute

// young reports whether a verdict needs no refreshing. One from the future does: a clock was wrong when it was
// made, and nobody would act on it until that time has come.
func (s *Attest) young(v pratique.Verdict, now time.Time) bool {
	age := now.Sub(v.JudgedAt)
	return -clockSkew <= age && age < s.Refresh
}

// sameVerdict compares all but the time.
func sameVerdict(a, b pratique.Verdict) bool {
	return a.Outcome == b.Outcome && a.Policy == b.Policy && slices.Equal(a.Reasons, b.Reasons) &&
		slices.Equal(a.Notes, b.Notes) && slices.Equal(a.Inputs, b.Inputs) && slices.Equal(a.Children, b.Children)
}
