package policy

import (
	"fmt"
	"time"

	"github.com/pratique-dev/pratique"
)

// guards are the rules that hold whatever the Rego files contain. Otherwise custom rules would
// switch them off unnoticed.
type guards struct {
	maxAge    time.Duration
	extension Extension
	allowed   []pratique.Glob
}

func newGuards(p Params) guards {
	g := guards{maxAge: p.MaxDatabaseAge, extension: p.Extension, allowed: p.AllowedRepositories}
	if g.maxAge == 0 {
		g.maxAge = DefaultMaxDatabaseAge
	}
	return g
}

// skew allows for clocks that differ. A database from the future would never become too old.
const skew = time.Hour

func (g guards) deny(in Input) []pratique.Reason {
	var reasons []pratique.Reason
	if len(g.allowed) > 0 && !pratique.MatchAny(g.allowed, in.Image.Repository) {
		reasons = append(reasons, pratique.Reason{
			Rule: "repository",
			Message: fmt.Sprintf("repository %s is not among policy.allowedRepositories",
				in.Image.Repository),
		})
	}
	for _, u := range in.Scan.Unmatched {
		if u.Reason == string(pratique.UnmatchedFailed) {
			reasons = append(reasons, pratique.Reason{Rule: "not_matched", Message: fmt.Sprintf(
				"the scanner failed on %s of type %s with the newest database, so nothing is known of them: submit the image to have them matched again", counted(u.Packages), u.Type)})
		}
	}
	limit := g.limit(in.now())
	switch age := time.Duration(in.Scan.Database.AgeSeconds) * time.Second; {
	case age > limit:
		reasons = append(reasons, pratique.Reason{Rule: "database_age", Message: fmt.Sprintf(
			"the vulnerability database is of %s, %s old; at most %s are allowed, by %s: pratique db update or db import brings a newer one",
			in.Scan.Database.UpdatedAt, hours(age), hours(limit), g.limitKey(in.now()))})
	case age < -skew:
		reasons = append(reasons, pratique.Reason{Rule: "database_age", Message: fmt.Sprintf(
			"the vulnerability database says it is of %s, which is later than now, %s: check the clock", in.Scan.Database.UpdatedAt, in.Now)})
	}
	return reasons
}

func counted(packages int) string {
	if packages == 1 {
		return "1 package"
	}
	return fmt.Sprintf("%d packages", packages)
}

func hours(d time.Duration) string { return fmt.Sprintf("%d h", d/time.Hour) }
