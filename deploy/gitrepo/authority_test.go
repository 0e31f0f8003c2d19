package gitrepo

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestOwnAuthority: a Git host of one's own is asked once its authority is named, and its error
// says which key names it.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	s := start(t)
	secure := httptest.NewTLSServer(s)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	url := secure.URL + strings.TrimPrefix(create(t, s, "config", files), s.URL)
	_, err := open(t, Config{URL: url}).Update(t.Context(), set("README.md", "x"))
	wantKind(t, err, pratique.Unavailable, "to deploy.targets[].ca")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if _, err := open(t, Config{URL: url, CA: ca}).Update(t.Context(),
		set("README.md", "x")); err != nil {
		t.Error(err)
	}
	_, err = Open(Config{URL: url, CA: []byte("no PEM")}, nil)
	wantKind(t, err, pratique.Invalid, "no certificate")
}
