// Package key signs with an encrypted key pair in the format of cosign. It reads what `cosign
// generate-key-pair` writes, and cosign reads what it generates. It reads no files and no
// environment.
package key

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/pem"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// Signer signs with an ECDSA P-256 key over sha256. It is safe for concurrent use.
type Signer struct {
	key      signature.SignerVerifier
	identity pratique.Key
}

// Verifier verifies with a public key: ECDSA or RSA (PKCS #1 v1.5) over sha256, or Ed25519. It is
// safe for concurrent use.
type Verifier struct {
	key      signature.Verifier
	identity pratique.Key
}

var (
	_ signer.Signer   = (*Signer)(nil)
	_ signer.Verifier = (*Verifier)(nil)
)

// Generate generates an ECDSA P-256 key pair. The private key is encrypted with the passphrase,
// which may be empty. Both are PEM, as cosign writes them.
func Generate(passphrase []byte) (privatePEM, publicPEM []byte, err error) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return passphrase, nil })
	if err != nil {
		return nil, nil, &pratique.Error{Op: "generate key pair", Kind: pratique.Internal, Err: err}
	}
	return pair.PrivateBytes, pair.PublicBytes, nil
}

// Load decrypts a private key that cosign or [Generate] wrote. A wrong passphrase is Denied. Text
// that is not such a key, or a key other than ECDSA P-256, is Invalid.
func Load(privatePEM, passphrase []byte) (*Signer, error) {
	const op = "load private key"
	block, _ := pem.Decode(privatePEM)
	if block == nil {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"not a PEM file; make one with \"pratique key generate\"")
	}
	if block.Type != cosign.SigstorePrivateKeyPemType && block.Type != cosign.CosignPrivateKeyPemType {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"PEM type %q, want %q; make one with \"pratique key generate\" or \"cosign generate-key-pair\"",
			block.Type, cosign.SigstorePrivateKeyPemType)
	}
	key, err := cosign.LoadPrivateKey(privatePEM, passphrase, nil)
	if err != nil {
		// The library has no error value for it. An authenticated decryption fails only for a wrong
		// key.
		if strings.Contains(err.Error(), "decryption failed") {
			return nil, pratique.Errorf(pratique.Denied, op, "the passphrase is wrong")
		}
		return nil, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	if ec, ok := public.(*ecdsa.PublicKey); !ok || ec.Curve != elliptic.P256() {
		return nil, pratique.Errorf(pratique.Invalid, op, "the key is a %T, want ECDSA P-256", public)
	}
	identity, err := signer.KeyIdentity(public)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, identity: identity}, nil
}

// Sign returns an ASN.1 ECDSA signature of the message's sha256.
func (s *Signer) Sign(ctx context.Context, message []byte) (signer.Signature, error) {
	if err := ctx.Err(); err != nil {
		return signer.Signature{}, &pratique.Error{Op: "sign", Kind: pratique.Unavailable, Err: err}
	}
	sig, err := s.key.SignMessage(bytes.NewReader(message))
	if err != nil {
		return signer.Signature{}, &pratique.Error{Op: "sign", Kind: pratique.Internal, Err: err}
	}
	return signer.Signature{Bytes: sig}, nil
}

// Identity identifies the key by its public half.
func (s *Signer) Identity() pratique.Identity { return s.identity }

// LoadVerifier reads one public key in PEM. Anything else is Invalid.
func LoadVerifier(publicPEM []byte) (*Verifier, error) {
	const op = "load public key"
	if _, rest := pem.Decode(publicPEM); len(bytes.TrimSpace(rest)) > 0 {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"want one public key in PEM, and nothing after it")
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(publicPEM)
	if err != nil {
		return nil, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	return NewVerifier(public)
}

// NewVerifier returns a verifier for a public key. A key that is neither ECDSA, RSA nor Ed25519, or
// is known to be weak, is Invalid.
func NewVerifier(public crypto.PublicKey) (*Verifier, error) {
	const op = "load public key"
	if err := cryptoutils.ValidatePubKey(public); err != nil { //nolint:staticcheck // size and curve are what is wanted here
		return nil, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	key, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, &pratique.Error{Op: op, Kind: pratique.Invalid, Err: err}
	}
	identity, err := signer.KeyIdentity(public)
	if err != nil {
		return nil, err
	}
	return &Verifier{key: key, identity: identity}, nil
}

// Verify returns the key's identity if the key signed the message. Otherwise the error is
// Unverified.
func (v *Verifier) Verify(message []byte, sig signer.Signature) (pratique.Identity, error) {
	if err := v.key.VerifySignature(bytes.NewReader(sig.Bytes), bytes.NewReader(message)); err != nil {
		return nil, &pratique.Error{Op: "verify signature", Kind: pratique.Unverified, Err: err}
	}
	return v.identity, nil
}

// Identity identifies the key by its public half.
func (v *Verifier) Identity() pratique.Identity { return v.identity }
