package tags_test

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/oci/wire"
)

// TestLayersAreNotKept: what somebody planted is looked at, one layer after another, and not
// gathered in memory. It measures the heap, so it is not parallel.
func TestLayersAreNotKept(t *testing.T) {
	const layers, size = 16, 4<<20 - 1
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	var planted []layer
	for i := range layers {
		content := bytes.Repeat([]byte{byte('a' + i)}, size)
		planted = append(planted, layer{content: content, annotations: annotated(pratique.PredicateVSA)})
	}
	plant(t, subject, "att", planted...)
	planted = nil //nolint:ineffassign // lets it be collected before memory is measured
	var mu sync.Mutex
	var fetched int
	var first, limit uint64
	reg.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			mu.Lock()
			defer mu.Unlock()
			if fetched++; fetched == 1 {
				first = stats.HeapAlloc
			}
			limit = max(limit, stats.HeapAlloc)
		}
		return false
	})
	for name, read := range map[string]func() error{
		"verify": func() error {
			_, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
			if pratique.KindOf(err) == pratique.Unverified {
				return nil
			}
			return err
		},
		"attach": func() error {
			_, err := attachAll(t, store, subject, signer.SimpleSignature{},
				envelopes(t, own, statements(t, subject, pratique.Deny)[3:]), own)
			return err
		},
	} {
		fetched, first, limit = 0, 0, 0
		if err := read(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if fetched < layers {
			t.Errorf("%s: %d layers were fetched, of %d planted", name, fetched, layers)
		}
		if grown := int64(limit) - int64(first); grown > 4*size {
			t.Errorf("%s: the heap grew by %d MiB while %d MiB were read", name, grown>>20,
				layers*size>>20)
		}
	}
}

// TestTooLargeForASummary: nobody needs a summary or a signature of megabytes, so it is not
// fetched, and in nobody's way.
func TestTooLargeForASummary(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	big := layer{content: bytes.Repeat([]byte("x"), 4<<20+1)}
	digest := pratique.DigestOf(big.content).String()
	for suffix, annotations := range map[string]map[string]string{
		"att": annotated(pratique.PredicateVSA), "sig": {"dev.cosignproject.cosign/signature": "AAAA"},
	} {
		big.annotations = annotations
		plant(t, subject, suffix, big)
	}
	reg.Requests()
	_, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
	wantKind(t, err, pratique.Unverified, "1 attestations")
	_, err = signatureOf(t, store, subject, own)
	wantKind(t, err, pratique.Unverified, "1 signatures")
	attach(t, store, own, subject, statements(t, subject, pratique.Allow))
	if n := len(filter(reg.Requests(), "GET ", digest)); n != 0 {
		t.Errorf("the large layer was fetched %d times", n)
	}
	if n := len(manifestOf(t, subject, "att").Layers); n != 5 {
		t.Errorf("%d attestations, want theirs and our 4", n)
	}
	// An SBOM may be that large.
	plant(t, subject, "att", layer{content: big.content, annotations: annotated(pratique.PredicateSPDX)})
	reg.Requests()
	_, err = store.Verified(t.Context(), subject, own, pratique.PredicateSPDX)
	wantKind(t, err, pratique.Unverified, "1 attestations")
	if n := len(filter(reg.Requests(), "GET ", digest)); n != 1 {
		t.Errorf("the large layer was fetched %d times", n)
	}
	// What could not be read again is not written.
	small := tags.NewStore(reg, tags.Limits{SummaryBytes: 100})
	_, err = attachAll(t, small, subject, signImage(t, own, subject),
		envelopes(t, own, statements(t, subject, pratique.Allow)), own)
	wantKind(t, err, pratique.Exhausted, "the limit is 100")
}

// TestOneFetchForOneLayer: naming a layer often costs nothing.
func TestOneFetchForOneLayer(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{Limits: wire.Limits{TotalBytes: 64 << 10}})
	var sigs, atts []layer
	sig, theirs := signImage(t, own, subject), []byte(strings.Repeat("x", 10_000))
	for i := range 50 {
		atts = append(atts, layer{content: theirs, annotations: annotated(pratique.PredicateVSA)})
		sigs = append(sigs,
			layer{content: sig.Payload,
				annotations: map[string]string{"dev.cosignproject.cosign/signature": strings.Repeat("A", 4*(i+1))}})
	}
	plant(t, subject, "att", atts...)
	plant(t, subject, "sig", sigs...)
	for name, call := range map[string]func() error{
		"summaries": func() error {
			_, err := store.Verified(t.Context(), subject, own, pratique.PredicateVSA)
			return err
		},
		"signatures": func() error { _, err := signatureOf(t, store, subject, own); return err },
		"attach": func() error {
			_, err := attachAll(t, store, subject, sig,
				envelopes(t, own, statements(t, subject, pratique.Allow)[3:]), own)
			return err
		},
	} {
		reg.Requests()
		if err := call(); err != nil && pratique.KindOf(err) != pratique.Unverified {
			t.Errorf("%s: %v", name, err)
		}
		requests := reg.Requests()
		for _, content := range [][]byte{theirs, sig.Payload} {
			if n := len(filter(requests, "GET ", pratique.DigestOf(content).String())); n > 1 {
				t.Errorf("%s: one layer was fetched %d times", name, n)
			}
		}
	}
}

// TestReadBackOtherBytes has the registry take what is written and hand out something else.
func TestReadBackOtherBytes(t *testing.T) {
	t.Parallel()
	reg := storetest.NewRegistry(t)
	subject := reg.Push(t, "team/app")
	own := testKey(t, 0)
	store := tags.NewStore(reg, tags.Limits{})
	es := envelopes(t, own, statements(t, subject, pratique.Allow))
	written := es[3].Digest().String()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"other bytes": func(w http.ResponseWriter) { _, _ = w.Write(es[3].Content()[1:]) },
		"nothing":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
	} {
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+written) {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIUncompressedLayer))
			answer(w)
			return true
		})
		_, err := attachAll(t, store, subject, signImage(t, own, subject), es, own)
		if pratique.KindOf(err) != pratique.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
}
