package storetest

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// verifier: whose evidence is returned is for the verifier to say, and it is returned as the
// identity that it names.
func verifier(w *world) {
	w.attach(w.other, "theirs")
	w.attach(w.own, "ours")
	type set map[pratique.Identity]bool
	us, them := w.own.Identity(), w.other.Identity()
	for name, c := range map[string]struct {
		verifier signer.Verifier
		want     set
	}{
		"both":            {w.everybody, set{us: true, them: true}},
		"ours":            {signer.Only(w.everybody, us), set{us: true}},
		"the other's key": {w.other, set{them: true}},
	} {
		for _, p := range append([]string{""}, predicates...) {
			found, err := w.store.Verified(w.Context(), w.subject, c.verifier, p)
			got := set{}
			for _, f := range found {
				got[f.Attestation.Signer] = true
			}
			if err != nil || len(found) != len(c.want) || !maps.Equal(got, c.want) {
				w.Errorf("%s of type %q: %+v, %v", name, p, found, err)
			}
		}
	}
}

func nothingThere(w *world) {
	for _, p := range append([]string{""}, predicates...) {
		_, err := w.store.Verified(w.Context(), w.subject, w.own, p)
		w.wantKind("nothing of type "+p, err, pratique.NotFound)
	}
	theirs := w.envelopes(w.other, w.subject, "x", predicates[0])
	if _, err := w.open(w.other).Attach(w.Context(), w.signature(w.other, w.subject),
		theirs); err != nil {
		w.Fatal(err)
	}
	for p, kind := range map[string]pratique.Kind{
		"": pratique.Unverified, predicates[0]: pratique.Unverified, predicates[1]: pratique.NotFound,
	} {
		_, err := w.store.Verified(w.Context(), w.subject, w.own, p)
		w.wantKind("another's of type "+p, err, kind)
	}
	_, err := w.store.Verified(w.Context(), w.subject, signer.Only(w.everybody, nil), predicates[0])
	w.wantKind("nobody's", err, pratique.Unverified)
	_, err = w.store.Verified(w.Context(), pratique.Subject{}, w.own, predicates[0])
	w.wantKind("no subject", err, pratique.Invalid)
}

// cannotFindOut keeps trouble of the registry apart from evidence that does not hold.
func cannotFindOut(w *world) {
	w.attach(w.own, "first")
	for status, kind := range map[int]pratique.Kind{
		http.StatusServiceUnavailable: pratique.Unavailable,
		http.StatusTooManyRequests:    pratique.RateLimited,
		http.StatusUnauthorized:       pratique.Denied,
		http.StatusForbidden:          pratique.Denied,
	} {
		for _, part := range []string{"/manifests/", "/blobs/"} {
			w.registry.Answer("", part, status)
			for _, p := range []string{"", predicates[0]} {
				_, err := w.store.Verified(w.Context(), w.subject, w.own, p)
				w.wantKind(http.StatusText(status)+" at "+part, err, kind)
			}
		}
	}
	w.registry.Intercept(nil)
	if said := w.said(w.own); !maps.Equal(said, says("first", true)) {
		w.Errorf("afterwards it says %q", said)
	}
}

// lostBlob: what the registry has lost attests nothing, and is attached again.
func lostBlob(w *world) {
	first := w.attach(w.own, "first")
	lost := first[1]
	w.registry.Answer(http.MethodGet, "/blobs/"+lost.Digest.String(), http.StatusNotFound)
	_, err := w.store.Verified(w.Context(), w.subject, w.own, lost.PredicateType)
	w.wantKind("lost", err, pratique.Unverified, pratique.NotFound)
	w.registry.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+lost.Digest.String()) {
			return false
		}
		_, _ = rw.Write([]byte("something else"))
		return true
	})
	_, err = w.store.Verified(w.Context(), w.subject, w.own, lost.PredicateType)
	w.wantKind("other bytes", err, pratique.Unverified, pratique.NotFound)
	w.registry.Intercept(nil)
	w.attach(w.own, "second")
	if said := w.said(w.own); !maps.Equal(said, says("second", true)) {
		w.Errorf("afterwards it says %q", said)
	}
}

func contextEnds(w *world) {
	w.attach(w.own, "first")
	ended, end := context.WithCancel(w.Context())
	end()
	_, err := w.store.Verified(ended, w.subject, w.own, predicates[0])
	w.wantKind("read", err, pratique.Unavailable)
	session := w.open(w.own)
	_, err = session.Attach(ended, w.signature(w.own, w.subject), w.envelopes(w.own, w.subject, "second"))
	w.wantKind("attach", err, pratique.Unavailable)
	w.wantKind("withdraw", session.Withdraw(ended), pratique.Unavailable)

	// A registry that never answers keeps nobody beyond the context.
	w.registry.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	short, cancel := context.WithTimeout(w.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.store.Verified(short, w.subject, signertest.NewKey(1), predicates[0])
		done <- err
	}()
	select {
	case err := <-done:
		w.wantKind("silent registry", err, pratique.Unavailable)
	case <-time.After(soon):
		w.Error("a silent registry keeps a reader whose context has ended")
	}
	w.registry.Intercept(nil)
	if said := w.said(w.own); !maps.Equal(said, says("first", true)) {
		w.Errorf("afterwards it says %q", said)
	}
}
