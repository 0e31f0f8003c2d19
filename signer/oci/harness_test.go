package oci_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci"
)

// testRegistry is a real registry in this process that counts requests. Its intercept, if set, sees each request
// first and may answer it.
type testRegistry struct {
	host    string
	handler http.Handler

	mu        sync.Mutex
	requests  []string
	intercept func(w http.ResponseWriter, r *http.Request) (answered bool)
}

func newTestRegistry(t testing.TB) *testRegistry {
	t.Helper()
	return serveRegistry(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
}

func serveRegistry(t testing.TB, handler http.Handler) *testRegistry {
	t.Helper()
	r := &testRegistry{handler: handler}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *testRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, req.Method+" "+req.URL.Path)
	intercept := r.intercept
	r.mu.Unlock()
	if intercept != nil && intercept(w, req) {
		return
	}
	r.handler.ServeHTTP(w, req)
}

func (r *testRegistry) setIntercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// reset forgets the requests so far and returns them.
func (r *testRegistry) reset() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := r.requests
	r.requests = nil
	return requests
}

// RemoteOptions implements [oci.Registry].
func (r *testRegistry) RemoteOptions(ctx context.Context, _ pratique.Repository) ([]remote.Option, []name.Option, error) {
	backoff := remote.Backoff{Duration: time.Millisecond, Steps: 2}
	return []remote.Option{remote.WithContext(ctx), remote.WithRetryBackoff(backoff)}, nil, nil
}

// Transport implements [oci.Registry].
func (r *testRegistry) Transport(context.Context, pratique.Repository) (http.RoundTripper, error) {
	return http.DefaultTransport, nil
}

// push puts a small image into the registry.
func (r *testRegistry) push(t testing.TB, path string) pratique.Subject {
	t.Helper()
	image, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	subject, err := pratique.ParseSubject(r.host + "/" + path + "@" + hash.String())
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(subject.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return subject
}

// testKey returns the nth of a few keys that all tests share: decrypting one is slow on purpose.
func testKey(t testing.TB, n int) *key.Signer {
	t.Helper()
	keys, err := testKeys()
	if err != nil {
		t.Fatal(err)
	}
	return keys[n]
}

var testKeys = sync.OnceValues(func() ([]*key.Signer, error) {
	var keys []*key.Signer
	for range 5 {
		private, _, err := key.Generate([]byte("secret"))
		if err != nil {
			return nil, err
		}
		k, err := key.Load(private, []byte("secret"))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
})

// The documents of one image, in statements.
func statements(t testing.TB, subject pratique.Subject, outcome pratique.Outcome) []pratique.Statement {
	t.Helper()
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	verdict := pratique.Verdict{
		Subject: subject, Outcome: outcome, EvaluatedAt: at,
		Policy: pratique.Policy{Name: "default", Digest: pratique.DigestOf([]byte("policy"))},
	}
	if outcome == pratique.Deny {
		verdict.Reasons = []pratique.Reason{{Rule: "severity", Message: "critical", Finding: "CVE-2026-1"}}
	}
	report := pratique.Report{
		Scanner: pratique.Tool{Name: "trivy", Version: "0.72.0"}, Inventory: pratique.DigestOf([]byte("inventory")), ScannedAt: at,
		Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")), UpdatedAt: at.Add(-time.Hour), Source: "registry.test/trivy-db:2"},
		Findings: []pratique.Finding{{ID: "CVE-2026-1", Package: "openssl", Installed: "3.0.1", Severity: pratique.SeverityCritical, Class: pratique.ClassOS, Type: "debian", Target: "debian 12"}},
	}
	var out []pratique.Statement
	for _, make := range []func() (pratique.Statement, error){
		func() (pratique.Statement, error) {
			return attest.SPDX(subject, []byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"<img> & co","packages":[]}`))
		},
		func() (pratique.Statement, error) {
			return attest.CycloneDX(subject, []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}`))
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
func attach(t testing.TB, store *oci.Store, s *key.Signer, subject pratique.Subject, sts []pratique.Statement) []pratique.Attestation {
	t.Helper()
	out, err := store.Attach(t.Context(), subject, signImage(t, s, subject), envelopes(t, s, sts), s.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	return out
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
