package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	testregistry "github.com/pratique-dev/pratique/internal/testenv/registry"
)

// lists makes a fake answer requests for tags; the others go on.
func lists(f *fake, serve func(w http.ResponseWriter, query url.Values, r *http.Request)) {
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		serve(w, r.URL.Query(), r)
		return true
	}
}

// walk follows the pages to the end.
func walk(t *testing.T, c *Client, repo pratique.Repository) (tags []string, pages int) {
	t.Helper()
	for next := ""; ; {
		page, err := c.Tags(t.Context(), repo, next, "")
		if err != nil {
			t.Fatal(err)
		}
		tags, pages = append(tags, page.Tags...), pages+1
		if next = page.Next; next == "" {
			return tags, pages
		}
		if pages > 100 {
			t.Fatal("no end")
		}
	}
}

func TestTagsOfDistribution(t *testing.T) {
	t.Parallel()
	s, err := testregistry.Start(t.Context(),
		testregistry.Config{Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if query := r.URL.Query(); query.Get("n") == fmt.Sprint(pageTags) {
					query.Set("n", "2") // so that few tags make several pages
					r.URL.RawQuery = query.Encode()
				}
				next.ServeHTTP(w, r)
			})
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1", "2", "3", "4", "latest"}
	repo := pratique.Repository{Registry: s.Host(), Path: "team/app"}
	for _, tag := range want {
		named, err := name.ParseReference(repo.String() + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(named, img, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(Config{Hosts: []Host{{Name: s.Host()}}})
	if err != nil {
		t.Fatal(err)
	}
	if tags, pages := walk(t, c, repo); !slices.Equal(tags, want) || pages != 3 {
		t.Errorf("%v on %d pages", tags, pages)
	}
	_, err = c.Tags(t.Context(), pratique.Repository{Registry: s.Host(), Path: "team/none"}, "", "")
	wantKind(t, err, pratique.NotFound)

	hash, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest, ref := parsed(t, hash.String()), pratique.ImageRef{Repository: repo, Tag: "1"}
	d, changed, err := c.DigestIfChanged(t.Context(), ref, pratique.Digest{}, free)
	if err != nil || d != digest || !changed {
		t.Errorf("unknown: %v %v %v", d, changed, err)
	}
	if d, changed, err = c.DigestIfChanged(t.Context(), ref, digest, free); err != nil ||
		d != digest || changed {
		t.Errorf("the same: %v %v %v", d, changed, err)
	}
	if d, changed, err = c.DigestIfChanged(t.Context(), ref, pratique.DigestOf([]byte("x")),
		free); err != nil || d != digest || !changed {
		t.Errorf("another: %v %v %v", d, changed, err)
	}
	ref.Tag = "gone"
	_, changed, err = c.DigestIfChanged(t.Context(), ref, digest, free)
	wantKind(t, err, pratique.NotFound)
	if changed {
		t.Error("what is gone has changed")
	}
}

func parsed(t *testing.T, s string) pratique.Digest {
	t.Helper()
	d, err := pratique.ParseDigest(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTagsFollowsOnlyTheQueryOfALink(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		strayed.Add(1)
	}))
	t.Cleanup(elsewhere.Close)
	f := newFake(t)
	next := map[string]string{
		"":  `<` + elsewhere.URL + `/v2/other/tags/list?last=a&n=1>; rel="next"`,
		"a": `</v2/x/../../secret?n=1&last=b>;rel=next`,
		"b": `<?last=c&n=0>; title="x"; rel="next"`, // GHCR asks for nothing
		"c": `<?last=x>; rel="prev", <?last=d&token=%3D%26 HTTP/1.0>; REL=Next; x=y`,
		"d": `<?last=x>; rel="prev"`,
	}
	lists(f, func(w http.ResponseWriter, query url.Values, r *http.Request) {
		last := query.Get("last")
		switch {
		case r.URL.Path != "/v2/team/app/tags/list":
			t.Errorf("asked for %s", r.URL)
		case last == "c" && query.Get("n") != "1000", last == "d" && query.Get("token") != "=& HTTP/1.0":
			t.Errorf("query %q", r.URL.RawQuery)
		}
		w.Header().Set("Link", next[last])
		fmt.Fprintf(w, `{"name":"team/app","tags":["%s-"]}`, "v"+last)
	})
	tags, pages := walk(t, client(t, f, Config{}), ref(f, "").Repository)
	if !slices.Equal(tags, []string{"v-", "va-", "vb-", "vc-", "vd-"}) || pages != 5 ||
		strayed.Load() != 0 {
		t.Errorf("%v on %d pages, %d requests to another host", tags, pages, strayed.Load())
	}
}

func TestTagsRefusesListsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		link, body string
		kind       pratique.Kind
	}{
		"itself":     {`<?n=1000>; rel="next"`, `{"tags":["a"]}`, pratique.Corrupt},
		"no query":   {`</v2/team/app/tags/list>; rel="next"`, `{"tags":["a"]}`, pratique.Corrupt},
		"no URL":     {`<http://%?last=a>; rel="next"`, `{"tags":["a"]}`, pratique.Corrupt},
		"no query's": {`<?last=%zz>; rel="next"`, `{"tags":["a"]}`, pratique.Corrupt},
		"endless query": {`<?last=` + strings.Repeat("x", 5000) + `>; rel="next"`, `{"tags":["a"]}`,
			pratique.Corrupt},
		"a page":       {"", "<html>sign in", pratique.Corrupt},
		"nothing":      {"", "", pratique.Corrupt},
		"another type": {"", `{"tags":{"a":1}}`, pratique.Corrupt},
		"too long": {"", `{"tags":["` + strings.Repeat("x", maxPageBytes) + `"]}`,
			pratique.Exhausted},
		"too many": {"", `{"tags":["a"` + strings.Repeat(`,"a"`, maxPageTags) + `]}`,
			pratique.Exhausted},
	} {
		f := newFake(t)
		lists(f, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
			w.Header().Set("Link", tt.link)
			fmt.Fprint(w, tt.body)
		})
		page, err := client(t, f, Config{}).Tags(t.Context(), ref(f, "").Repository, "", "")
		if pratique.KindOf(err) != tt.kind || err == nil || len(err.Error()) > 600 {
			t.Errorf("%s: %d tags, %.700v", name, len(page.Tags), err)
		}
	}
	f := newFake(t)
	c := client(t, f, Config{})
	_, err := c.Tags(t.Context(), ref(f, "").Repository, strings.Repeat("x", 5000), "")
	wantKind(t, err, pratique.Invalid)
	_, err = c.Tags(t.Context(), pratique.Repository{Registry: "other.example", Path: "a"}, "", "")
	wantKind(t, err, pratique.Invalid)
	if n := f.count(""); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestTagsLeavesOutWhatIsNoTag(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	lists(f, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(object{"tags": []string{"", "a", "../../b", "-c",
			"d@sha256:0", "e\n", strings.Repeat("f", 129), "g"}})
	})
	page, err := client(t, f, Config{}).Tags(t.Context(), ref(f, "").Repository, "", "")
	if err != nil || !slices.Equal(page.Tags, []string{"a", "g"}) || page.Invalid != 6 {
		t.Errorf("%+v %v", page, err)
	}
	lists(f, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		fmt.Fprint(w, `{"tags":null}`)
	})
	if page, err = client(t, f, Config{}).Tags(t.Context(), ref(f, "").Repository, "",
		""); err != nil || len(page.Tags) != 0 {
		t.Errorf("%+v %v", page, err)
	}
}

