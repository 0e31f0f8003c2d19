package registry

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

func TestDigestIfChanged(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	c := client(t, f, Config{})
	answer := func(status int, header string) {
		f.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodHead {
				return false
			}
			if want := `"` + digest.String() + `"`; r.Header.Get("If-None-Match") != want {
				t.Errorf("If-None-Match %q, want %s", r.Header.Get("If-None-Match"), want)
			}
			if header != "" {
				w.Header().Set("Docker-Content-Digest", header)
			}
			w.WriteHeader(status)
			return true
		}
	}
	other := pratique.DigestOf([]byte("other"))
	for name, tt := range map[string]struct {
		status  int
		header  string
		want    pratique.Digest
		changed bool
		gets    int
	}{
		"not modified":                 {304, "", digest, false, 0},
		"not modified, but it is":      {304, other.String(), other, true, 0},
		"ignores the condition":        {200, digest.String(), digest, false, 0},
		"changed":                      {200, other.String(), other, true, 0},
		"says nothing, so it was read": {200, "", digest, false, 1},
		"says another, so it was read": {200, "sha512:" + strings.Repeat("0", 128), digest, false, 1},
	} {
		answer(tt.status, tt.header)
		before, spent := f.count("/manifests/"), 0
		spend := func(context.Context) error { spent++; return nil }
		d, changed, err := c.DigestIfChanged(t.Context(), ref(f, "v1"), digest, spend)
		if err != nil || d != tt.want || changed != tt.changed ||
			f.count("/manifests/")-before != 1+tt.gets || spent != 1+tt.gets {
			t.Errorf("%s: %v %v %v after %d requests, %d spent", name, d, changed, err,
				f.count("/manifests/")-before, spent)
		}
	}
	answer(200, "blake3:"+strings.Repeat("0", 64))
	_, _, err := c.DigestIfChanged(t.Context(), ref(f, "v1"), digest, free)
	wantKind(t, err, pratique.Invalid)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-None-Match") != "" {
			t.Error("a condition without a digest")
		}
		w.WriteHeader(http.StatusNotModified)
		return strings.Contains(r.URL.Path, "/manifests/")
	}
	if d, _, err := client(t, f, Config{}).DigestIfChanged(t.Context(), ref(f, "v1"),
		pratique.Digest{}, free); err == nil {
		t.Errorf("digest %v from an answer to another question", d)
	}
}

// free is a budget without end.
func free(context.Context) error { return nil }

func TestManifestForADigestIsAskedForOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.image(t, "v1", nil)
	var gets atomic.Int32
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		if r.Method == http.MethodGet {
			gets.Add(1)
			if r.Header.Get("If-None-Match") != "" {
				t.Error("the bytes were asked for with a condition")
			}
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return true
	}
	_, _, err := client(t, f, Config{}).DigestIfChanged(t.Context(), ref(f, "v1"),
		pratique.DigestOf(nil), free)
	var told *Throttled
	if !errors.As(err, &told) || told.Wait != 7*time.Second || gets.Load() != 1 {
		t.Errorf("asked %d times: %v", gets.Load(), err)
	}
	wantKind(t, err, pratique.Unavailable)
}

func TestNoRequestWithoutBudget(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.image(t, "v1", nil)
	f.answer = func(_ http.ResponseWriter, r *http.Request) bool { // tells no digest
		return r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/")
	}
	c := client(t, f, Config{})
	for budget := range 2 {
		spent, before := 0, f.count("/manifests/")
		_, changed, err := c.DigestIfChanged(t.Context(), ref(f, "v1"), pratique.Digest{},
			func(context.Context) error {
				if spent++; spent > budget {
					return pratique.Errorf(pratique.Unavailable, "spend", "nothing left")
				}
				return nil
			})
		wantKind(t, err, pratique.Unavailable)
		if sent := f.count("/manifests/") - before; sent != budget || changed ||
			!strings.Contains(err.Error(), "nothing left") {
			t.Errorf("%d requests with a budget of %d: %t %v", sent, budget, changed, err)
		}
	}
}

