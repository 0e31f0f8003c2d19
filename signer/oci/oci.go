// Package oci is the contract for signed evidence in the registry of the image. A [Store] attaches
// evidence in one format. Package tags implements cosign's tag scheme; Sigstore bundles as referrers
// will be package referrers, beside it. Both make their requests with package wire, which knows no
// format. Package storetest accepts new stores.
package oci

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Store attaches evidence to images in one format, and reads it. It is safe for concurrent use.
type Store interface {
	// Open opens a session on what own attached to the subject. V must accept the signatures of own.
	// Evidence by any other identity is somebody else's, whether v accepts it or not.
	Open(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		own pratique.Identity) (Session, error)
	// Verified returns what is attached to the subject with this predicate type, in the order of the
	// registry, if v accepts the signature and it is about the subject. The empty type means image
	// signatures. Everything else is skipped, because anybody who may push can attach it. If there
	// is nothing of the type, the error is NotFound; if nothing of it is accepted, it is Unverified.
	// The predicate type is the one that was signed.
	Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		predicateType string) ([]Verified, error)
}

// Session is the work on what one identity attached to one subject. It is safe for concurrent use.
// It is meant for one job, because it remembers what it read from the registry.
type Session interface {
	// Upload uploads an envelope ahead of Attach, so that Attach has less to do. Until then, no
	// manifest names it. After an error, Attach tries again.
	Upload(ctx context.Context, e signer.Signed) error
	// Attach attaches the signature and the envelopes, reads them back, and returns them, the
	// signature first. Everything must be by own and about the subject, with one envelope for each
	// predicate type. Otherwise the error is Unverified or Invalid, and nothing is written.
	//
	// What others attached stays. An attestation of our own with the same predicate type is
	// replaced, or stays if it states the same; then its digest is the one returned. A zero
	// signature is a denial: it withdraws the signature, as Withdraw does, and attaches the
	// envelopes even if that fails; attestations of others are removed if they are in the way. If
	// something is missing when it is read back, the error is Conflict: somebody else wrote at the
	// same time, and a retry helps. If the registry lets nobody overwrite a tag that has to be
	// overwritten, the error is Invalid, which is permanent.
	Attach(ctx context.Context, signature signer.SimpleSignature,
		envelopes []signer.Signed) ([]pratique.Attestation, error)
	// Withdraw withdraws our signature of the image, whatever else is attached, and checks that it
	// is gone. Withdrawing twice is withdrawing once.
	Withdraw(ctx context.Context) error
	// Notes say what others had attached and had to be removed. Usually there are none.
	Notes() []string
}

// Verified is an attestation, or an image signature, that a verifier accepted.
type Verified struct {
	// Attestation names the identity that the verifier returned. Digest and Size are those of the
	// envelope, or of the signed payload.
	Attestation pratique.Attestation
	// Statement is zero for an image signature.
	Statement pratique.Statement
}
