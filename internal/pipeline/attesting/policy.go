package attesting

import (
	"context"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Policy decides about one platform image.
type Policy interface {
	ID() pratique.Profile
	Evaluate(ctx context.Context, e Evidence) (pratique.Decision, error)
	// Worst combines the decisions about the platforms of an index. Each platform that could not be
	// inspected is a denial.
	Worst(all []pratique.PlatformDecision, uninspected []pratique.Uninspected) (pratique.Decision,
		[]pratique.ChildVerdict, error)
}

// Evidence is all that a policy sees. Two pushes of one digest differ in nothing but the time.
type Evidence struct {
	Subject   pratique.Subject
	Inspected pratique.Inspected
	Report    pratique.Report
	// Extras is nil if nothing besides packages was looked for.
	Extras *pratique.Extras
	Now    time.Time
}

// ruleNotEvaluated is the rule that denies an image about which the policy could not decide.
const ruleNotEvaluated = "not_evaluated"

// Decide asks the policy. An image about which it cannot decide is denied with the reason, so that
// an image that was allowed before does not keep its signature. A policy that exceeds its time is
// asked twice, because the machine may have been slow.
func Decide(ctx context.Context, policy Policy, e Evidence) (pratique.Decision, error) {
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
		{Rule: ruleNotEvaluated, Message: pipeline.Excerpt(err.Error())},
	}}, nil
}
