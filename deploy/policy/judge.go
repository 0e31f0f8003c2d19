package policy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/pratique-dev/pratique"
)

const opJudge = "judge"

// RuleMore is the rule of the reason that says how many others were left out.
const RuleMore = "more"

// MaxReasons bounds the reasons, and the notes, of one decision: verdicts travel in messages.
const MaxReasons = 100

// Decision is what the rules say about one image. Reasons and Notes are sorted: reasons without a finding
// first, then the gravest findings. Beyond [MaxReasons] one last reason of rule [RuleMore] counts the rest.
type Decision struct {
	Outcome pratique.Outcome
	Reasons []pratique.Reason
	Notes   []pratique.Reason
}

// Judge evaluates the rules, and the limits on the database's age and the repositories, which hold for every
// policy. The error is of kind Invalid if a rule fails or answers in the wrong shape,
// Exhausted if it takes too long, and Unavailable if ctx ended; with an error there is no decision.
func (p *Policy) Judge(ctx context.Context, in Input) (Decision, error) {
	subject := in.Image.Repository + "@" + in.Image.Digest
	evalCtx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	results, err := p.query.Eval(evalCtx, rego.EvalInput(in))
	switch {
	case ctx.Err() != nil:
		return Decision{}, pratique.Wrap(pratique.Unavailable, opJudge, subject, ctx.Err())
	case evalCtx.Err() != nil || topdown.IsCancel(err):
		return Decision{}, pratique.Wrap(pratique.Exhausted, opJudge, subject, fmt.Errorf("the policy took longer than %s", p.timeout))
	case err != nil:
		return Decision{}, pratique.Wrap(pratique.Invalid, opJudge, subject, err)
	case len(results) != 1:
		return Decision{}, pratique.Wrap(pratique.Invalid, opJudge, subject, errors.New("the policy gives no answer: deny is undefined"))
	}
	reasons, notes, err := decode(results[0].Bindings["answer"])
	if err != nil {
		return Decision{}, pratique.Wrap(pratique.Invalid, opJudge, subject, err)
	}
	reasons = append(p.guards.deny(in), reasons...)
	rank := ranks(in.Scan.Findings)
	d := Decision{Outcome: pratique.Allow, Reasons: tidy(reasons, rank), Notes: tidy(notes, rank)}
	if len(reasons) > 0 {
		d.Outcome = pratique.Deny
	}
	return d, nil
}

// spoken is a reason as a rule writes it; an unknown key is an error, since a misspelt one would be lost.
type spoken struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
	Finding string `json:"finding"`
	Package string `json:"package"`
}

func decode(answer any) (deny, note []pratique.Reason, err error) {
	raw, err := json.Marshal(answer)
	if err != nil {
		return nil, nil, err
	}
	var a struct{ Deny, Note []spoken }
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return nil, nil, fmt.Errorf("deny and note must be sets of {rule, message, finding?, package?}, all strings: %w", err)
	}
	if a.Deny == nil || a.Note == nil {
		return nil, nil, errors.New("deny and note must be sets")
	}
	if deny, err = convert("deny", a.Deny); err != nil {
		return nil, nil, err
	}
	note, err = convert("note", a.Note)
	return deny, note, err
}

func convert(set string, in []spoken) ([]pratique.Reason, error) {
	out := make([]pratique.Reason, 0, len(in))
	for _, s := range in {
		if s.Rule == "" || s.Message == "" {
			return nil, fmt.Errorf("an element of %s has no rule or no message", set)
		}
		out = append(out, pratique.Reason{Rule: s.Rule, Message: s.Message, Finding: s.Finding, Package: s.Package})
	}
	return out, nil
}

// ranks gives each finding id its gravest severity. Names are known here, since NewInput wrote them.
func ranks(findings []FindingInput) map[string]pratique.Severity {
	m := make(map[string]pratique.Severity, len(findings))
	for _, f := range findings {
		s, _ := pratique.ParseSeverity(f.Severity) // an unknown name ranks as unknown
		m[f.ID] = max(m[f.ID], s)
	}
	return m
}

// tidy sorts, drops exact duplicates, and bounds the list.
func tidy(reasons []pratique.Reason, rank map[string]pratique.Severity) []pratique.Reason {
	slices.SortFunc(reasons, func(a, b pratique.Reason) int {
		return cmp.Or(
			cmp.Compare(last(a), last(b)),
			cmp.Compare(min(len(a.Finding), 1), min(len(b.Finding), 1)),
			-cmp.Compare(rank[a.Finding], rank[b.Finding]),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Finding, b.Finding),
			cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.Message, b.Message),
			cmp.Compare(a.Platform, b.Platform),
		)
	})
	return clip(slices.Compact(reasons))
}

// last sorts the counts of what was left out behind all else.
func last(r pratique.Reason) int {
	if r.Rule == RuleMore {
		return 1
	}
	return 0
}

func clip(reasons []pratique.Reason) []pratique.Reason {
	counts := len(reasons)
	for counts > 0 && last(reasons[counts-1]) == 1 {
		counts--
	}
	if counts <= MaxReasons {
		return reasons
	}
	more := pratique.Reason{Rule: RuleMore, Message: fmt.Sprintf("and %d more; the report has all findings", counts-MaxReasons)}
	return slices.Concat(reasons[:MaxReasons], []pratique.Reason{more}, reasons[counts:])
}
