package storetest

import (
	"maps"
	"net/http"
	"strings"

	"github.com/pratique-dev/pratique"
)

// denial: envelopes without a signature take away the own one.
func denial(w *world) {
	w.attach(w.other, "theirs")
	w.attach(w.own, "allowed")
	for range 2 {
		if err := w.deny(w.own, "denied"); err != nil {
			w.Fatal(err)
		}
		if said := w.said(w.own); !maps.Equal(said, says("denied", false)) {
			w.Errorf("we say %q", said)
		}
		if said := w.said(w.other); !maps.Equal(said, says("theirs", true)) {
			w.Errorf("the other says %q", said)
		}
	}
	// It may be allowed later.
	w.attach(w.own, "allowed again")
	if said := w.said(w.own); !maps.Equal(said, says("allowed again", true)) {
		w.Errorf("we say %q", said)
	}
}

func withdraw(w *world) {
	w.attach(w.other, "theirs")
	w.attach(w.own, "ours")
	session := w.open(w.own)
	if err := session.Withdraw(w.Context()); err != nil {
		w.Fatal(err)
	}
	if said := w.said(w.own); !maps.Equal(said, says("ours", false)) {
		w.Errorf("we say %q", said)
	}
	if said := w.said(w.other); !maps.Equal(said, says("theirs", true)) {
		w.Errorf("the other says %q", said)
	}
	w.registry.Requests()
	if err := session.Withdraw(w.Context()); err != nil || len(w.registry.Requests()) != 0 {
		w.Errorf("withdrawn twice, %v", err)
	}
	// Where there is nothing to withdraw nothing is written.
	for range 2 {
		w.registry.Requests()
		if err := w.open(w.own).Withdraw(w.Context()); err != nil || len(w.registry.writes()) != 0 {
			w.Errorf("nothing to withdraw, %v", err)
		}
		w.subject = w.registry.Push(w, "team/new")
	}
}

// halfADenial: a denial that cannot be completed is an error, it takes away no more than our own,
// and the next one completes it.
func halfADenial(w *world) {
	w.attach(w.other, "theirs")
	w.attach(w.own, "allowed")
	w.registry.Answer(http.MethodPut, "/manifests/", http.StatusInternalServerError)
	w.wantKind("denial", w.deny(w.own, "denied"), pratique.Unavailable)
	w.registry.Intercept(nil)
	if said := w.said(w.other); !maps.Equal(said, says("theirs", true)) {
		w.Errorf("the other says %q", said)
	}
	if err := w.deny(w.own, "denied"); err != nil {
		w.Fatal(err)
	}
	if said := w.said(w.own); !maps.Equal(said, says("denied", false)) {
		w.Errorf("we say %q", said)
	}
}

// trouble: each answer of a registry has one meaning in all of the line, and the next attempt
// repairs what is left.
func trouble(w *world) {
	for _, c := range []struct {
		method, part string
		status       int
		kind         pratique.Kind
	}{
		{http.MethodGet, "/manifests/", http.StatusUnauthorized, pratique.Denied},
		{http.MethodGet, "/manifests/", http.StatusTeapot, pratique.Unavailable},
		{http.MethodPut, "/manifests/", http.StatusForbidden, pratique.Denied},
		{http.MethodPut, "/manifests/", http.StatusTooManyRequests, pratique.RateLimited},
		{http.MethodPut, "/manifests/", http.StatusBadGateway, pratique.Unavailable},
		{http.MethodPost, "/uploads/", http.StatusInternalServerError, pratique.Unavailable},
		{http.MethodPost, "/uploads/", http.StatusTooManyRequests, pratique.RateLimited},
	} {
		w.registry.Answer(c.method, c.part, c.status)
		_, err := w.open(w.own).Attach(w.Context(), w.signature(w.own, w.subject),
			w.envelopes(w.own, w.subject, "first"))
		w.wantKind(c.method+" "+c.part+" "+http.StatusText(c.status), err, c.kind)
	}
	w.registry.Intercept(nil)
	w.attach(w.own, "first")
	if said := w.said(w.own); !maps.Equal(said, says("first", true)) {
		w.Errorf("afterwards it says %q", said)
	}
}

// immutable: in a registry that lets nobody overwrite a manifest's tag, a store either has nothing
// to overwrite, or says at once and for good that this is the operator's affair.
func immutable(w *world) {
	w.attach(w.own, "allowed")
	w.registry.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") ||
			!w.exists(r.URL.Path) {
			return false
		}
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = rw.Write([]byte(`{"errors":[{"code":"TAG_INVALID","message":"The image tag already exists and cannot be overwritten because the repository is immutable."}]}`))
		return true
	})
	// The first write of all is allowed.
	before := w.subject
	w.subject = w.registry.Push(w, "team/new")
	w.attach(w.own, "allowed")
	w.subject = before
	err := w.deny(w.own, "denied")
	if err == nil {
		if said := w.said(w.own); !maps.Equal(said, says("denied", false)) {
			w.Errorf("we say %q", said)
		}
		return
	}
	w.wantKind("immutable", err, pratique.Invalid)
	if !pratique.KindOf(err).Permanent() {
		w.Errorf("%v would be tried for a day", err)
	}
}

// exists asks the registry itself for a manifest.
func (w *world) exists(path string) bool {
	req, err := http.NewRequestWithContext(w.Context(), http.MethodHead, "http://"+w.registry.Host+path, nil) //nolint:gosec // a registry of the test
	if err != nil {
		w.Error(err)
		return false
	}
	resp, err := http.DefaultClient.Do(req) //nolint:gosec // a registry of the test
	if err != nil {
		w.Error(err)
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
