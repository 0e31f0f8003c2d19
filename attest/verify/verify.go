// Package verify answers two questions about the signed evidence of an image, for the gate and for
// the stage that attests: which verification summary counts, and whether the registry still holds
// what was attested. Whoever audits what is let into a config repository reads this package, and
// the gate*.go of package deploy, which say what a summary that counts must contain.
//
// A summary counts if one of the keys that are configured signed it, if the statement is about the
// image, and if it is the newest of those. That nothing else comes out of a registry is the
// contract of [oci.Store], and that nothing else verifies the one of [signer.Verifier]; packages
// storetest and signertest keep both.
package verify

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// Evidence reads what is attached to images: an [oci.Store] of which nothing else is needed.
type Evidence interface {
	Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		predicateType string) ([]oci.Verified, error)
}

// Reader reads evidence that a verifier accepts. It is safe for concurrent use.
type Reader struct {
	evidence Evidence
	verifier signer.Verifier
}

// NewReader returns a reader that believes whom v accepts, and nobody else.
func NewReader(e Evidence, v signer.Verifier) *Reader { return &Reader{e, v} }

// Summary returns the verification summary of the subject that counts. The error is NotFound if
// there is none, and Unverified if there are some but none holds. A failure to find out has another
// kind.
//
// Where a subject carries several that hold, only the newest speaks: an old PASSED that somebody
// copied back must not outlive a FAILED. On equal times the denial wins. One that cannot be read is
// an error, not a gap: it may be the newest.
func (r *Reader) Summary(ctx context.Context, subject pratique.Subject) (Summary, error) {
	const op = "read verification summary"
	found, err := r.evidence.Verified(ctx, subject, r.verifier, pratique.PredicateVSA)
	if err != nil {
		return Summary{}, err
	}
	if len(found) == 0 {
		return Summary{}, pratique.Errorf(pratique.NotFound, op, "there is none")
	}
	var newest Summary
	for i, f := range found {
		if f.Attestation.Signer == nil {
			return Summary{}, pratique.Errorf(pratique.Unverified, op, "%s is signed by nobody",
				f.Attestation.Digest)
		}
		s, err := Parse(f.Statement)
		if err != nil {
			return Summary{}, err
		}
		s.Envelope, s.Signer = f.Attestation.Digest, f.Attestation.Signer
		later := s.VerifiedAt.After(newest.VerifiedAt)
		tie := s.VerifiedAt.Equal(newest.VerifiedAt) && s.Outcome == pratique.Deny
		if i == 0 || later || tie {
			newest = s
		}
	}
	return newest, nil
}

// Holds reports whether the registry still has all that was attested, verified and by the same
// signers. It looks at the signature and at the summary, which names the others; both were written
// together with them.
func (r *Reader) Holds(ctx context.Context, subject pratique.Subject,
	attested []pratique.Attestation) (bool, error) {
	for _, want := range attested {
		if want.PredicateType != "" && want.PredicateType != pratique.PredicateVSA {
			continue
		}
		found, err := r.evidence.Verified(ctx, subject, r.verifier, want.PredicateType)
		switch pratique.KindOf(err) {
		case pratique.NotFound, pratique.Unverified:
			return false, nil
		}
		if err != nil {
			return false, err
		}
		same := func(have oci.Verified) bool {
			return have.Attestation.Digest == want.Digest && have.Attestation.Signer == want.Signer
		}
		if want.Signer == nil || !slices.ContainsFunc(found, same) {
			return false, nil
		}
	}
	return true, nil
}
