package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/clitest"
)

// TestWhyWithoutGit: what is known of an image is told although nobody can say what Git holds, and
// that is an error.
func TestWhyWithoutGit(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/images/{digest}", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Image{Image: clitest.AppImage, Digest: clitest.AppDigest,
			State: "deployed", Outcome: pratique.Allow})
	})
	mux.HandleFunc("GET /api/v1/images/{digest}/places", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	var out bytes.Buffer
	root := New()
	root.SetOut(&out)
	root.SetArgs([]string{"why", clitest.AppDigest.String(), "--server", server.URL})
	err := root.ExecuteContext(t.Context())
	if pratique.KindOf(err) != pratique.Unavailable || !strings.HasPrefix(out.String(), "ALLOWED: "+
		clitest.AppImage) {
		t.Errorf("%v, printed %q", err, out.String())
	}
}
