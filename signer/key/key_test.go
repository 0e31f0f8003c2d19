package key_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/signertest"
)

func TestGeneratedPairSigns(t *testing.T) {
	t.Parallel()
	private, public, err := key.Generate([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(private), "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n") ||
		!strings.HasPrefix(string(public), "-----BEGIN PUBLIC KEY-----\n") {
		t.Errorf("not cosign's format:\n%.60s\n%.60s", private, public)
	}
	s, err := key.Load(private, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := key.LoadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(public)
	sum := sha256.Sum256(block.Bytes)
	if want := (pratique.Key{ID: hex.EncodeToString(sum[:])}); s.Identity() != want ||
		v.Identity() != want {
		t.Errorf("identities %s, %s, want %s", s.Identity(), v.Identity(), want)
	}
	sig, err := s.Sign(t.Context(), []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	public509, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !sig.IsBare() || !ecdsa.VerifyASN1(public509.(*ecdsa.PublicKey), digest[:], sig.Bytes) {
		t.Error("not an ASN.1 ECDSA signature of the sha256")
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	signertest.Test(t, func(t *testing.T) (signer.Signer, signer.Verifier) {
		private, public, err := key.Generate([]byte("correct horse"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := key.Load(private, []byte("correct horse"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := key.LoadVerifier(public)
		if err != nil {
			t.Fatal(err)
		}
		return s, v
	})
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	private, public, err := key.Generate([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pem, passphrase string
		kind            pratique.Kind
		contains        string
	}{
		"wrong passphrase": {string(private), "wrong", pratique.Denied, "the passphrase is wrong"},
		"no passphrase":    {string(private), "", pratique.Denied, "the passphrase is wrong"},
		"no PEM":           {"nonsense", "right", pratique.Invalid, "pratique key generate"},
		"public key":       {string(public), "right", pratique.Invalid, "PUBLIC KEY"},
		"broken":           {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("{}")})), "right", pratique.Invalid, ""},
	} {
		_, err := key.Load([]byte(c.pem), []byte(c.passphrase))
		if pratique.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.contains) {
			t.Errorf("%s: %v is %s, want %s with %q", name, err, pratique.KindOf(err), c.kind, c.contains)
		}
	}
}

// TestVerifiersOfOtherKeys verifies signatures that sigstore makes with other kinds of keys.
func TestVerifiersOfOtherKeys(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string]any{"rsa": rsaKey, "ed25519": edKey, "p384": ecKey} {
		sv, err := signature.LoadSignerVerifier(private, 5) // crypto.SHA256
		if err != nil {
			t.Fatal(err)
		}
		public, err := sv.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		v, err := key.LoadVerifier(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sv.SignMessage(strings.NewReader("message"))
		if err != nil {
			t.Fatal(err)
		}
		made := signer.Signature{Bytes: sig}
		if by, err := v.Verify([]byte("message"), made); err != nil || by != v.Identity() {
			t.Errorf("%s: %v, %v", name, by, err)
		}
		if _, err := v.Verify([]byte("other"), made); pratique.KindOf(err) != pratique.Unverified {
			t.Errorf("%s, another message: %v", name, err)
		}
	}
	weak, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: ecKey.X, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	_, good, err := key.Generate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nonsense": []byte("nonsense"), "nothing": nil, "two keys": append(bytes.Clone(good),
			good...), "a key and more": append(bytes.Clone(good), "x"...),
		"a weak key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: weak}),
	} {
		if _, err := key.LoadVerifier(text); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
