package registry

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/pratique-dev/pratique"
)

// TestLoopbackOverTLS: a registry on the loopback is asked over TLS where the configuration says
// so, and the error of one that is asked in the wrong way says what to change.
func TestLoopbackOverTLS(t *testing.T) {
	t.Parallel()
	handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	secure, plain := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	list := func(h Host) error {
		c, err := New(Config{Hosts: []Host{h}})
		if err != nil {
			t.Fatal(err)
		}
		known, ok := secure.Client().Transport.(*http.Transport)
		if !ok {
			t.Fatal("the server's client has no transport of its own")
		}
		c.hosts[h.Name].guard.trusted = known
		_, err = c.Tags(t.Context(), pratique.Repository{Registry: h.Name, Path: "team/app"}, "", "")
		return err
	}
	host := func(s *httptest.Server) string {
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		return u.Host
	}
	for name, c := range map[string]struct {
		host Host
		kind pratique.Kind
		want string
	}{
		// there is no such repository
		"TLS":             {Host{Name: host(secure), TLS: true}, pratique.NotFound, "404"},
		"TLS, not said":   {Host{Name: host(secure)}, pratique.Unavailable, "set plainHTTP: false"},
		"plain, not said": {Host{Name: host(plain)}, pratique.NotFound, "404"},
		"plain, asked for TLS": {Host{Name: host(plain), TLS: true}, pratique.Unavailable,
			"set plainHTTP: true"},
	} {
		if err := list(c.host); pratique.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (%v), want %q (%v)", name, err, pratique.KindOf(err), c.want, c.kind)
		}
	}
	if _, err := New(Config{Hosts: []Host{{Name: "a.example", PlainHTTP: true,
		TLS: true}}}); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("both: %v", err)
	}
}
