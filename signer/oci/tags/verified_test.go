package tags_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// layer is one that an attacker, who may push, puts into .att or .sig.
type layer struct {
	content     []byte
	size        int64 // as announced; zero means the truth
	annotations map[string]string
}

// plant writes the layers under one of the subject's tags, in place of what was there.
func plant(t *testing.T, subject pratique.Subject, suffix string, layers ...layer) {
	t.Helper()
	repo, err := name.NewRepository(subject.Repository.String())
	if err != nil {
		t.Fatal(err)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	upload := func(content []byte) v1.Descriptor {
		blob := static.NewLayer(content, "application/vnd.dsse.envelope.v1+json")
		if err := remote.WriteLayer(repo, blob); err != nil {
			t.Fatal(err)
		}
		hash, _, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: "application/vnd.dsse.envelope.v1+json", Digest: hash,
			Size: int64(len(content))}
	}
	m.Config = upload([]byte("{}"))
	for _, l := range layers {
		desc := upload(l.content)
		desc.Annotations = l.annotations
		if l.size != 0 {
			desc.Size = l.size
		}
		m.Layers = append(m.Layers, desc)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	plantManifest(t, subject, suffix, raw)
}

func plantManifest(t *testing.T, subject pratique.Subject, suffix string, raw []byte) {
	t.Helper()
	tag, err := name.NewTag(subject.Repository.String() + ":sha256-" + subject.Digest.Hex() + "." +
		suffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Put(tag, rawManifest(raw)); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, e pratique.Envelope) []byte {
	t.Helper()
	b, err := signer.EncodeEnvelope(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func annotated(predicateType string) map[string]string {
	return map[string]string{"predicateType": predicateType}
}

// TestVerifiedPassesOverForgeries plants one bad layer after another, alone and beside the good
// one.
func TestVerifiedPassesOverForgeries(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject, elsewhere := reg.Push(t, "team/app"), reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{BlobBytes: 64 << 10}})
	sts := statements(t, subject, pratique.Allow)
	good := decoded(t, own, sts)[3]
	denial := envelopes(t, own, statements(t, subject, pratique.Deny))[3]
	denied := decoded(t, own, statements(t, subject, pratique.Deny))[3]

	altered := good
	altered.Payload = bytes.Replace(bytes.Clone(good.Payload), []byte("PASSED"), []byte("FAILED"), 1)
	retyped := good
	retyped.PayloadType = "application/json"
	borrowed := good
	borrowed.Signatures = denied.Signatures
	forged := decoded(t, other, sts)[3]
	forged.Signatures[0].KeyID = own.Identity().(pratique.Key).ID
	unsigned := good
	unsigned.Signatures = nil
	deep := []byte(strings.Repeat(`{"payload":`, 20000))

	vsa := annotated(pratique.PredicateVSA)
	for name, l := range map[string]layer{
		"another key with our key id":   {content: encode(t, forged), annotations: vsa},
		"altered payload":               {content: encode(t, altered), annotations: vsa},
		"another payload type":          {content: encode(t, retyped), annotations: vsa},
		"signature of another envelope": {content: encode(t, borrowed), annotations: vsa},
		"no signature":                  {content: encode(t, unsigned), annotations: vsa},
		"about another image": {content: encode(t,
			decoded(t, own, statements(t, elsewhere, pratique.Allow))[3]), annotations: vsa},
		"an SBOM that is called a VSA": {content: encode(t, decoded(t, own, sts)[0]), annotations: vsa},
		"no JSON":                      {content: []byte("garbage"), annotations: vsa},
		"payload is a number":          {content: []byte(`{"payload":1,"payloadType":"application/vnd.in-toto+json","signatures":[{}]}`), annotations: vsa},
		"null":                         {content: []byte(`null`), annotations: vsa},
		"nothing":                      {content: []byte(``), annotations: vsa},
		"nested":                       {content: deep, annotations: vsa},
		"payload given twice": {content: append(bytes.TrimSuffix(encode(t, good),
			[]byte("}")), []byte(`,"payload":"e30="}`)...), annotations: vsa},
		"trailing data": {content: append(encode(t, good), []byte(`{}`)...),
			annotations: vsa},
		"larger than announced": {content: append(encode(t, good), ' '), size: 10,
			annotations: vsa},
		"smaller than announced": {content: append(encode(t, good), ' '), size: 5000,
			annotations: vsa},
		"huge by its own word": {content: append(encode(t, good), ' '), size: 1 << 40,
			annotations: vsa},
		"the good one, cut short": {content: encode(t, good), size: 10, annotations: vsa},
		"negative": {content: append(encode(t, good), ' '), size: -5,
			annotations: vsa},
	} {
		plant(t, subject, "att", l)
		got, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
		if pratique.KindOf(err) != pratique.Unverified || len(got) != 0 {
			t.Errorf("%s: %d attestations, %v", name, len(got), err)
		}
		plant(t, subject, "att", l, layer{content: encode(t, good), annotations: vsa}, l)
		got, err = store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
		if err != nil || len(got) != 1 ||
			got[0].Attestation.Digest != pratique.DigestOf(encode(t, good)) {
			t.Errorf("%s, beside the good one: %d attestations, %v", name, len(got), err)
		}
		// What is there does not keep us from attaching.
		if _, err := attachAll(t, store, subject, signImage(t, own, subject),
			[]signer.Signed{denial}, own); err != nil {
			t.Errorf("%s: attach: %v", name, err)
		}
		got, err = store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
		if err != nil || len(got) != 1 || got[0].Attestation.Digest != denial.Digest() {
			t.Errorf("%s, after attaching: %d attestations, %v", name, len(got), err)
		}
	}
}

func TestVerifiedFindsNothing(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{Layers: 4, ManifestBytes: 4096,
		TotalBytes: 3000}})
	_, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
	wantKind(t, err, pratique.NotFound, "there is no tag")
	_, err = signatureOf(t, store, subject, own)
	wantKind(t, err, pratique.NotFound, "there is no tag")

	good := layer{content: encode(t, decoded(t, own, statements(t, subject, pratique.Allow))[0]),
		annotations: annotated(pratique.PredicateSPDX)}
	plant(t, subject, "att", good)
	_, err = store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
	wantKind(t, err, pratique.NotFound, "no attestation of type")

	for name, c := range map[string]struct {
		manifest string
		kind     pratique.Kind
	}{
		"garbage":         {"garbage", pratique.Unverified},
		"null":            {"null", pratique.NotFound}, // an empty manifest
		"layers a string": {`{"schemaVersion":2,"layers":"x"}`, pratique.Unverified},
		"bad digest":      {`{"schemaVersion":2,"layers":[{"digest":"sha256:zz"}]}`, pratique.Unverified},
		"huge": {`{"schemaVersion":2,"x":"` + strings.Repeat("x", 5000) + `"}`,
			pratique.Unverified},
		"five layers": {`{"schemaVersion":2,"layers":[` + strings.Repeat("{},", 4) + `{}]}`,
			pratique.Unverified},
	} {
		// The test registry reads manifests itself, so it is asked to serve what it would not take.
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/sha256-") {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = fmt.Fprint(w, c.manifest)
			return true
		})
		if _, err := store.Verified(t.Context(), subject, own,
			pratique.PredicateVSA); pratique.KindOf(err) != c.kind {
			t.Errorf("%s: %v is %s, want %s", name, err, pratique.KindOf(err), c.kind)
		}
	}
	reg.Intercept(nil)

	// Many layers, each within its limit, are together more than is read.
	var many []layer
	for i := range 4 {
		many = append(many, layer{content: bytes.Repeat([]byte{byte('0' + i)}, 1000),
			annotations: annotated(pratique.PredicateVSA)})
	}
	plant(t, subject, "att", many...)
	_, err = store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
	wantKind(t, err, pratique.Exhausted, "3000 bytes together")

	// An index under the tag is not cosign's layout.
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/sha256-") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		_, _ = fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
		return true
	})
	_, err = store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
	wantKind(t, err, pratique.Unverified, "holds no attestations")
}

