package signertest

import (
	"bytes"
	"context"
	"crypto/ed25519"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Key is a signer and the verifier of its signatures. It is made in no time, and its Ed25519
// signatures do not vary, which makes golden text possible. Two keys of one seed are equal with ==.
type Key struct {
	private  [ed25519.PrivateKeySize]byte
	identity pratique.Key
}

// NewKey returns the key of a seed: the same each time, and another for another seed.
func NewKey(seed byte) Key {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	identity, err := signer.KeyIdentity(private.Public())
	if err != nil {
		panic(err) // every Ed25519 key has one
	}
	return Key{[ed25519.PrivateKeySize]byte(private), identity}
}

// Sign implements [signer.Signer].
func (k Key) Sign(ctx context.Context, message []byte) (signer.Signature, error) {
	if err := ctx.Err(); err != nil {
		return signer.Signature{}, pratique.Wrap(pratique.Unavailable, "sign", "", err)
	}
	return signer.Signature{Bytes: ed25519.Sign(k.private[:], message)}, nil
}

// Identity implements [signer.Signer].
func (k Key) Identity() pratique.Identity { return k.identity }

// Verify implements [signer.Verifier].
func (k Key) Verify(message []byte, s signer.Signature) (pratique.Identity, error) {
	public := ed25519.PublicKey(k.private[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
	if !ed25519.Verify(public, message, s.Bytes) {
		return nil, pratique.Errorf(pratique.Unverified, "verify signature", "it does not hold")
	}
	return k.identity, nil
}
