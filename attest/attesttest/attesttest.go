// Package attesttest makes the verdicts and summaries that tests of writing and of reading them
// share.
package attesttest

import (
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
)

// VerifierID is who made the summaries.
const VerifierID = "https://pratique.test"

// EvaluatedAt is when: in a zone of its own, since a summary is in UTC.
func EvaluatedAt() time.Time {
	return time.Date(2026, 9, 1, 14, 0, 0, 0, time.FixedZone("somewhere", 7200))
}

func digest(s string) pratique.Digest { return pratique.DigestOf([]byte(s)) }

// Subject is the image that the summaries are about.
func Subject() pratique.Subject {
	digest, err := pratique.ParseDigest("sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		panic(err)
	}
	return pratique.Subject{Repository: pratique.Repository{Registry: "registry.test",
		Path: "team/app"}, Digest: digest}
}

// Verdict is a verdict with all fields, as a summary states it.
func Verdict(outcome pratique.Outcome) attest.VSAInput {
	v := pratique.Verdict{
		Subject: Subject(), Outcome: outcome, EvaluatedAt: EvaluatedAt(),
		Profile: pratique.Profile{Name: "default", Digest: digest("policy")},
		Inputs: []pratique.Input{{Kind: "report", Digest: digest("report")},
			{Kind: "inventory", Digest: digest("inventory")}},
		Notes: []pratique.Reason{{Rule: "age", Message: "the database is two hours old"}},
	}
	if outcome == pratique.Deny {
		v.Reasons = []pratique.Reason{{
			Rule: "severity", Message: "critical", Platform: "linux/amd64", Finding: "CVE-2026-1",
			Package: "libssl3",
		}}
		v.Children = []pratique.ChildVerdict{{
			Child:   pratique.Child{Digest: digest("child"), Platform: "linux/amd64"},
			Outcome: pratique.Deny,
		}}
	}
	return attest.VSAInput{
		Verdict: v, VerdictDigest: digest("verdict"), VerifierID: VerifierID,
		Version: map[string]string{"pratique": "1.2.3"},
	}
}

// VSA returns the summary.
func VSA(t testing.TB, in attest.VSAInput) pratique.Statement {
	t.Helper()
	st, err := attest.NewVSA(in)
	if err != nil {
		t.Fatal(err)
	}
	return st
}
