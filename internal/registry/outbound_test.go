package registry

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/pratique-dev/pratique"
)

// secureRegistry is a registry whose certificate no machine knows, and the certificate.
// Repositories below moved/ are said to be elsewhere, and those below closed/ to want a login.
func secureRegistry(t *testing.T) (address string, ca []byte) {
	t.Helper()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/moved/"):
			http.Redirect(w, r, "https://cdn.example.net"+r.URL.Path, http.StatusTemporaryRedirect)
		case strings.HasPrefix(r.URL.Path, "/v2/closed/"):
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: s.Certificate().Raw})
}

func listTags(t *testing.T, h Host, path string) error {
	t.Helper()
	c, err := New(Config{Hosts: []Host{h}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Tags(t.Context(), pratique.Repository{Registry: h.Name, Path: path}, "", "")
	return err
}

func wantAnswer(t *testing.T, err error, kind pratique.Kind, text string) {
	t.Helper()
	if pratique.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("%v (%v), want %q (%v)", err, pratique.KindOf(err), text, kind)
	}
}

// TestOwnAuthority: a registry of one's own is asked once its authority is named, and its error
// says which key names it.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	address, ca := secureRegistry(t)
	wantAnswer(t, listTags(t, Host{Name: address, TLS: true}, "team/app"), pratique.Unavailable,
		"to registries[].ca")
	wantAnswer(t, listTags(t, Host{Name: address, TLS: true, CA: ca}, "team/app"),
		pratique.NotFound, "404")
	wantAnswer(t, listTags(t, Host{Name: address, TLS: true, CA: ca}, "closed/app"),
		pratique.Denied, "set registries[].username and password")
	if _, err := New(Config{Hosts: []Host{{Name: address,
		CA: []byte("no PEM")}}}); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("a file that holds no certificate: %v", err)
	}
}

// connector is a proxy that leads everybody to one address.
type connector struct {
	to    string
	mu    sync.Mutex
	asked []string
}

func (c *connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Method+" "+r.Host)
	c.mu.Unlock()
	there, err := net.Dial("tcp", c.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	go func() { _, _ = io.Copy(there, here) }()
	_, _ = io.Copy(here, there)
}

// TestProxy: registries are asked by the proxy of the environment. Where they send us by it nobody
// can check, so that has to be named.
func TestProxy(t *testing.T) {
	address, ca := secureRegistry(t)
	proxy := &connector{to: address}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	for _, name := range []string{"https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("HTTPS_PROXY", s.URL)
	h := Host{Name: "example.com", CA: ca} // which the test server's certificate is for, too
	wantAnswer(t, listTags(t, h, "team/app"), pratique.NotFound, "404")
	if len(proxy.asked) == 0 || proxy.asked[0] != "CONNECT example.com:443" {
		t.Errorf("the proxy was asked for %v", proxy.asked)
	}
	wantAnswer(t, listTags(t, h, "moved/app"), pratique.Denied,
		"redirects to cdn.example.net, which is reached by a proxy: add that host to redirectHosts")
}
