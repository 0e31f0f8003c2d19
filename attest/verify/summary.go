package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
)

// Summary is a SLSA verification summary, read from a statement.
type Summary struct {
	// Envelope is the digest of the signed envelope in the registry, and Signer who signed it.
	Envelope pratique.Digest
	Signer   pratique.Identity

	// Subject is the subject of the summary, on which its resourceUri and the digest of the
	// statement's subject agree.
	Subject pratique.Subject
	// Verifier is the id of the service that evaluated the image, VerifiedAt the time that the
	// summary claims.
	Verifier   string
	Version    map[string]string
	VerifiedAt time.Time
	// Profile is the policy that evaluated the image. The summaries of other verifiers may use any
	// URI as its name.
	Profile pratique.Profile
	Outcome pratique.Outcome
	Levels  []string
	Inputs  []attest.Resource
	// Verdict is the digest of the verdict's document. Reasons are the rules that denied, at most a
	// hundred of ReasonCount. They are zero in the summaries of other verifiers.
	Verdict     pratique.Digest
	ReasonCount int
	Reasons     []pratique.Reason
	Notes       []pratique.Reason
}

// Parse reads a verification summary from a statement whose signature was verified. It is strict:
// every field that a gate relies on must be there, agree with the statement, and be unambiguous.
// Anything else is Unverified.
func Parse(st pratique.Statement) (Summary, error) {
	const op = "read verification summary"
	bad := func(field, format string, args ...any) (Summary, error) {
		return Summary{}, pratique.Errorf(pratique.Unverified, op+": "+field, format, args...)
	}
	if st.PredicateType != pratique.PredicateVSA {
		return bad("predicateType", "%.100q is not a verification summary", st.PredicateType)
	}
	var p attest.VSAPredicate
	if err := json.Unmarshal(st.Predicate, &p); err != nil {
		return bad("predicate", "%w", err)
	}
	subject, err := pratique.ParseSubject(p.ResourceURI)
	if err != nil {
		return bad("resourceUri", "%w", err)
	}
	if len(st.Subject) != 1 || st.Subject[0].Digest["sha256"] != subject.Digest.Hex() {
		return bad("subject", "the statement is not about %s alone", subject)
	}
	out := Summary{
		Subject: subject, Verifier: p.Verifier.ID, Version: p.Verifier.Version,
		VerifiedAt: p.TimeVerified, Levels: p.VerifiedLevels,
		Verdict: p.Verdict.Digest, ReasonCount: p.Verdict.ReasonCount, Reasons: p.Verdict.Reasons,
		Notes: p.Verdict.Notes,
	}
	if p.Verifier.ID == "" {
		return bad("verifier.id", "missing")
	}
	if p.TimeVerified.IsZero() {
		return bad("timeVerified", "missing")
	}
	policy, err := parseResource(p.Policy)
	out.Profile = pratique.Profile{Name: strings.TrimPrefix(policy.URI, attest.ProfilePrefix),
		Digest: policy.Digest}
	if err != nil || out.Profile.Name == "" {
		return bad("policy", "want a uri and a sha256 digest")
	}
	for _, r := range p.InputAttestations {
		input, err := parseResource(r)
		if err != nil {
			return bad("inputAttestations", "%w", err)
		}
		out.Inputs = append(out.Inputs, input)
	}
	failed := slices.Contains(p.VerifiedLevels, attest.LevelFailed)
	switch {
	case p.VerificationResult == attest.ResultPassed && !failed && len(p.VerifiedLevels) > 0 &&
		len(p.Verdict.Reasons) == 0:
		out.Outcome = pratique.Allow
	case p.VerificationResult == attest.ResultFailed && failed:
		out.Outcome = pratique.Deny
	default:
		return bad("verificationResult", "%.40q does not agree with verifiedLevels", p.VerificationResult)
	}
	return out, nil
}

func parseResource(r attest.VSAResource) (attest.Resource, error) {
	digest, err := pratique.ParseDigestHex(r.Digest["sha256"])
	return attest.Resource{URI: r.URI, Digest: digest}, err
}
