package attest

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// Our own names in a verification summary. The specification lets producers add fields whose names
// are URIs, and lets consumers expect any level that they agreed on with the producer.
const (
	// ExtensionVerdict is the member of the predicate with our verdict.
	ExtensionVerdict = "https://github.com/pratique-dev/pratique/verdict/v1"

	// ProfilePrefix and a profile's name are the policy's URI.
	ProfilePrefix = "https://github.com/pratique-dev/pratique/profile/"

	evidencePrefix = "https://github.com/pratique-dev/pratique/evidence/"
	// ResultPassed and ResultFailed are the possible results. LevelFailed is the level of a failed
	// one.
	ResultPassed = "PASSED"
	ResultFailed = "FAILED"
	LevelFailed  = "FAILED"
	// levelPassed claims nothing on the build track: the policy admits images, it does not rate
	// builds.
	levelPassed = "SLSA_BUILD_LEVEL_UNEVALUATED" //nolint:gosec // a level's name, not a credential
	slsaVersion = "1.1"
	// maxReasons bounds the signed statement. The counts are of all reasons and notes, and the
	// document of the verdict has them all.
	maxReasons = 100
)

// Resource is a document that a summary names by digest.
type Resource struct {
	URI    string
	Digest pratique.Digest
}

// VSAInput is the input of [NewVSA].
type VSAInput struct {
	Verdict pratique.Verdict
	// VerdictDigest is that of the verdict's stored document.
	VerdictDigest pratique.Digest
	// VerifierID is the URI of this service; Version maps component names to versions and may be
	// empty.
	VerifierID string
	Version    map[string]string
	// Inputs are all documents that the verdict rests on. If nil, they are those of the verdict.
	Inputs []Resource
}

// VSAPredicate is the predicate of a SLSA verification summary, version 1. Package verify reads it.
type VSAPredicate struct {
	Verifier           VSAVerifier   `json:"verifier"`
	TimeVerified       time.Time     `json:"timeVerified"`
	ResourceURI        string        `json:"resourceUri"`
	Policy             VSAResource   `json:"policy"`
	InputAttestations  []VSAResource `json:"inputAttestations,omitempty"`
	VerificationResult string        `json:"verificationResult"`
	VerifiedLevels     []string      `json:"verifiedLevels"`
	SLSAVersion        string        `json:"slsaVersion,omitempty"`
	Verdict            VSAVerdict    `json:"https://github.com/pratique-dev/pratique/verdict/v1,omitzero"`
}

// VSAVerifier identifies the service that made a summary.
type VSAVerifier struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// VSAResource is a [Resource] in its JSON form.
type VSAResource struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// VSAVerdict is our extension of the summary, [ExtensionVerdict].
type VSAVerdict struct {
	Digest      pratique.Digest         `json:"digest,omitzero"`
	ReasonCount int                     `json:"reasonCount,omitzero"`
	Reasons     []pratique.Reason       `json:"reasons,omitempty"`
	NoteCount   int                     `json:"noteCount,omitzero"`
	Notes       []pratique.Reason       `json:"notes,omitempty"`
	Children    []pratique.ChildVerdict `json:"children,omitempty"`
}

// NewVSA states a verdict as a SLSA verification summary of its subject. The resourceUri is
// "registry/repository@sha256:…", so a summary that is copied to another repository does not hold
// there. At most a hundred reasons and notes are listed. A verdict without an outcome, a profile or
// a time is Invalid.
func NewVSA(in VSAInput) (pratique.Statement, error) {
	const op = "state verdict"
	v := in.Verdict
	switch {
	case v.Outcome != pratique.Allow && v.Outcome != pratique.Deny:
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"verdict on %s has outcome %q", v.Subject, v.Outcome)
	case v.Outcome == pratique.Allow && len(v.Reasons) > 0:
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"verdict on %s is allow and has reasons to deny", v.Subject)
	case v.Profile.Digest.IsZero() || v.Profile.Name == "":
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"verdict on %s has no profile", v.Subject)
	case v.EvaluatedAt.IsZero():
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op,
			"verdict on %s has no time", v.Subject)
	case in.VerifierID == "":
		return pratique.Statement{}, pratique.Errorf(pratique.Invalid, op, "no verifier id is configured")
	}
	predicate := VSAPredicate{
		Verifier:     VSAVerifier{ID: in.VerifierID, Version: in.Version},
		TimeVerified: v.EvaluatedAt.UTC(),
		ResourceURI:  v.Subject.String(),
		Policy: newVSAResource(Resource{URI: ProfilePrefix + v.Profile.Name,
			Digest: v.Profile.Digest}),
		VerificationResult: ResultPassed,
		VerifiedLevels:     []string{levelPassed},
		SLSAVersion:        slsaVersion,
		Verdict: VSAVerdict{
			Digest:      in.VerdictDigest,
			ReasonCount: len(v.Reasons), Reasons: v.Reasons[:min(len(v.Reasons), maxReasons)],
			NoteCount: len(v.Notes), Notes: v.Notes[:min(len(v.Notes), maxReasons)],
			Children: v.Children,
		},
	}
	if v.Outcome == pratique.Deny {
		predicate.VerificationResult, predicate.VerifiedLevels = ResultFailed, []string{LevelFailed}
	}
	inputs, err := vsaInputs(op, in)
	if err != nil {
		return pratique.Statement{}, err
	}
	predicate.InputAttestations = inputs
	encoded, err := marshalPredicate(op, predicate)
	if err != nil {
		return pratique.Statement{}, err
	}
	return newStatement(op, v.Subject, pratique.PredicateVSA, encoded)
}

// vsaInputs lists all documents that the verdict rests on. The specification allows no partial list.
func vsaInputs(op string, in VSAInput) ([]VSAResource, error) {
	inputs := in.Inputs
	if inputs == nil {
		for _, i := range in.Verdict.Inputs {
			inputs = append(inputs, Resource{URI: evidencePrefix + i.Kind, Digest: i.Digest})
		}
	}
	var out []VSAResource
	for _, i := range inputs {
		if i.Digest.IsZero() {
			return nil, pratique.Errorf(pratique.Invalid, op,
				"input %q of the verdict on %s has no digest", i.URI, in.Verdict.Subject)
		}
		out = append(out, newVSAResource(i))
	}
	return out, nil
}

func newVSAResource(r Resource) VSAResource {
	return VSAResource{URI: r.URI, Digest: map[string]string{"sha256": r.Digest.Hex()}}
}
