package tags_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// keys is a signer and the verifier of its signatures.
type keys interface {
	signer.Signer
	signer.Verifier
}

// testKey returns one of the keys that all tests share.
func testKey(_ testing.TB, n byte) signertest.Key { return signertest.NewKey(n + 1) }

// open begins the work of own on the subject.
func open(t testing.TB, store *tags.Store, subject pratique.Subject, own keys) oci.Session {
	t.Helper()
	session, err := store.Open(t.Context(), subject, own, own.Identity())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func attachAll(t testing.TB, store *tags.Store, subject pratique.Subject,
	sig signer.SimpleSignature, es []signer.Signed, own keys) ([]pratique.Attestation, error) {
	t.Helper()
	return open(t, store, subject, own).Attach(t.Context(), sig, es)
}

// signatureOf reads the signature that v accepts.
func signatureOf(t testing.TB, store *tags.Store, subject pratique.Subject,
	v signer.Verifier) (pratique.Attestation, error) {
	t.Helper()
	found, err := store.Verified(t.Context(), subject, v, "")
	if err != nil {
		return pratique.Attestation{}, err
	}
	if len(found) != 1 {
		t.Errorf("%d signatures", len(found))
	}
	return found[0].Attestation, nil
}

// The documents of one image, in statements.
func statements(t testing.TB, subject pratique.Subject, outcome pratique.Outcome) []pratique.Statement {
	t.Helper()
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	verdict := pratique.Verdict{
		Subject: subject, Outcome: outcome, EvaluatedAt: at,
		Profile: pratique.Profile{Name: "default", Digest: pratique.DigestOf([]byte("policy"))},
	}
	if outcome == pratique.Deny {
		verdict.Reasons = []pratique.Reason{{Rule: "severity", Message: "critical",
			Finding: "CVE-2026-1"}}
	}
	report := pratique.Report{
		Scanner:   pratique.Tool{Name: "trivy", Version: "0.72.0"},
		Inventory: pratique.DigestOf([]byte("inventory")), ScannedAt: at,
		Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")),
			UpdatedAt: at.Add(-time.Hour), Source: "registry.test/trivy-db:2"},
		Findings: []pratique.Finding{{ID: "CVE-2026-1", Package: "openssl", Installed: "3.0.1",
			Severity: pratique.SeverityCritical, Class: pratique.ClassOS, Type: "debian",
			Target: "debian 12"}},
	}
	var out []pratique.Statement
	for _, make := range []func() (pratique.Statement, error){
		func() (pratique.Statement, error) {
			return attest.SPDX(subject,
				[]byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"<img> & co","packages":[]}`))
		},
		func() (pratique.Statement, error) {
			return attest.CycloneDX(subject,
				[]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}`))
		},
		func() (pratique.Statement, error) {
			return attest.Vulnerability(attest.VulnerabilityInput{Subject: subject, Report: report})
		},
		func() (pratique.Statement, error) {
			return attest.NewVSA(attest.VSAInput{Verdict: verdict, VerifierID: "https://pratique.test"})
		},
	} {
		st, err := make()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, st)
	}
	return out
}

func envelopes(t testing.TB, s signer.Signer, statements []pratique.Statement) []signer.Signed {
	t.Helper()
	var out []signer.Signed
	for _, st := range statements {
		e, err := signer.SignStatement(t.Context(), s, st)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// decoded are the envelopes as others read them.
func decoded(t testing.TB, s signer.Signer, statements []pratique.Statement) []pratique.Envelope {
	t.Helper()
	var out []pratique.Envelope
	for _, signed := range envelopes(t, s, statements) {
		e, err := signer.DecodeEnvelope(signed.Content())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func signImage(t testing.TB, s signer.Signer, subject pratique.Subject) signer.SimpleSignature {
	t.Helper()
	sig, err := signer.SignImage(t.Context(), s, subject)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// attach signs and attaches everything for a subject.
func attach(t testing.TB, store *tags.Store, s keys, subject pratique.Subject,
	sts []pratique.Statement) []pratique.Attestation {
	t.Helper()
	out, err := attachAll(t, store, subject, signImage(t, s, subject), envelopes(t, s, sts), s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(r *storetest.Registry) oci.Store { return tags.NewStore(r, tags.Limits{}) })
}

func wantKind(t testing.TB, err error, kind pratique.Kind, contains string) {
	t.Helper()
	if err == nil || pratique.KindOf(err) != kind || !strings.Contains(err.Error(), contains) {
		t.Fatalf("got %s error %v, want %s with %q", pratique.KindOf(err), err, kind, contains)
	}
}

func filter(requests []string, prefix, suffix string) []string {
	var out []string
	for _, r := range requests {
		if strings.HasPrefix(r, prefix) && strings.HasSuffix(r, suffix) {
			out = append(out, r)
		}
	}
	return out
}

func list(requests []string) string {
	return fmt.Sprintf("%d requests:\n%s", len(requests), strings.Join(requests, "\n"))
}
