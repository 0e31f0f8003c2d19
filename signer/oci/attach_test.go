package oci_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci"
)

// manifestOf reads the subject's .sig or .att as anybody would.
func manifestOf(t *testing.T, subject pratique.Subject, suffix string) *v1.Manifest {
	t.Helper()
	ref, err := name.NewTag(subject.Repository.String() + ":sha256-" + subject.Digest.Hex() + "." + suffix)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAttachReadsBack(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own := testKey(t, 0)
	store := oci.NewStore(reg, oci.Limits{})
	sts := statements(t, subject, pratique.Allow)
	es := envelopes(t, own, sts)
	sig := signImage(t, own, subject)
	got, err := store.Attach(t.Context(), subject, sig, es, own.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	prefix := subject.Repository.String() + ":sha256-" + subject.Digest.Hex()
	want := []pratique.Attestation{{Digest: pratique.DigestOf(sig.Payload), Size: int64(len(sig.Payload)), Location: prefix + ".sig", KeyID: own.KeyID()}}
	for i, e := range es {
		content := e.Content()
		want = append(want, pratique.Attestation{
			PredicateType: sts[i].PredicateType, Digest: pratique.DigestOf(content), Size: int64(len(content)), Location: prefix + ".att", KeyID: own.KeyID(),
		})
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })); diff != "" {
		t.Errorf("attached (-want +got):\n%s", diff)
	}
	for i, st := range sts {
		verified, err := store.Verified(t.Context(), subject, own.Verifier(), st.PredicateType)
		if err != nil {
			t.Fatal(err)
		}
		if len(verified) != 1 || verified[0].Attestation != want[i+1] || pratique.DigestOf(verified[0].Envelope.Payload) != es[i].Payload() {
			t.Errorf("%s: verified %+v", st.PredicateType, verified)
		}
	}
	if signature, err := store.VerifiedSignature(t.Context(), subject, own.Verifier()); err != nil || signature != want[0] {
		t.Errorf("signature %+v, %v", signature, err)
	}
}

// TestAttachAgain is a redelivery after a crash: signatures differ, what they say does not.
func TestAttachAgain(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own := testKey(t, 0)
	store := oci.NewStore(reg, oci.Limits{})
	sts := statements(t, subject, pratique.Allow)
	first := attach(t, store, own, subject, sts)
	reg.reset()
	again := attach(t, store, own, subject, sts)
	if diff := cmp.Diff(fmt.Sprint(first), fmt.Sprint(again)); diff != "" {
		t.Errorf("attached again (-first +again):\n%s", diff)
	}
	for _, r := range reg.reset() {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("attaching the same again made the request %s", r)
		}
	}
}

func TestAttachReplacesOwnAndKeepsOthers(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := oci.NewStore(reg, oci.Limits{})
	attach(t, store, other, subject, statements(t, subject, pratique.Allow))
	attach(t, store, own, subject, statements(t, subject, pratique.Allow))
	attach(t, store, own, subject, statements(t, subject, pratique.Deny))

	if n := len(manifestOf(t, subject, "att").Layers); n != 8 {
		t.Errorf("%d attestations, want 4 of each key", n)
	}
	sig := manifestOf(t, subject, "sig")
	if n := len(sig.Layers); n != 2 {
		t.Errorf("%d signatures, want 1 of each key", n)
	}
	if _, err := store.VerifiedSignature(t.Context(), subject, other.Verifier()); err != nil {
		t.Errorf("the other's signature: %v", err)
	}
	for _, c := range []struct {
		key  *key.Signer
		want pratique.Outcome
	}{{other, pratique.Allow}, {own, pratique.Deny}} {
		verified, err := store.Verified(t.Context(), subject, c.key.Verifier(), pratique.PredicateVSA)
		if err != nil || len(verified) != 1 {
			t.Fatalf("%d summaries, %v", len(verified), err)
		}
		vsa, err := attest.ParseVSA(verified[0].Statement)
		if err != nil || vsa.Outcome != c.want {
			t.Errorf("summary says %q, %v; want %q", vsa.Outcome, err, c.want)
		}
	}
}

