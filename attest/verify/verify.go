// Package verify answers two questions about the signed evidence of an image, for the gate and for
// the attest stage: which verification summary counts, and whether the registry still holds what was
// attested. To audit what may reach a config repository, read this package and gate.go of package
// deploy, which checks the content of a summary.
//
// A summary counts if one of the configured keys signed it, if its statement is about the image, and
// if it is the newest of those. An [oci.Store] returns nothing else from a registry, and a
// [signer.Verifier] accepts nothing else. The suites storetest and signertest keep both promises.
package verify

import (
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
)

// Evidence reads what is attached to images. It is the part of an [oci.Store] that reads.
type Evidence interface {
	Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		predicateType string) ([]oci.Verified, error)
}

// Reader reads evidence that a verifier accepts. It is safe for concurrent use.
type Reader struct {
	evidence Evidence
	verifier signer.Verifier
}

// NewReader returns a reader of evidence that v accepts.
func NewReader(e Evidence, v signer.Verifier) *Reader { return &Reader{e, v} }

// Summary returns the verification summary of the subject that counts. The error is NotFound if
// there is none, and Unverified if there are some and none is accepted. Other kinds mean that it
// could not be found out.
//
// Of several summaries only the newest counts: an old PASSED that somebody copied back must not
// outlive a FAILED. At the same time a denial wins. A summary that cannot be read is an error,
// because it may be the newest.
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

// Holds reports whether the registry still has everything that was attested, verified and by the
// same signers. It checks the signature and the summary. The summary names the other attestations,
// and was written with them.
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
