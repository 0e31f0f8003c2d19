package attest

import (
	"github.com/go-json-experiment/json"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// VSA is a verification summary that was read from a statement.
type VSA struct {
	Subject    pratique.Subject
	VerifierID string
	Version    map[string]string
	VerifiedAt time.Time
	Policy     Resource
	Outcome    pratique.Outcome
	Levels     []string
	Inputs     []Resource
	// Verdict is the digest of the verdict's document; Reasons are the rules that denied, at most a hundred of
	// ReasonCount. They are zero in summaries of other verifiers.
	Verdict     pratique.Digest
	ReasonCount int
	Reasons     []pratique.Reason
	Notes       []pratique.Reason
}

// ParseVSA reads the verification summary in a statement whose signature was verified. It is strict: every
// field that a gate relies on must be there, agree with the statement, and mean one thing only. Anything else
// is Unverified.
func ParseVSA(st pratique.Statement) (VSA, error) {
	const op = "read verification summary"
	bad := func(field, format string, args ...any) (VSA, error) {
		return VSA{}, pratique.Errorf(pratique.Unverified, op+": "+field, format, args...)
	}
	if st.PredicateType != pratique.PredicateVSA {
		return bad("predicateType", "%.100q is not a verification summary", st.PredicateType)
	}
	var p vsaPredicate
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
	out := VSA{
		Subject: subject, VerifierID: p.Verifier.ID, Version: p.Verifier.Version, VerifiedAt: p.TimeVerified, Levels: p.VerifiedLevels,
		Verdict: p.Verdict.Digest, ReasonCount: p.Verdict.ReasonCount, Reasons: p.Verdict.Reasons, Notes: p.Verdict.Notes,
	}
	if p.Verifier.ID == "" {
		return bad("verifier.id", "missing")
	}
	if p.TimeVerified.IsZero() {
		return bad("timeVerified", "missing")
	}
	if out.Policy, err = parseResource(p.Policy); err != nil || p.Policy.URI == "" {
		return bad("policy", "want a uri and a sha256 digest")
	}
	for _, r := range p.InputAttestations {
		input, err := parseResource(r)
		if err != nil {
			return bad("inputAttestations", "%w", err)
		}
		out.Inputs = append(out.Inputs, input)
	}
	failed := slices.Contains(p.VerifiedLevels, levelFailed)
	switch {
	case p.VerificationResult == resultPassed && !failed && len(p.VerifiedLevels) > 0 && len(p.Verdict.Reasons) == 0:
		out.Outcome = pratique.Allow
	case p.VerificationResult == resultFailed && failed:
		out.Outcome = pratique.Deny
	default:
		return bad("verificationResult", "%.40q does not agree with verifiedLevels", p.VerificationResult)
	}
	return out, nil
}

func parseResource(r vsaResource) (Resource, error) {
	digest, err := pratique.ParseDigestHex(r.Digest["sha256"])
	return Resource{URI: r.URI, Digest: digest}, err
}

// NewestVSA returns the position of the summary with the latest timeVerified, and the summary. Where a subject
// carries several that one key signed, only the newest speaks: an old PASSED that somebody copied back must not
// outlive a FAILED. A statement that cannot be read is an error, not a gap. Without statements it is NotFound.
func NewestVSA(statements []pratique.Statement) (int, VSA, error) {
	newest, at := VSA{}, -1
	for i, st := range statements {
		vsa, err := ParseVSA(st)
		if err != nil {
			return 0, VSA{}, err
		}
		// On equal times the denial wins.
		later := vsa.VerifiedAt.After(newest.VerifiedAt)
		tie := vsa.VerifiedAt.Equal(newest.VerifiedAt) && vsa.Outcome == pratique.Deny
		if at < 0 || later || tie {
			newest, at = vsa, i
		}
	}
	if at < 0 {
		return 0, VSA{}, pratique.Errorf(pratique.NotFound, "read verification summary", "there is none")
	}
	return at, newest, nil
}
