package tags_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/oci/wire"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// manifestOf reads the subject's .sig or .att as anybody would.
func manifestOf(t *testing.T, subject pratique.Subject, suffix string) *v1.Manifest {
	t.Helper()
	ref, err := name.NewTag(subject.Repository.String() + ":sha256-" + subject.Digest.Hex() + "." +
		suffix)
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
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	sts := statements(t, subject, pratique.Allow)
	es := envelopes(t, own, sts)
	sig := signImage(t, own, subject)
	got, err := attachAll(t, store, subject, sig, es, own)
	if err != nil {
		t.Fatal(err)
	}
	prefix := subject.Repository.String() + ":sha256-" + subject.Digest.Hex()
	want := []pratique.Attestation{{Digest: pratique.DigestOf(sig.Payload),
		Size: int64(len(sig.Payload)), Location: prefix + ".sig", Signer: own.Identity(),
		Format: pratique.FormatCosignTags}}
	for i, e := range es {
		content := e.Content()
		want = append(want, pratique.Attestation{
			PredicateType: sts[i].PredicateType, Digest: pratique.DigestOf(content),
			Size: int64(len(content)), Location: prefix + ".att",
			Signer: own.Identity(), Format: pratique.FormatCosignTags,
		})
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pratique.Digest) bool {
		return a == b
	})); diff != "" {
		t.Errorf("attached (-want +got):\n%s", diff)
	}
	for i, st := range sts {
		verified, err := store.Verified(t.Context(), subject, own, st.PredicateType)
		if err != nil {
			t.Fatal(err)
		}
		if len(verified) != 1 || verified[0].Attestation != want[i+1] ||
			verified[0].Statement.PredicateType != st.PredicateType {
			t.Errorf("%s: verified %+v", st.PredicateType, verified)
		}
	}
	if signature, err := signatureOf(t, store, subject, own); err != nil || signature != want[0] {
		t.Errorf("signature %+v, %v", signature, err)
	}
}

func TestAttachReplacesOwnAndKeepsOthers(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := tags.NewStore(reg, tags.Limits{})
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
	if _, err := signatureOf(t, store, subject, other); err != nil {
		t.Errorf("the other's signature: %v", err)
	}
	for _, c := range []struct {
		key  signertest.Key
		want pratique.Outcome
	}{{other, pratique.Allow}, {own, pratique.Deny}} {
		verified, err := store.Verified(t.Context(), subject, c.key, pratique.PredicateVSA)
		if err != nil || len(verified) != 1 {
			t.Fatalf("%d summaries, %v", len(verified), err)
		}
		vsa, err := verify.Parse(verified[0].Statement)
		if err != nil || vsa.Outcome != c.want {
			t.Errorf("summary says %q, %v; want %q", vsa.Outcome, err, c.want)
		}
	}
}

// TestAttachLostUpdate has a writer in another process put its own manifest in place of ours.
func TestAttachLostUpdate(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := tags.NewStore(reg, tags.Limits{})
	attach(t, store, other, subject, statements(t, subject, pratique.Allow)[:1])
	att := "/manifests/sha256-" + subject.Digest.Hex() + ".att"
	get, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+reg.Host+
		"/v2/team/app"+att, nil)
	answer, err := http.DefaultClient.Do(get)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, att) {
			r.Body = io.NopCloser(bytes.NewReader(theirs))
		}
		return false
	})
	sts := statements(t, subject, pratique.Allow)
	_, err = attachAll(t, store, subject, signImage(t, own, subject), envelopes(t, own, sts), own)
	wantKind(t, err, pratique.Conflict, "somebody else wrote")
	if pratique.KindOf(err).Permanent() {
		t.Error("a lost update is not tried again")
	}
	reg.Intercept(nil)
	attach(t, store, own, subject, sts)
}

