package tags_test

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
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/oci/wire"
	"github.com/pratique-dev/pratique/signer/signertest"
)

func tagOf(t *testing.T, subject pratique.Subject, suffix string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(subject.Repository.String() + ":sha256-" + subject.Digest.Hex() + "." +
		suffix)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// putRaw puts bytes under one of the tags, as anybody who may push can.
func putRaw(t *testing.T, reg *storetest.Registry, subject pratique.Subject, suffix string,
	mediaType types.MediaType, body string) {
	t.Helper()
	url := "http://" + reg.Host + "/v2/" + subject.Repository.Path + "/manifests/" +
		tagOf(t, subject, suffix).TagStr()
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

// hide puts an index under a tag that leads to what the tag held: tools that look for an image
// follow it.
func hide(t *testing.T, subject pratique.Subject, suffix string) {
	t.Helper()
	tag := tagOf(t, subject, suffix)
	known, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{
			Add: known, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux",
				Architecture: "amd64"}},
		})
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
}

// deny attaches a denial.
func deny(t *testing.T, store *tags.Store, own signertest.Key,
	subject pratique.Subject) ([]string, error) {
	t.Helper()
	a := open(t, store, subject, own)
	_, err := a.Attach(t.Context(), signer.SimpleSignature{},
		envelopes(t, own, statements(t, subject, pratique.Deny)))
	return a.Notes(), err
}

// signedBy says whether whoever looks for the signature as cosign does finds it, also behind an
// index.
func signedBy(t *testing.T, own signertest.Key, subject pratique.Subject) bool {
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
		if err != nil {
			return false
		}
		_, err = signer.VerifyImage(own, subject, signer.SimpleSignature{Payload: payload,
			Signature: signer.Signature{Bytes: raw}})
		return err == nil
	})
}

// TestDenialWins: whatever somebody who may push has put under the tags, a denial takes the
// signature away and is what is read afterwards.
func TestDenialWins(t *testing.T) {
	t.Parallel()
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	many := func(n int) string {
		layer := fmt.Sprintf(`{"mediaType":"x/y","size":3,"digest":"sha256:%064d"}`, 1)
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x/y","size":2,"digest":"sha256:` +
			strings.Repeat("0", 64) + `"},"layers":[` + strings.Repeat(layer+",", n-1) + layer + `]}`
	}
	for what, poison := range map[string]func(t *testing.T, reg *storetest.Registry, s pratique.Subject){
		"nothing": func(*testing.T, *storetest.Registry, pratique.Subject) {},
		"index at .att": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIImageIndex, index)
		},
		"index at .sig": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			putRaw(t, reg, s, "sig", types.OCIImageIndex, index)
		},
		"old signature behind an index": func(t *testing.T, _ *storetest.Registry, s pratique.Subject) {
			hide(t, s, "sig")
		},
		"old summary behind an index": func(t *testing.T, _ *storetest.Registry, s pratique.Subject) {
			hide(t, s, "att")
		},
		"layers are a string": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, `{"schemaVersion":2,"layers":"x"}`)
		},
		"an index that says that it is an image": func(t *testing.T, reg *storetest.Registry,
			s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, index)
		},
		"more layers than are read": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, many(31))
			putRaw(t, reg, s, "sig", types.OCIManifestSchema1, many(31))
		},
		"as many layers as are read": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			putRaw(t, reg, s, "att", types.OCIManifestSchema1, many(30))
		},
		"more bytes than are read": func(t *testing.T, reg *storetest.Registry, s pratique.Subject) {
			var planted []layer
			for i := range 8 {
				planted = append(planted,
					layer{content: []byte(strings.Repeat(string(rune('a'+i)), 3000)),
						annotations: annotated(pratique.PredicateSPDX)})
			}
			plant(t, s, "att", planted...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			reg := storetest.NewRegistry(t)
			subject := reg.Push(t, "team/app")
			own := testKey(t, 0)
			store := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{Layers: 30, TotalBytes: 20_000}})
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
			verified, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
			if err != nil || len(verified) != 1 {
				t.Fatalf("%d summaries, %v", len(verified), err)
			}
			if vsa, err := verify.Parse(verified[0].Statement); err != nil ||
				vsa.Outcome != pratique.Deny {
				t.Errorf("the summary says %q, %v", vsa.Outcome, err)
			}
			if noted := len(notes) > 0; noted != (what != "nothing") {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

// TestWithdrawnAlthoughAttestationsFail, and attested although withdrawing fails: neither waits for
// the other.
func TestWithdrawnAlthoughAttestationsFail(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"att", "sig"} {
		reg := storetest.NewRegistry(t)
		subject := reg.Push(t, "team/app")
		own := testKey(t, 0)
		store := tags.NewStore(reg, tags.Limits{})
		attach(t, store, own, subject, statements(t, subject, pratique.Allow))
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
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
		verified, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
		if err != nil || len(verified) != 1 {
			t.Fatalf("%d summaries, %v", len(verified), err)
		}
		vsa, err := verify.Parse(verified[0].Statement)
		if want := map[string]pratique.Outcome{"att": pratique.Allow,
			"sig": pratique.Deny}[broken]; err != nil || vsa.Outcome != want {
			t.Errorf("%s cannot be written: the summary says %q, %v", broken, vsa.Outcome, err)
		}
	}
}

// TestImmutableTags: a tag that may not be overwritten is the operator's affair, said at once and
// for good.
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
			reg := storetest.NewRegistry(t)
			subject, fresh := reg.Push(t, "team/app"), reg.Push(t, "team/other")
			own := testKey(t, 0)
			store := tags.NewStore(reg, tags.Limits{})
			attach(t, store, own, subject, statements(t, subject, pratique.Allow))
			reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.WriteHeader(answer)
				_, _ = w.Write([]byte(body))
				return true
			})
			reg.Requests()
			_, err := deny(t, store, own, subject)
			wantKind(t, err, pratique.Invalid, "sha256-*")
			if !pratique.KindOf(err).Permanent() {
				t.Error("it would be tried for a day")
			}
			if n := len(filter(reg.Requests(), "PUT ", ".att")); n > 3 {
				t.Errorf("%d attempts", n)
			}
			// The first write of all is not of this kind.
			_, err = attachAll(t, store, fresh, signImage(t, own, fresh), nil, own)
			if err == nil || strings.Contains(err.Error(), "sha256-*") {
				t.Errorf("a tag that does not exist: %v", err)
			}
		})
	}
}
