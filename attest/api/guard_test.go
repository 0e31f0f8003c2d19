package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pratique-dev/pratique/attest/api"
)

func TestGuardAsksAsTheAPIDoes(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	read := []api.Token{{Name: "prometheus", Secret: "0123456789abcdef"}}
	for name, c := range map[string]struct {
		auth   api.Auth
		header string
		want   int
	}{
		"token":    {api.Auth{Tokens: read}, "Bearer 0123456789abcdef", http.StatusNoContent},
		"no token": {api.Auth{Tokens: read}, "", http.StatusUnauthorized},
		"wrong token": {api.Auth{Tokens: read, AnonymousRead: true}, "Bearer 0123456789abcdeX",
			http.StatusUnauthorized},
		"anonymous":     {api.Auth{AnonymousRead: true}, "", http.StatusNoContent},
		"nobody at all": {api.Auth{}, "", http.StatusUnauthorized},
		"tokens unusable": {api.Auth{Tokens: append(read, read...), AnonymousRead: true}, "",
			http.StatusUnauthorized},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		api.Guard(c.auth, next).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
	}
}