// TestAttachTogether has many writers of one process attach to one digest at the same time.
func TestAttachTogether(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	store := oci.NewStore(reg, oci.Limits{})
	const writers = 5
	var wg sync.WaitGroup
	keys := make([]*key.Signer, writers)
	for i := range keys {
		keys[i] = testKey(t, i)
		sts := statements(t, subject, pratique.Allow)
		sig, es := signImage(t, keys[i], subject), envelopes(t, keys[i], sts)
		for _, e := range es { // and each of its envelopes on its own
			wg.Go(func() {
				if _, err := store.Attach(context.Background(), subject, sig, []signer.Signed{e}, keys[i].Verifier()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := len(manifestOf(t, subject, "att").Layers); n != writers*4 {
		t.Errorf("%d attestations, want %d", n, writers*4)
	}
	if n := len(manifestOf(t, subject, "sig").Layers); n != writers {
		t.Errorf("%d signatures, want %d", n, writers)
	}
	for _, k := range keys {
		for _, st := range statements(t, subject, pratique.Allow) {
			if _, err := store.Verified(t.Context(), subject, k.Verifier(), st.PredicateType); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestAttachLostUpdate has a writer in another process put its own manifest in place of ours.
func TestAttachLostUpdate(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := oci.NewStore(reg, oci.Limits{})
	attach(t, store, other, subject, statements(t, subject, pratique.Allow)[:1])
	att := "/manifests/sha256-" + subject.Digest.Hex() + ".att"
	get, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+reg.host+"/v2/team/app"+att, nil)
	answer, err := http.DefaultClient.Do(get)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	reg.setIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, att) {
			r.Body = io.NopCloser(bytes.NewReader(theirs))
		}
		return false
	})
	sts := statements(t, subject, pratique.Allow)
	_, err = store.Attach(t.Context(), subject, signImage(t, own, subject), envelopes(t, own, sts), own.Verifier())
	wantKind(t, err, pratique.Conflict, "somebody else wrote")
	if pratique.KindOf(err).Permanent() {
		t.Error("a lost update is not tried again")
	}
	reg.setIntercept(nil)
	attach(t, store, own, subject, sts)
}

// TestAttachRefusesWhatIsNotOwn checks that nothing is written that could not be verified afterwards.
func TestAttachRefusesWhatIsNotOwn(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject, elsewhere := reg.push(t, "team/app"), reg.push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := oci.NewStore(reg, oci.Limits{EnvelopeBytes: 4096})
	sts := statements(t, subject, pratique.Allow)
	big, err := attest.SPDX(subject, fmt.Appendf(nil, `{"spdxVersion":"SPDX-2.3","SPDXID":"x","comment":%q}`, strings.Repeat("a", 5000)))
	if err != nil {
		t.Fatal(err)
	}
	sig := signImage(t, own, subject)
	for name, c := range map[string]struct {
		sig  signer.SimpleSignature
		es   []signer.Signed
		kind pratique.Kind
	}{
		"signature of another key":     {signImage(t, other, subject), nil, pratique.Unverified},
		"signature of another image":   {signImage(t, own, elsewhere), nil, pratique.Unverified},
		"attestation of another key":   {sig, envelopes(t, other, sts), pratique.Unverified},
		"attestation of another image": {sig, envelopes(t, own, statements(t, elsewhere, pratique.Allow)), pratique.Unverified},
		"two of one type":              {sig, envelopes(t, own, append(sts[:1:1], sts[0])), pratique.Invalid},
		"larger than the limit":        {sig, envelopes(t, own, []pratique.Statement{big}), pratique.Exhausted},
	} {
		reg.reset()
		_, err := store.Attach(t.Context(), subject, c.sig, c.es, own.Verifier())
		if pratique.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
		if requests := reg.reset(); len(requests) > 0 {
			t.Errorf("%s: %s", name, list(requests))
		}
	}
}

// TestAttachErrors maps the answers of a registry to kinds.
func TestAttachErrors(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own := testKey(t, 0)
	store := oci.NewStore(reg, oci.Limits{})
	sts := statements(t, subject, pratique.Allow)
	att := "/manifests/sha256-" + subject.Digest.Hex() + ".att"
	for _, c := range []struct {
		method, path string
		status       int
		kind         pratique.Kind
	}{
		{http.MethodGet, att, http.StatusUnauthorized, pratique.Denied},
		{http.MethodPut, att, http.StatusForbidden, pratique.Denied},
		{http.MethodPut, att, http.StatusTooManyRequests, pratique.RateLimited},
		{http.MethodPut, att, http.StatusBadGateway, pratique.Unavailable},
		{http.MethodPut, att, http.StatusConflict, pratique.Conflict},
		// As internal/registry has them.
		{http.MethodPut, att, http.StatusRequestEntityTooLarge, pratique.Unavailable},
		{http.MethodPut, att, http.StatusMethodNotAllowed, pratique.Invalid},
		{http.MethodPut, att, http.StatusGone, pratique.NotFound},
		{http.MethodGet, att, http.StatusMethodNotAllowed, pratique.Invalid},
		{http.MethodGet, att, http.StatusTeapot, pratique.Unavailable},
		{http.MethodPost, "/uploads/", http.StatusInternalServerError, pratique.Unavailable},
	} {
		reg.setIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != c.method || !strings.HasSuffix(r.URL.Path, c.path) {
				return false
			}
			w.WriteHeader(c.status)
			return true
		})
		_, err := store.Attach(t.Context(), subject, signImage(t, own, subject), envelopes(t, own, sts), own.Verifier())
		if pratique.KindOf(err) != c.kind {
			t.Errorf("%s %s answered %d: %v is %s, want %s", c.method, c.path, c.status, err, pratique.KindOf(err), c.kind)
		}
	}
	reg.setIntercept(nil)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Attach(stopped, subject, signImage(t, own, subject), envelopes(t, own, sts), own.Verifier())
	wantKind(t, err, pratique.Unavailable, "")
}

// TestAttachLayerLimit stops before a manifest that cosign would refuse to read.
func TestAttachLayerLimit(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	attach(t, oci.NewStore(reg, oci.Limits{}), other, subject, statements(t, subject, pratique.Allow))
	es := envelopes(t, own, statements(t, subject, pratique.Allow))
	for layers, contains := range map[int]string{3: "has 4 layers", 7: "would have 8 layers"} {
		_, err := oci.NewStore(reg, oci.Limits{Layers: layers}).Attach(t.Context(), subject, signImage(t, own, subject), es, own.Verifier())
		wantKind(t, err, pratique.Exhausted, contains)
	}
	before := manifestOf(t, subject, "att")
	if !slices.ContainsFunc(before.Layers, func(d v1.Descriptor) bool { return d.Annotations["predicateType"] == pratique.PredicateVSA }) {
		t.Error("the other's attestations are gone")
	}
}

// TestAttachAfterLoss has the registry lose a layer of ours: nobody can read it, and it is not named again.
func TestAttachAfterLoss(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own := testKey(t, 0)
	store := oci.NewStore(reg, oci.Limits{})
	sts := statements(t, subject, pratique.Allow)
	lost := attach(t, store, own, subject, sts)[1]
	reg.setIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+lost.Digest.String()) {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	_, err := store.Verified(t.Context(), subject, own.Verifier(), pratique.PredicateSPDX)
	wantKind(t, err, pratique.Unverified, "1 attestations")
	again := attach(t, store, own, subject, sts)
	if again[1].Digest == lost.Digest || len(manifestOf(t, subject, "att").Layers) != 4 {
		t.Errorf("attached %+v", again)
	}
}
