package oci_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/key"
	"github.com/pratique-dev/pratique/signer/oci"
)

func tagOf(t *testing.T, subject pratique.Subject, suffix string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(subject.Repository.String() + ":sha256-" + subject.Digest.Hex() + "." + suffix)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// putRaw puts bytes under one of the tags, as anybody who may push can.
func putRaw(t *testing.T, reg *testRegistry, subject pratique.Subject, suffix string, mediaType types.MediaType, body string) {
	t.Helper()
	url := "http://" + reg.host + "/v2/" + subject.Repository.Path + "/manifests/" + tagOf(t, subject, suffix).TagStr()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(mediaType))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("put %s: %s", suffix, resp.Status)
	}
}

// hide puts an index under a tag that leads to what the tag held: tools that look for an image follow it.
func hide(t *testing.T, subject pratique.Subject, suffix string) {
	t.Helper()
	tag := tagOf(t, subject, suffix)
	held, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: held, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
}

// deny attaches a denial.
func deny(t *testing.T, store *oci.Store, own *key.Signer, subject pratique.Subject) ([]string, error) {
	t.Helper()
	a, err := store.Begin(t.Context(), subject, own.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Attach(t.Context(), signer.SimpleSignature{}, envelopes(t, own, statements(t, subject, pratique.Deny)))
	return a.Notes(), err
}

// signedBy says whether whoever looks for the signature as cosign does finds it, also behind an index.
func signedBy(t *testing.T, own *key.Signer, subject pratique.Subject) bool {
	t.Helper()
	img, err := remote.Image(tagOf(t, subject, "sig"))
	if err != nil {
		return false
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signer.ImagePayload(subject)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool {
		raw, err := base64.StdEncoding.DecodeString(d.Annotations["dev.cosignproject.cosign/signature"])
		return err == nil && signer.VerifyImage(own.Verifier(), subject, signer.SimpleSignature{Payload: payload, Signature: raw}) == nil
	})
}

// TestDenialWins: whatever somebody who may push has put under the tags, a denial takes the signature away and is what is
// read afterwards.
func TestDenialWins(t *testing.T) {
	t.Parallel()
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	many := func(n int) string {
		layer := fmt.Sprintf(`{"mediaType":"x/y","size":3,"digest":"sha256:%064d"}`, 1)
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x/y","size":2,"digest":"sha256:` +
			strings.Repeat("0", 64) + `"},"layers":[` + strings.Repeat(layer+",", n-1) + layer + `]}`
	}
	for what, poison := range map[string]func(t *testing.T, reg *testRegistry, s pratique.Subject){
		"nothing": func(*testing.T, *testRegistry, pratique.Subject) {},
		"index at .att": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIImageIndex, index)
		},
		"index at .sig": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "sig", types.OCIImageIndex, index)
		},
		"old signature behind an index": func(t *testing.T, _ *testRegistry, s pratique.Subject) { hide(t, s, "sig") },
		"old summary behind an index":   func(t *testing.T, _ *testRegistry, s pratique.Subject) { hide(t, s, "att") },
		"layers are a string": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, `{"schemaVersion":2,"layers":"x"}`)
		},
		"an index that says that it is an image": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, index)
		},
		"more layers than are read": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, many(31))
			putRaw(t, reg, s, "sig", types.OCIManifestSchema1, many(31))
		},
		"as many layers as are read": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, many(30))
		},
		"more bytes than are read": func(t *testing.T, reg *testRegistry, s pratique.Subject) {
			var planted []layer
			for i := range 8 {
				planted = append(planted, layer{content: []byte(strings.Repeat(string(rune('a'+i)), 3000)), annotations: annotated(pratique.PredicateSPDX)})
			}
			plant(t, s, "att", planted...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			reg := newTestRegistry(t)
			subject := reg.push(t, "team/app")
			own := testKey(t, 0)
			store := oci.NewStore(reg, oci.Limits{Layers: 30, TotalBytes: 20_000})
			attach(t, store, own, subject, statements(t, subject, pratique.Allow))
			if !signedBy(t, own, subject) {
				t.Fatal("it is not signed to begin with")
			}
			poison(t, reg, subject)
			notes, err := deny(t, store, own, subject)
			if err != nil {
				t.Fatal(err)
			}
			if signedBy(t, own, subject) {
				t.Error("the signature is still there")
			}
			verified, err := store.Verified(t.Context(), subject, own.Verifier(), pratique.PredicateVSA)
			if err != nil || len(verified) != 1 {
				t.Fatalf("%d summaries, %v", len(verified), err)
			}
			if vsa, err := attest.ParseVSA(verified[0].Statement); err != nil || vsa.Outcome != pratique.Deny {
				t.Errorf("the summary says %q, %v", vsa.Outcome, err)
			}
			if noted := len(notes) > 0; noted != (what != "nothing") {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

// TestWithdrawKeepsOthers: theirs stays, and what is withdrawn once is not looked at again.
func TestWithdrawKeepsOthers(t *testing.T) {
	t.Parallel()
	reg := newTestRegistry(t)
	subject := reg.push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := oci.NewStore(reg, oci.Limits{})
	attach(t, store, other, subject, nil)
	attach(t, store, own, subject, nil)
	a, err := store.Begin(t.Context(), subject, own.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Withdraw(t.Context()); err != nil || signedBy(t, own, subject) || !signedBy(t, other, subject) {
		t.Fatalf("%v; signed by us: %t, by the other: %t", err, signedBy(t, own, subject), signedBy(t, other, subject))
	}
	reg.reset()
	if err := a.Withdraw(t.Context()); err != nil || len(reg.reset()) != 0 {
		t.Errorf("withdrawn twice, %v", err)
	}
	// Where there is nothing to withdraw nothing is written.
	nothing := reg.push(t, "team/new")
	if a, err = store.Begin(t.Context(), nothing, own.Verifier()); err != nil {
		t.Fatal(err)
	}
	reg.reset()
	if err := a.Withdraw(t.Context()); err != nil || len(filter(reg.reset(), "PUT ", "")) != 0 {
		t.Errorf("%v", err)
	}
}

// TestWithdrawnAlthoughAttestationsFail, and attested although withdrawing fails: neither waits for the other.
func TestWithdrawnAlthoughAttestationsFail(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"att", "sig"} {
		reg := newTestRegistry(t)
		subject := reg.push(t, "team/app")
		own := testKey(t, 0)
		store := oci.NewStore(reg, oci.Limits{})
		attach(t, store, own, subject, statements(t, subject, pratique.Allow))
		reg.setIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "."+broken) {
				return false
			}
			w.WriteHeader(http.StatusInternalServerError)
			return true
		})
		_, err := deny(t, store, own, subject)
		wantKind(t, err, pratique.Unavailable, "500")
		if signed := signedBy(t, own, subject); signed != (broken == "sig") {
			t.Errorf("%s cannot be written: signed is %t", broken, signed)
		}
		verified, err := store.Verified(t.Context(), subject, own.Verifier(), pratique.PredicateVSA)
		if err != nil || len(verified) != 1 {
			t.Fatalf("%d summaries, %v", len(verified), err)
		}
		vsa, err := attest.ParseVSA(verified[0].Statement)
		if want := map[string]pratique.Outcome{"att": pratique.Allow, "sig": pratique.Deny}[broken]; err != nil || vsa.Outcome != want {
			t.Errorf("%s cannot be written: the summary says %q, %v", broken, vsa.Outcome, err)
		}
	}
}

