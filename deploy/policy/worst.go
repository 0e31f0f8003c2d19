package policy

import (
	"github.com/pratique-dev/pratique"
)

// Platform is the decision about one platform image of an index.
type Platform struct {
	pratique.Child
	Decision Decision
}

// Worst combines the decisions about the platforms of an index: one denial denies the index. A reason that every
// platform has is kept once without a platform; any other is tagged with its own. It fails with kind
// Internal if there are no platforms, or one without an outcome: nothing judged is not an allowance.
func Worst(platforms []Platform) (Decision, []pratique.ChildVerdict, error) {
	const op = "combine verdicts"
	if len(platforms) == 0 {
		return Decision{}, nil, pratique.Errorf(pratique.Internal, op, "no platform was judged")
	}
	out := Decision{Outcome: pratique.Allow}
	verdicts := make([]pratique.ChildVerdict, 0, len(platforms))
	reasons, notes := newMerger(len(platforms)), newMerger(len(platforms))
	for _, p := range platforms {
		switch p.Decision.Outcome {
		case pratique.Allow:
		case pratique.Deny:
			out.Outcome = pratique.Deny
		default:
			return Decision{}, nil, pratique.Errorf(pratique.Internal, op, "platform %s has no outcome", p.Platform)
		}
		verdicts = append(verdicts, pratique.ChildVerdict{Child: p.Child, Outcome: p.Decision.Outcome})
		reasons.add(p.Platform, p.Decision.Reasons)
		notes.add(p.Platform, p.Decision.Notes)
	}
	out.Reasons, out.Notes = reasons.list(), notes.list()
	return out, verdicts, nil
}

// merger collects reasons in the order of their first appearance, with the platforms that have them. That
// order already is the gravest first within each platform.
type merger struct {
	total     int
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
	return clip(append(append(shared, own...), more...))
}
