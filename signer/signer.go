// Package signer says what signing and verifying mean to the rest of Pratique, and does the parts that need
// neither a key store nor a network: DSSE envelopes around in-toto statements, and the simple-signing payload
// that cosign signs for an image. It is pure; the keys are in its leaf packages.
package signer

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"

	"github.com/pratique-dev/pratique"
)

// Signer signs messages with one key.
type Signer interface {
	// Sign returns a signature of the message; hashing is the signer's business. A key store that does not
	// answer is Unavailable, one that refuses is Denied.
	Sign(ctx context.Context, message []byte) ([]byte, error)
	Public() crypto.PublicKey
	// KeyID is the hexadecimal sha256 of the public key's DER form; see [KeyID].
	KeyID() string
}

// Verifier verifies messages with one public key.
type Verifier interface {
	// Verify returns nil only if signature is one of message by this key. The error is Unverified.
	Verify(message, signature []byte) error
	Public() crypto.PublicKey
	KeyID() string
}

// KeyID returns the hexadecimal sha256 of the key's DER-encoded SubjectPublicKeyInfo. A key of an unknown type
// is Invalid.
func KeyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", &pratique.Error{Op: "compute key id", Kind: pratique.Invalid, Err: err}
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
