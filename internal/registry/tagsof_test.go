package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestTagsOf(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	app, other := []byte(`{"schemaVersion":2,"a":1}`), []byte(`{"schemaVersion":2,"b":1}`)
	list := []string{"1.0", "gone", "latest", "other", "sha256-" + pratique.DigestOf(app).Hex() + ".att"}
	for tag, raw := range map[string][]byte{"1.0": app, "latest": app, "other": other, list[4]: app} {
		f.manifests[tag], f.types[tag] = raw, "application/vnd.oci.image.manifest.v1+json"
	}
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		half := list[:2]
		if r.URL.Query().Get("last") != "" {
			half = list[2:]
		} else {
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=gone>; rel="next"`, r.URL.Path))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": half})
		return true
	}
	c, err := New(Config{Hosts: []Host{{Name: f.host()}}})
	if err != nil {
		t.Fatal(err)
	}
	repo := pratique.Repository{Registry: f.host(), Path: "team/app"}
	for digest, want := range map[pratique.Digest][]string{
		pratique.DigestOf(app): {"1.0", "latest"}, pratique.DigestOf(other): {"other"},
		pratique.DigestOf([]byte("child")): nil,
	} {
		got, err := c.TagsOf(t.Context(), pratique.Subject{Repository: repo, Digest: digest})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", digest, got, err, want)
		}
	}
	list = list[:0]
	for i := range maxNamed + 1 {
		list = append(list, fmt.Sprint("v", i))
	}
	if _, err := c.TagsOf(t.Context(), pratique.Subject{Repository: repo,
		Digest: pratique.DigestOf(app)}); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("a repository without end: %v", err)
	}
	asked := 0
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		asked++
		w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, asked))
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": []string{}})
		return true
	}
	if _, err := c.TagsOf(t.Context(), pratique.Subject{Repository: repo,
		Digest: pratique.DigestOf(app)}); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("a list without end: %v after %d pages", err, asked)
	}
}
