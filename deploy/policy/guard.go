package policy

import (
	"fmt"
	"time"

	"github.com/pratique-dev/pratique"
)

// guards are the two rules that hold whatever the Rego files say: somebody who writes rules of his own would
// otherwise switch them off without noticing.
type guards struct {
	maxAge  time.Duration
	allowed []pratique.Glob
}

func newGuards(p Params) guards {
	g := guards{maxAge: p.MaxDatabaseAge, allowed: p.AllowedRepositories}
	if g.maxAge == 0 {
		g.maxAge = DefaultMaxDatabaseAge
	}
	return g
}

// skew is left for clocks that differ: a database from the future would never grow old.
const skew = time.Hour

func (g guards) deny(in Input) []pratique.Reason {
	var reasons []pratique.Reason
	if len(g.allowed) > 0 && !pratique.MatchAny(g.allowed, in.Image.Repository) {
		reasons = append(reasons, pratique.Reason{
			Rule: "repository", Message: fmt.Sprintf("repository %s is not among the allowed ones", in.Image.Repository),
		})
	}
	switch age := time.Duration(in.Scan.Database.AgeSeconds) * time.Second; {
	case age > g.maxAge:
		reasons = append(reasons, pratique.Reason{Rule: "database_age", Message: fmt.Sprintf(
			"the vulnerability database is of %s, %s old; at most %s are allowed", in.Scan.Database.UpdatedAt, hours(age), hours(g.maxAge))})
	case age < -skew:
		reasons = append(reasons, pratique.Reason{Rule: "database_age", Message: fmt.Sprintf(
			"the vulnerability database says it is of %s, which is later than now, %s: check the clock", in.Scan.Database.UpdatedAt, in.Now)})
	}
	return reasons
}

func hours(d time.Duration) string { return fmt.Sprintf("%d h", d/time.Hour) }
