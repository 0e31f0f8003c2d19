package gitrepo

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestServerThatWantsMultiACK behaves as Azure DevOps does: it refuses a client without multi_ack,
// and to one that has something already it answers in a way that the library does not read.
func TestServerThatWantsMultiACK(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "config", files)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			body, err := io.ReadAll(r.Body)
			switch {
			case err != nil || !bytes.Contains(body, []byte("multi_ack")):
				http.Error(w, "multi_ack is required", http.StatusBadRequest)
				return
			case bytes.Contains(body, []byte("have ")):
				_, _ = io.WriteString(w, "0038ACK "+strings.Repeat("0", 40)+" common\n")
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	r := open(t, Config{URL: front.URL + url[strings.LastIndex(url, "/"):]})
	for _, tag := range []string{"2", "3"} {
		// Somebody else commits meanwhile, so that there is something to fetch.
		if _, err := s.Advance(t.Context(), "config", "other",
			map[string]string{"other.txt": tag}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Update(t.Context(), set("apps/a/deploy.yaml", "image: a:"+tag)); err != nil {
			t.Fatal(err)
		}
		if got := git(t, s, "config", "show",
			"main:apps/a/deploy.yaml"); !strings.Contains(got, "a:"+tag) {
			t.Errorf("the branch has %s", got)
		}
	}
}