func TestTagsIsConditional(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	etag := `W/"1"`
	lists(f, func(w http.ResponseWriter, _ url.Values, r *http.Request) {
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, `{"tags":["a"]}`)
	})
	c := client(t, f, Config{})
	page, err := c.Tags(t.Context(), ref(f, "").Repository, "", "")
	if err != nil || page.ETag != etag || page.NotModified || len(page.Tags) != 1 {
		t.Fatalf("%+v %v", page, err)
	}
	if page, err = c.Tags(t.Context(), ref(f, "").Repository, "", page.ETag); err != nil ||
		!page.NotModified || len(page.Tags) != 0 {
		t.Errorf("%+v %v", page, err)
	}
	if page, err = c.Tags(t.Context(), ref(f, "").Repository, "", `"0"`); err != nil ||
		page.NotModified || len(page.Tags) != 1 {
		t.Errorf("%+v %v", page, err)
	}
	etag = `"` + strings.Repeat("x", 300) + `"`
	if page, err = c.Tags(t.Context(), ref(f, "").Repository, "", ""); err != nil || page.ETag != "" {
		t.Errorf("%+v %v", page, err)
	}
	// Who was not asked whether something has changed cannot say that it has not.
	lists(f, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		w.WriteHeader(http.StatusNotModified)
	})
	if page, err := c.Tags(t.Context(), ref(f, "").Repository, "", ""); err == nil {
		t.Errorf("%+v", page)
	}
}
