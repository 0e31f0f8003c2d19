// Package signertest accepts signers and verifiers: what passes [Test] may sign for Pratique. To
// have a new pair accepted, write one test that calls it:
//
//	func TestConformance(t *testing.T) {
//		signertest.Test(t, func(t *testing.T) (signer.Signer, signer.Verifier) { … })
//	}
//
// The function makes a signer with an identity of its own, and a verifier that accepts this
// identity and no other. It is called several times, and each call gives another identity; where
// that needs a server, start it for the test. The suite asks for what the rest of Pratique relies
// on:
//
//   - a signature verifies as the identity that its signer names, with == and after a trip through
//     JSON;
//   - a verifier accepts neither another message, nor another identity's signature, nor a
//     signature of which a byte was changed, left out or added, and says Unverified for each;
//   - both may be used by many goroutines, and neither changes or keeps what it is given;
//   - a signer whose context has ended signs nothing and says Unavailable.
//
// The package also has [Key], a small real signer for tests of what uses signers.
package signertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
)

// New makes a signer of its own identity, and a verifier that accepts only this one.
type New func(t *testing.T) (signer.Signer, signer.Verifier)

// Test runs the suite.
func Test(t *testing.T, create New) {
	for name, test := range map[string]func(*testing.T, New){
		"Identity": testIdentity, "Messages": testMessages, "OtherIdentity": testOtherIdentity,
		"Mutations": testMutations,
		"Arguments": testArguments, "Together": testTogether, "ContextEnds": testContextEnds,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, create) })
	}
}

// sign signs, and fails the test if that fails.
func sign(t testing.TB, s signer.Signer, message []byte) signer.Signature {
	t.Helper()
	sig, err := s.Sign(t.Context(), message)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	return sig
}

// accepts fails the test unless the signature verifies as the identity.
func accepts(t testing.TB, v signer.Verifier, message []byte, sig signer.Signature,
	want pratique.Identity) {
	t.Helper()
	if got, err := v.Verify(message, sig); err != nil || got != want {
		t.Errorf("verified as %v, %v; want %v", got, err, want)
	}
}

// refuses fails the test unless the signature is Unverified.
func refuses(t testing.TB, what string, v signer.Verifier, message []byte, sig signer.Signature) {
	t.Helper()
	if got, err := v.Verify(message, sig); got != nil || pratique.KindOf(err) != pratique.Unverified {
		t.Errorf("%s: verified as %v, %v; want the kind %s", what, got, err, pratique.Unverified)
	}
}

func testIdentity(t *testing.T, create New) {
	s, v := create(t)
	id := s.Identity()
	if id == nil || id.String() == "" || id != s.Identity() {
		t.Fatalf("the signer is %v, then %v", id, s.Identity())
	}
	accepts(t, v, []byte("message"), sign(t, s, []byte("message")), id)
	other, _ := create(t)
	if other.Identity() == id {
		t.Errorf("two signers are both %v", id)
	}
	form, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := pratique.ParseIdentity(form); err != nil || again != id {
		t.Errorf("%s is read as %v, %v", form, again, err)
	}
}

func testMessages(t *testing.T, create New) {
	s, v := create(t)
	for _, message := range [][]byte{nil, {0}, []byte("message"),
		bytes.Repeat([]byte("0123456789abcdef"), 1<<16)} {
		sig := sign(t, s, message)
		if sig.IsZero() {
			t.Error("the signature is empty")
		}
		accepts(t, v, message, sig, s.Identity())
		accepts(t, v, message, sign(t, s, message), s.Identity())
		refuses(t, "a longer message", v, append(bytes.Clone(message), 0), sig)
		if len(message) > 0 {
			refuses(t, "a shorter message", v, message[:len(message)-1], sig)
			changed := bytes.Clone(message)
			changed[len(changed)/2] ^= 1
			refuses(t, "a changed message", v, changed, sig)
		}
	}
}

func testOtherIdentity(t *testing.T, create New) {
	s, v := create(t)
	other, otherVerifier := create(t)
	message := []byte("message")
	theirs := sign(t, other, message)
	refuses(t, "another identity", v, message, theirs)
	both := signer.AnyOf(v, otherVerifier)
	accepts(t, both, message, theirs, other.Identity())
	accepts(t, both, message, sign(t, s, message), s.Identity())
	refuses(t, "another identity than the wanted one", signer.Only(both, s.Identity()), message, theirs)
	// The parts of two signatures do not make a third.
	mixed := sign(t, s, message)
	mixed.Bytes = theirs.Bytes
	refuses(t, "bytes of another identity", v, message, mixed)
}

func testMutations(t *testing.T, create New) {
	s, v := create(t)
	message := []byte("message")
	sig := sign(t, s, message)
	refuses(t, "no signature", v, message, signer.Signature{})
	with := func(b []byte) signer.Signature {
		changed := sig
		changed.Bytes = b
		return changed
	}
	for n := range sig.Bytes {
		refuses(t, fmt.Sprintf("%d of %d bytes", n, len(sig.Bytes)), v, message, with(sig.Bytes[:n]))
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(sig.Bytes)
			changed[n] ^= bit
			refuses(t, fmt.Sprintf("byte %d changed", n), v, message, with(changed))
		}
	}
	refuses(t, "a byte more", v, message, with(append(bytes.Clone(sig.Bytes), 0)))
	refuses(t, "twice", v, message, with(append(bytes.Clone(sig.Bytes), sig.Bytes...)))
	refuses(t, "much more", v, message, with([]byte(strings.Repeat("x", 1<<20))))
	if sig.Certificate != nil {
		changed := sig
		changed.Certificate = nil
		refuses(t, "without its certificate", v, message, changed)
		changed.Certificate = bytes.Clone(sig.Certificate)
		changed.Certificate[len(changed.Certificate)-1] ^= 1
		refuses(t, "with a changed certificate", v, message, changed)
	}
}

func testArguments(t *testing.T, create New) {
	s, v := create(t)
	message := []byte("message")
	sig := sign(t, s, message)
	if string(message) != "message" {
		t.Errorf("the signer changed the message to %q", message)
	}
	copied := signer.Signature{Bytes: bytes.Clone(sig.Bytes)}
	accepts(t, v, message, sig, s.Identity())
	if string(message) != "message" || !slices.Equal(sig.Bytes, copied.Bytes) {
		t.Errorf("the verifier changed what it was given: %q", message)
	}
	message[0] = 'M' // a verifier that remembered the slice would accept it
	refuses(t, "a message changed in place", v, message, sig)
}

func testTogether(t *testing.T, create New) {
	s, v := create(t)
	const goroutines, rounds = 8, 10
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for r := range rounds {
				message := fmt.Appendf(nil, "message %d of %d", r, g)
				sig, err := s.Sign(t.Context(), message)
				if err != nil {
					t.Errorf("sign: %v", err)
					return
				}
				accepts(t, v, message, sig, s.Identity())
				refuses(t, "another message", v, []byte("other"), sig)
			}
		})
	}
	wg.Wait()
}

func testContextEnds(t *testing.T, create New) {
	s, _ := create(t)
	ended, end := context.WithCancel(t.Context())
	end()
	if sig, err := s.Sign(ended, []byte("message")); pratique.KindOf(err) != pratique.Unavailable ||
		!sig.IsZero() {
		t.Errorf("signed %v, %v; want nothing and the kind %s", sig, err, pratique.Unavailable)
	}
}
