package policy

import (
	"fmt"
	"slices"

	"github.com/pratique-dev/pratique"
)

// RuleNotInspected is the rule of the reason that names a platform which could not be inspected. It
// holds for every policy: an image that was not inspected is never allowed.
const RuleNotInspected = "platform_not_inspected"

// RulePlatform is the rule of the note that the configuration of an image has another platform than
// its index.
const RulePlatform = "platform_differs"

// Worst combines the decisions about the platforms of an index: one denial denies the index, and so
// does each image that could not be inspected. A reason that every platform has is kept once
// without a platform; any other is tagged with its own. It fails with kind Internal if there are no
// platforms, or one without an outcome: no evaluation is no allowance.
func Worst(platforms []pratique.PlatformDecision,
	uninspected []pratique.Uninspected) (pratique.Decision, []pratique.ChildVerdict, error) {
	const op = "combine verdicts"
	if len(platforms)+len(uninspected) == 0 {
		return pratique.Decision{}, nil, pratique.Errorf(pratique.Internal, op,
			"no platform was evaluated")
	}
	out := pratique.Decision{Outcome: pratique.Allow}
	verdicts := make([]pratique.ChildVerdict, 0, len(platforms))
	reasons, notes := newMerger(len(platforms)), newMerger(len(platforms))
	for _, u := range uninspected {
		out.Outcome = pratique.Deny
		reasons.first = append(reasons.first, notInspected(u))
	}
	for _, p := range platforms {
		switch p.Decision.Outcome {
		case pratique.Allow:
		case pratique.Deny:
			out.Outcome = pratique.Deny
		default:
			return pratique.Decision{}, nil, pratique.Errorf(pratique.Internal, op,
				"platform %s has no outcome", p.Platform)
		}
		verdicts = append(verdicts, pratique.ChildVerdict{Child: p.Child, Outcome: p.Decision.Outcome})
		reasons.add(p.Platform, p.Decision.Reasons)
		notes.add(p.Platform, p.Decision.Notes)
		if p.Configured != "" {
			notes.first = append(notes.first, pratique.Reason{Rule: RulePlatform,
				Platform: p.Platform, Message: fmt.Sprintf(
					"the index has %s for %s, and the configuration of the image says %s; runtimes go by the index", p.Digest, p.Platform, p.Configured)})
		}
	}
	out.Reasons, out.Notes = reasons.list(), notes.list()
	return out, verdicts, nil
}

func notInspected(u pratique.Uninspected) pratique.Reason {
	if u.Platform == "" {
		return pratique.Reason{Rule: RuleNotInspected, Message: fmt.Sprintf(
			"%s names no platform, so a runtime may run it, and could not be inspected: %s; take it out of the index", u.Digest, u.Reason)}
	}
	return pratique.Reason{Rule: RuleNotInspected, Platform: u.Platform, Message: fmt.Sprintf(
		"the image for %s, %s, could not be inspected: %s", u.Platform, u.Digest, u.Reason)}
}

// merger collects reasons in the order of their first appearance, with the platforms that have
// them. That order already is the gravest first within each platform.
type merger struct {
	total     int
	first     []pratique.Reason // those that stand before all others
	order     []pratique.Reason
	platforms map[pratique.Reason][]pratique.Platform
}

func newMerger(total int) *merger {
	return &merger{total: total, platforms: map[pratique.Reason][]pratique.Platform{}}
}

func (m *merger) add(p pratique.Platform, reasons []pratique.Reason) {
	for _, r := range reasons {
		if _, ok := m.platforms[r]; !ok {
			m.order = append(m.order, r)
		}
		m.platforms[r] = append(m.platforms[r], p)
	}
}

func (m *merger) list() []pratique.Reason {
	var shared, own, more []pratique.Reason
	for _, r := range m.order {
		switch platforms := m.platforms[r]; {
		case len(platforms) == m.total:
			if r.Rule == RuleMore {
				more = append(more, r)
				continue
			}
			shared = append(shared, r)
		default:
			for _, p := range platforms {
				tagged := r
				tagged.Platform = p
				if r.Rule == RuleMore {
					more = append(more, tagged)
					continue
				}
				own = append(own, tagged)
			}
		}
	}
	// the documents of the platforms' verdicts have them all
	bounded, _ := clip(slices.Concat(m.first, shared, own, more))
	return bounded
}