// TestVerifiedCannotFindOut keeps trouble of the registry apart from evidence that does not hold.
func TestVerifiedCannotFindOut(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	attach(t, store, own, subject, statements(t, subject, pratique.Allow))
	for status, kind := range map[int]pratique.Kind{
		http.StatusServiceUnavailable: pratique.Unavailable,
		http.StatusTooManyRequests:    pratique.RateLimited,
		http.StatusForbidden:          pratique.Denied,
		http.StatusMethodNotAllowed:   pratique.Invalid,
		http.StatusNotFound:           pratique.Unverified, // the blob is lost, so the attestation is
		http.StatusGone:               pratique.Unverified,
	} {
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, "<html>"+strings.Repeat("x", 1000))
			return true
		})
		_, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
		wantKind(t, err, kind, "")
		if len(err.Error()) > 500 {
			t.Errorf("the registry's page is in the error: %v", err)
		}
		_, err = signatureOf(t, store, subject, own)
		wantKind(t, err, kind, "")
	}
}

// TestVerifiedSignatureForgeries does for .sig what the test above does for .att.
func TestVerifiedSignatureForgeries(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject, elsewhere := reg.Push(t, "team/app"), reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := tags.NewStore(reg, tags.Limits{})
	annotation := func(sig []byte) map[string]string {
		b, err := json.Marshal(sig)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"dev.cosignproject.cosign/signature": strings.Trim(string(b), `"`)}
	}
	good, wrong, foreign := signImage(t, own, subject), signImage(t, own, elsewhere),
		signImage(t, other, subject)
	moved := subject
	moved.Repository.Path = "team/other"
	copied := signImage(t, own, moved)
	for name, l := range map[string]layer{
		"another key": {content: foreign.Payload,
			annotations: annotation(foreign.Signature.Bytes)},
		"another image":      {content: wrong.Payload, annotations: annotation(wrong.Signature.Bytes)},
		"another repository": {content: copied.Payload, annotations: annotation(copied.Signature.Bytes)},
		"mixed":              {content: good.Payload, annotations: annotation(wrong.Signature.Bytes)},
		"not base64": {content: good.Payload,
			annotations: map[string]string{"dev.cosignproject.cosign/signature": "%%%"}},
		"no annotation": {content: good.Payload},
		"garbage":       {content: []byte("garbage"), annotations: annotation(good.Signature.Bytes)},
	} {
		plant(t, subject, "sig", l)
		_, err := signatureOf(t, store, subject, own)
		if pratique.KindOf(err) != pratique.Unverified {
			t.Errorf("%s: %v", name, err)
		}
		plant(t, subject, "sig", l,
			layer{content: good.Payload, annotations: annotation(good.Signature.Bytes)})
		if _, err := signatureOf(t, store, subject, own); err != nil {
			t.Errorf("%s, beside the good one: %v", name, err)
		}
	}
}
