// Package signer is the contract for signing and verifying, and implements what needs neither a key
// store nor a network: DSSE envelopes around in-toto statements, and the simple-signing payload that
// cosign signs for an image. It is pure; keys are in packages below it. Package signertest accepts
// new signers and verifiers.
package signer

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"

	"github.com/pratique-dev/pratique"
)

// Signer signs messages as one identity. It is safe for concurrent use.
type Signer interface {
	// Sign returns a signature of the message, which the signer hashes. A key store that does not
	// answer is Unavailable, one that refuses is Denied.
	Sign(ctx context.Context, message []byte) (Signature, error)
	// Identity is what a verifier of these signatures returns.
	Identity() pratique.Identity
}

// Verifier identifies signers. It is safe for concurrent use.
type Verifier interface {
	// Verify returns the identity that signed the message. If the signature is not of this message,
	// or by somebody whom the verifier does not accept, the identity is nil and the error
	// Unverified.
	Verify(message []byte, s Signature) (pratique.Identity, error)
}

// Signature is what a signer makes of a message, and what a verifier needs besides the message. A
// signer with a key sets Bytes alone.
type Signature struct {
	// Bytes are the signature in the form that its algorithm defines.
	Bytes []byte
	// Certificate names the identity. Chain leads from it to a root. Both are DER.
	Certificate []byte
	Chain       [][]byte
	// Bundle proves that a transparency log contains the signature, in the log's JSON form.
	Bundle []byte
	// Timestamp is an RFC 3161 response about Bytes, in DER.
	Timestamp []byte
}

// IsZero reports whether s is the zero value, "no signature".
func (s Signature) IsZero() bool { return s.Bytes == nil && s.IsBare() }

// IsBare reports whether only Bytes may be set.
func (s Signature) IsBare() bool {
	return s.Certificate == nil && s.Chain == nil && s.Bundle == nil && s.Timestamp == nil
}

// KeyIdentity returns the identity of a key. A key of an unknown type is Invalid.
func KeyIdentity(public crypto.PublicKey) (pratique.Key, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return pratique.Key{}, &pratique.Error{Op: "compute key id", Kind: pratique.Invalid, Err: err}
	}
	sum := sha256.Sum256(der)
	return pratique.Key{ID: hex.EncodeToString(sum[:])}, nil
}
