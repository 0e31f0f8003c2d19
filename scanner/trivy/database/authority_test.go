package database

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestOwnAuthority: a source on the loopback is asked over TLS where that is wanted, and trusted
// once its authority is named.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	src.publish(t, good(t, "CVE-2026-0001", today))
	host, path, _ := strings.Cut(src.ref, "/")
	secure := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http",
		Host: host}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	host = secure.Listener.Addr().String()
	sources := []string{host + "/" + path}
	_, err := open(t,
		Config{Sources: sources, Hosts: []Host{{Name: host, TLS: true}}}).Update(t.Context())
	wantKind(t, err, pratique.Unavailable)
	if !strings.Contains(err.Error(), "to database.ca, or in registries[].ca of its host") {
		t.Errorf("does not say what to do: %v", err)
	}
	mustUpdate(t, open(t, Config{Sources: sources, Hosts: []Host{{Name: host, TLS: true, CA: ca}}}),
		true, "CVE-2026-0001")
	mustUpdate(t, open(t, Config{Sources: sources, Hosts: []Host{{Name: host, TLS: true}}, CA: ca}),
		true, "CVE-2026-0001")
	_, err = Open(Config{Dir: t.TempDir(), Sources: sources, CA: []byte("no PEM")}, clock)
	wantKind(t, err, pratique.Invalid)
}
