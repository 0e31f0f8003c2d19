package tags_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
)

// once lets the first request that matches through to answer, and no other.
func once(match func(*http.Request) bool,
	answer func(w http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	var first sync.Once
	return func(w http.ResponseWriter, r *http.Request) (answered bool) {
		if match(r) {
			first.Do(func() { answer(w); answered = true })
		}
		return answered
	}
}

// TestContentInARequestOfItsOwn is a registry that takes no content with the request that ends an
// upload.
func TestContentInARequestOfItsOwn(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/uploads/") ||
			r.ContentLength == 0 {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		return true
	})
	if got := attach(t, tags.NewStore(reg, tags.Limits{}), own, subject,
		statements(t, subject, pratique.Allow)); len(got) != 5 {
		t.Errorf("attached %+v", got)
	}
}

// TestSendTriesAgain: what one moment refuses, the next may take.
func TestSendTriesAgain(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	for name, answer := range map[string]func(http.ResponseWriter){
		"unavailable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"cut off":     func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			subject := reg.Push(t, "team/app")
			reg.Intercept(once(func(r *http.Request) bool {
				return r.Method == method && strings.Contains(r.URL.Path, "/uploads/")
			}, answer))
			if _, err := attachAll(t, store, subject, signImage(t, own, subject),
				envelopes(t, own, statements(t, subject, pratique.Allow)), own); err != nil {
				t.Errorf("%s at %s: %v", name, method, err)
			}
			reg.Intercept(nil)
		}
	}
	subject := reg.Push(t, "team/app")
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	reg.Requests()
	_, err := attachAll(t, store, subject, signImage(t, own, subject), nil, own)
	wantKind(t, err, pratique.RateLimited, "")
	if n := len(filter(reg.Requests(), "POST ", "")); n > 2 {
		t.Errorf("asked %d times for two blobs although it is too much", n)
	}
}

// TestReadOnceNamed is a registry that hands out only what a manifest names, as ECR does.
func TestReadOnceNamed(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	sig, es := signImage(t, own, subject), envelopes(t, own, statements(t, subject, pratique.Allow))
	var mu sync.Mutex
	named := map[string]bool{}
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			named[r.URL.Path[strings.LastIndex(r.URL.Path, "."):]] = true
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			by := ".att"
			if strings.HasSuffix(r.URL.Path, pratique.DigestOf(sig.Payload).String()) {
				by = ".sig"
			}
			if !named[by] {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
		}
		return false
	})
	got, err := attachAll(t, tags.NewStore(reg, tags.Limits{}), subject, sig, es, own)
	if err != nil || len(got) != 5 {
		t.Errorf("attached %+v, %v", got, err)
	}
}

// TestUploadAhead sends the large part before it is known what is attached with it.
func TestUploadAhead(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject, elsewhere := reg.Push(t, "team/app"), reg.Push(t, "team/app")
	own, other := testKey(t, 0), testKey(t, 1)
	store := tags.NewStore(reg, tags.Limits{})
	es := envelopes(t, own, statements(t, subject, pratique.Allow))
	begun := open(t, store, subject, own)
	reg.Requests()
	for _, e := range []pratique.Subject{subject, elsewhere} {
		key := own
		if e == subject {
			key = other
		}
		wantKind(t,
			begun.Upload(t.Context(), envelopes(t, key, statements(t, e, pratique.Allow))[0]),
			pratique.Unverified, "")
	}
	if requests := reg.Requests(); len(requests) != 0 {
		t.Errorf("what is not own made %s", list(requests))
	}
	var uploads sync.WaitGroup
	for range 2 { // the same twice is once
		for _, e := range es[:3] {
			uploads.Go(func() {
				if err := begun.Upload(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
		}
	}
	uploads.Wait()
	_, err := store.Verified(t.Context(), subject, own, pratique.PredicateSPDX)
	wantKind(t, err, pratique.NotFound, "")
	if n := len(filter(reg.Requests(), "POST ", "")); n != 3 {
		t.Errorf("%d uploads of 3 envelopes", n)
	}
	got, err := begun.Attach(t.Context(), signImage(t, own, subject), es)
	if err != nil || len(got) != 5 {
		t.Fatalf("attached %+v, %v", got, err)
	}
	requests := reg.Requests()
	// The summary, the signature and two configurations; the first two of them are read.
	if sent, read := filter(requests, "POST ", ""), filter(requests, "GET /v2/team/app/blobs/",
		""); len(sent) != 4 || len(read) != 2 {
		t.Errorf("attaching took %s", list(requests))
	}
	for i, e := range es {
		found, err := store.Verified(t.Context(), subject, own, e.PredicateType())
		if err != nil || len(found) != 1 || found[0].Attestation != got[i+1] {
			t.Errorf("%s: %+v, %v", e.PredicateType(), found, err)
		}
	}
}

// TestCorruptedAhead: a registry that damages what was uploaded ahead is found out, and nothing
// counts as attached.
func TestCorruptedAhead(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	es := envelopes(t, own, statements(t, subject, pratique.Allow))
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+
			es[0].Digest().String()) {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIUncompressedLayer))
		_, _ = w.Write(append([]byte("x"), es[0].Content()[1:]...))
		return true
	})
	begun := open(t, tags.NewStore(reg, tags.Limits{}), subject, own)
	if err := begun.Upload(t.Context(), es[0]); err != nil {
		t.Fatal(err)
	}
	_, err := begun.Attach(t.Context(), signImage(t, own, subject), es)
	wantKind(t, err, pratique.Conflict, "")
}