// TestImmutableTags: a tag that may not be overwritten is the operator's affair, said at once and for good.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	for answer, body := range map[int]string{
		http.StatusBadRequest:         `{"errors":[{"code":"TAG_INVALID","message":"The image tag already exists in the repository and cannot be overwritten because the repository is immutable."}]}`,
		http.StatusForbidden:          `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`,
		http.StatusMethodNotAllowed:   ``,
		http.StatusConflict:           `{"errors":[{"code":"CONFLICT","message":"x"}]}`,
		http.StatusPreconditionFailed: `{"errors":[{"code":"PRECONDITION","message":"Failed to process request due to 'app:1' configured as immutable."}]}`,
	} {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			t.Parallel()
			reg := newTestRegistry(t)
			subject, fresh := reg.push(t, "team/app"), reg.push(t, "team/other")
			own := testKey(t, 0)
			store := oci.NewStore(reg, oci.Limits{})
			attach(t, store, own, subject, statements(t, subject, pratique.Allow))
			reg.setIntercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.WriteHeader(answer)
				_, _ = w.Write([]byte(body))
				return true
			})
			reg.reset()
			_, err := deny(t, store, own, subject)
			wantKind(t, err, pratique.Invalid, "sha256-*")
			if !pratique.KindOf(err).Permanent() {
				t.Error("it would be tried for a day")
			}
			if n := len(filter(reg.reset(), "PUT ", ".att")); n > 3 {
				t.Errorf("%d attempts", n)
			}
			// The first write of all is not of this kind.
			_, err = store.Attach(t.Context(), fresh, signImage(t, own, fresh), nil, own.Verifier())
			if err == nil || strings.Contains(err.Error(), "sha256-*") {
				t.Errorf("a tag that does not exist: %v", err)
			}
		})
	}
}
