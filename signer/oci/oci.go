// Package oci is the contract for signed evidence in the registry of the image that it is about. A
// [Store] is one way to attach it there: package tags is cosign's tag scheme, and Sigstore bundles
// as referrers are going to be package referrers, beside it. Both make their requests with package
// wire, which knows no format. Package storetest accepts new stores.
package oci

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Store attaches evidence to images in one format, and reads it. It is safe for concurrent use.
type Store interface {
	// Open begins the work on what own attached to the subject. Own is an identity, and v has to
	// accept its signatures: what is by any other identity is somebody else's, whether v accepts it
	// or not.
	Open(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		own pratique.Identity) (Session, error)
	// Verified returns what is attached to the subject with this predicate type, in the order of
	// the registry, as far as v accepts the signature and it is about the subject. The empty type
	// is that of plain image signatures. Everything else is passed over, as anybody who may push
	// can put it there. Nothing of the type is NotFound; something, but nothing that holds, is
	// Unverified. The type is taken from what was signed.
	Verified(ctx context.Context, subject pratique.Subject, v signer.Verifier,
		predicateType string) ([]Verified, error)
}

// Session is the work on what is attached to one subject by one identity. It is safe for concurrent
// use, and meant for one job: what it knows of the registry is of that moment.
type Session interface {
	// Upload brings an envelope to the registry ahead of Attach, so that less is left to do. Nobody
	// finds it before. After an error, Attach tries again.
	Upload(ctx context.Context, e signer.Signed) error
	// Attach writes the signature and the envelopes, and returns them as they were read back from
	// the registry and verified, the signature first. Everything must be by the own identity and
	// about the subject, with one envelope for each predicate type; otherwise it is Unverified or
	// Invalid, and nothing is written.
	//
	// What others attached stays. An attestation of the same predicate type that is our own is
	// replaced; if it says the same, it stays, and its digest is the one returned. A zero signature
	// is a denial: it withdraws the signature that is there, as Withdraw does, and attaches the
	// envelopes even if that fails; what others attached is left out where it is in the way. What
	// should be there and is not when read back is a Conflict: somebody else wrote at the same
	// time, and trying again helps. A registry that does not let anybody overwrite what has to be
	// overwritten is Invalid, which is permanent.
	Attach(ctx context.Context, signature signer.SimpleSignature,
		envelopes []signer.Signed) ([]pratique.Attestation, error)
	// Withdraw takes our own signature of the image away, whatever else is attached, and looks that
	// it is gone. It does nothing the second time.
	Withdraw(ctx context.Context) error
	// Notes say what of others had to be left out or replaced so far; usually nothing.
	Notes() []string
}

// Verified is one attestation, or one image signature, that a verifier accepted.
type Verified struct {
	// Attestation names the signer that the verifier returned. Digest and Size are those of the
	// envelope, or of the signed payload.
	Attestation pratique.Attestation
	// Statement is zero for an image signature.
	Statement pratique.Statement
}