// TestAttachRefusesWhatIsTooLarge: what could not be read back is not written.
func TestAttachRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{BlobBytes: 5000}})
	big, err := attest.SPDX(subject,
		fmt.Appendf(nil, `{"spdxVersion":"SPDX-2.3","SPDXID":"x","comment":%q}`,
			strings.Repeat("a", 5000)))
	if err != nil {
		t.Fatal(err)
	}
	reg.Requests()
	_, err = attachAll(t, store, subject, signImage(t, own, subject),
		envelopes(t, own, []pratique.Statement{big}), own)
	wantKind(t, err, pratique.Exhausted, "the limit is 5000")
	if requests := reg.Requests(); len(requests) > 0 {
		t.Error(list(requests))
	}
}

// certified adds to signatures what the tags have no room for.
type certified struct{ signertest.Key }

func (c certified) Sign(ctx context.Context, message []byte) (signer.Signature, error) {
	s, err := c.Key.Sign(ctx, message)
	s.Certificate = []byte("certificate")
	return s, err
}

// TestAttachLosesNothing: a certificate that would not be written is a reason not to write.
func TestAttachLosesNothing(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own, with := testKey(t, 0), certified{testKey(t, 0)}
	store := tags.NewStore(reg, tags.Limits{})
	sts := statements(t, subject, pratique.Allow)
	reg.Requests()
	_, err := attachAll(t, store, subject, signImage(t, with, subject), envelopes(t, own, sts), own)
	wantKind(t, err, pratique.Invalid, "certificate")
	_, err = attachAll(t, store, subject, signImage(t, own, subject), envelopes(t, with, sts), own)
	wantKind(t, err, pratique.Invalid, "certificate")
	if requests := reg.Requests(); len(requests) > 0 {
		t.Error(list(requests))
	}
}

// TestAttachErrors maps the answers of a registry to kinds.
func TestAttachErrors(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
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
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != c.method || !strings.HasSuffix(r.URL.Path, c.path) {
				return false
			}
			w.WriteHeader(c.status)
			return true
		})
		_, err := attachAll(t, store, subject, signImage(t, own, subject), envelopes(t, own, sts), own)
		if pratique.KindOf(err) != c.kind {
			t.Errorf("%s %s answered %d: %v is %s, want %s", c.method, c.path, c.status, err,
				pratique.KindOf(err), c.kind)
		}
	}
	reg.Intercept(nil)
}

// TestAttachLayerLimit stops before a manifest that cosign would refuse to read.
func TestAttachLayerLimit(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	attach(t, tags.NewStore(reg, tags.Limits{}), other, subject, statements(t, subject, pratique.Allow))
	es := envelopes(t, own, statements(t, subject, pratique.Allow))
	for layers, contains := range map[int]string{3: "has 4 layers", 7: "would have 8 layers"} {
		limited := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{Layers: layers}})
		_, err := attachAll(t, limited, subject, signImage(t, own, subject), es, own)
		wantKind(t, err, pratique.Exhausted, contains)
	}
	before := manifestOf(t, subject, "att")
	if !slices.ContainsFunc(before.Layers, func(d v1.Descriptor) bool {
		return d.Annotations["predicateType"] == pratique.PredicateVSA
	}) {
		t.Error("the other's attestations are gone")
	}
}

// TestAttachAfterLoss has the registry lose a layer of ours: nobody can read it, and it is not
// named again.
func TestAttachAfterLoss(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	// A signature that differs each time: the new layer has to have another digest.
	private, public, err := key.Generate([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	own := loadKeys(t, private, public)
	store := tags.NewStore(reg, tags.Limits{})
	sts := statements(t, subject, pratique.Allow)
	lost := attach(t, store, own, subject, sts)[1]
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+lost.Digest.String()) {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	_, err = store.Verified(t.Context(), subject, own, pratique.PredicateSPDX)
	wantKind(t, err, pratique.Unverified, "1 attestations")
	again := attach(t, store, own, subject, sts)
	if again[1].Digest == lost.Digest || len(manifestOf(t, subject, "att").Layers) != 4 {
		t.Errorf("attached %+v", again)
	}
}