func TestRegistrySaysHowLongToWait(t *testing.T) {
	t.Parallel()
	date := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		status int
		header string
		want   time.Duration
		kind   pratique.Kind
	}{
		"seconds":              {429, "7", 7 * time.Second, pratique.RateLimited},
		"seconds, unavailable": {503, " 90 ", 90 * time.Second, pratique.Unavailable},
		"date by their own clock": {429, date.Add(time.Minute).Format(http.TimeFormat),
			time.Minute, pratique.RateLimited},
		"date that is over": {429, date.Add(-time.Minute).Format(http.TimeFormat), 0,
			pratique.RateLimited},
		"longer than a duration": {429, "9223372036854775807",
			math.MaxInt64 / time.Second * time.Second, pratique.RateLimited},
		"negative":                 {429, "-1", 0, pratique.RateLimited},
		"nonsense":                 {429, "soon", 0, pratique.RateLimited},
		"nothing":                  {429, "", 0, pratique.RateLimited},
		"not an answer of waiting": {404, "7", 0, pratique.NotFound},
	} {
		f := newFake(t)
		f.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			w.Header().Set("Date", date.Format(http.TimeFormat))
			w.Header().Set("Retry-After", tt.header)
			w.WriteHeader(tt.status)
			return true
		}
		_, listing := client(t, f, Config{}).Tags(t.Context(), ref(f, "").Repository, "", "")
		_, _, heading := client(t, f, Config{}).DigestIfChanged(t.Context(), ref(f, "v1"),
			pratique.DigestOf(nil), free)
		for _, err := range []error{listing, heading} {
			if wait := backoff.RetryAfter(err); wait != tt.want || pratique.KindOf(err) != tt.kind {
				t.Errorf("%s: %s %v, want %s", name, wait, err, tt.want)
			}
		}
		asked := 1
		if tt.kind == pratique.NotFound {
			asked = 2 // by GET, too
		}
		if lists, heads := f.count("/tags/list"), f.count("/manifests/"); lists != 1 || heads != asked {
			t.Errorf("%s: %d and %d requests", name, lists, heads)
		}
	}
	// Others than sweeps keep no budget: they try again.
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	_, err := client(t, f, Config{}).Digest(t.Context(), ref(f, "v1"))
	wantKind(t, err, pratique.Unavailable)
	if n := f.count("/manifests/"); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// TestHeadThatLies: Nexus and some proxies answer 404, or 405, to HEAD for what GET has.
func TestHeadThatLies(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		f := newFake(t)
		digest := f.image(t, "v1", nil)
		f.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(status)
			}
			return r.Method == http.MethodHead
		}
		c := client(t, f, Config{})
		if got, err := c.Digest(t.Context(), ref(f, "v1")); err != nil || got != digest {
			t.Errorf("%d: %v, %v", status, got, err)
		}
		_, err := c.Digest(t.Context(), ref(f, "gone"))
		wantKind(t, err, pratique.NotFound)
		spent := 0
		d, changed, err := c.DigestIfChanged(t.Context(), ref(f, "v1"), digest,
			func(context.Context) error {
				spent++
				return nil
			})
		if err != nil || changed || d != digest || spent != 2 {
			t.Errorf("%d: %v, changed %v, %d requests, %v", status, d, changed, spent, err)
		}
	}
}

// TestCompressedDocuments: some registries compress manifests whatever they are asked for; then it
// is undone, within the limits.
func TestCompressedDocuments(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	encoding := "gzip"
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		raw := f.manifests[id]
		if blob, ok := f.blobs[id]; ok {
			raw = blob
		}
		if raw == nil {
			return false
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("asked for the encoding %q", got)
		}
		w.Header().Set("Content-Encoding", encoding)
		_, _ = w.Write(zip(t, raw))
		return true
	}
	got, err := client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
	if err != nil || got.Subject.Digest != digest || got.Platform == "" {
		t.Errorf("%+v, %v", got, err)
	}
	f.manifests["bomb"] = make([]byte, 5<<20)
	_, err = client(t, f, Config{}).Resolve(t.Context(), ref(f, "bomb"))
	wantKind(t, err, pratique.Exhausted)
	encoding = "br"
	_, err = client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
	wantKind(t, err, pratique.Corrupt)
}
