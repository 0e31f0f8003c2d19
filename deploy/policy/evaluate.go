package policy

import (
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

const opEvaluate = "evaluate"

// RuleMore is the rule of the reason that says how many others were left out.
const RuleMore = "more"

// MaxReasons bounds the reasons, and the notes, of one decision: verdicts travel in messages.
const MaxReasons = 100

// Other bounds. Rules put names and versions, which an image chooses, into their messages, so each
// text is bounded, and so is the size of what goes into a queue message.
const (
	maxMessage = 1 << 10
	maxName    = 256
	maxBytes   = 160 << 10 // of the reasons, and of the notes, that travel, encoded
	maxAll     = 20_000    // reasons, and notes, of one decision
)

// Evaluate evaluates the rules, and the limits on the database's age and the repositories, which
// hold for every policy. Reasons and notes are sorted: reasons without a finding first, then the
// gravest findings. Beyond [MaxReasons], or where they would take too many bytes, one last reason
// of rule [RuleMore] counts the rest. The error is of kind Invalid if a rule fails or answers in
// the wrong shape, Exhausted if it takes too long, and Unavailable if ctx ended; with an error
// there is no decision.
func (p *Policy) Evaluate(ctx context.Context, in Input) (pratique.Decision, error) {
	subject := in.Image.Repository + "@" + in.Image.Digest
	evalCtx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	results, err := p.query.Eval(evalCtx, rego.EvalInput(in))
	switch {
	case ctx.Err() != nil:
		return pratique.Decision{}, pratique.Wrap(pratique.Unavailable, opEvaluate, subject, ctx.Err())
	case evalCtx.Err() != nil || topdown.IsCancel(err):
		return pratique.Decision{}, pratique.Wrap(pratique.Exhausted, opEvaluate, subject,
			fmt.Errorf("the policy took longer than %s", p.timeout))
	case err != nil:
		return pratique.Decision{}, pratique.Wrap(pratique.Invalid, opEvaluate, subject, err)
	case len(results) != 1:
		return pratique.Decision{}, pratique.Wrap(pratique.Invalid, opEvaluate, subject,
			errors.New("the policy gives no answer: deny is undefined"))
	}
	reasons, notes, err := decode(results[0].Bindings["answer"])
	if err != nil {
		return pratique.Decision{}, pratique.Wrap(pratique.Invalid, opEvaluate, subject, err)
	}
	reasons, notes = append(p.guards.deny(in), reasons...), append(p.guards.note(in), notes...)
	rank := ranks(in.Scan.Findings)
	d := pratique.Decision{Outcome: pratique.Allow}
	d.Reasons, d.AllReasons = tidy(reasons, rank)
	d.Notes, d.AllNotes = tidy(notes, rank)
	if len(reasons) > 0 {
		d.Outcome = pratique.Deny
	}
	return d, nil
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

// tidy sorts, drops exact duplicates, and bounds the list; all is nil unless that leaves something
// out.
func tidy(reasons []pratique.Reason, rank map[string]pratique.Severity) (bounded, all []pratique.Reason) {
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
	all = slices.Compact(reasons)
	bounded, cut := clip(all)
	if !cut {
		return bounded, nil
	}
	if len(all) > maxAll {
		all = append(all[:maxAll:maxAll], more(len(all)-maxAll))
	}
	return bounded, all
}

// last sorts the counts of what was left out behind all else.
func last(r pratique.Reason) int {
	if r.Rule == RuleMore {
		return 1
	}
	return 0
}

// clip returns as many reasons as fit into a message, and counts the rest.
func clip(reasons []pratique.Reason) (bounded []pratique.Reason, cut bool) {
	counts := len(reasons)
	for counts > 0 && last(reasons[counts-1]) == 1 {
		counts--
	}
	fit, bytes := 0, 0
	for ; fit < min(counts, MaxReasons); fit++ {
		raw, err := json.Marshal(reasons[fit])
		if bytes += len(raw) + 1; err != nil || bytes > maxBytes {
			break
		}
	}
	if fit == counts {
		return reasons, false
	}
	return slices.Concat(reasons[:fit], []pratique.Reason{more(counts - fit)}, reasons[counts:]), true
}

func more(n int) pratique.Reason {
	return pratique.Reason{Rule: RuleMore,
		Message: fmt.Sprintf("and %d more; the verdict's document has them", n)}
}
