package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// TestPauses goes through the answers of a registry and says how long it is left in peace after
// each.
func TestPauses(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type answer struct {
		at     time.Duration // since begin
		status int
		told   string
		sent   time.Duration // before at
		// The end of the pause is after this, and at most twice as far from the answer, or exactly
		// told.
		least, most time.Duration
		kind        pratique.Kind
	}
	const limited, unavailable = pratique.RateLimited, pratique.Unavailable
	for name, answers := range map[string][]answer{
		"told": {{status: 429, told: "90", least: 90 * time.Second,
			most: 90 * time.Second, kind: limited}},
		"told, unavailable": {{status: 503, told: "90", least: 90 * time.Second,
			most: 90 * time.Second, kind: unavailable}},
		"told for too long": {{status: 429, told: "99999", least: maxRetryAfter,
			most: maxRetryAfter, kind: limited}},
		"told a date": {{status: 429, told: begin.Add(time.Minute).Format(http.TimeFormat),
			least: time.Minute, most: time.Minute,
			kind: limited}},
		"told twice, the later counts": {
			{status: 429, told: "90", least: 90 * time.Second, most: 90 * time.Second, kind: limited},
			{status: 429, told: "10", least: 90 * time.Second, most: 90 * time.Second, kind: limited},
			{status: 200, least: 90 * time.Second, most: 90 * time.Second, kind: limited}, // sent before
		},
		"limited, and not told": {
			{status: 429, least: minLimitedBackoff / 2, most: minLimitedBackoff, kind: limited},
			{at: time.Minute, status: 429, least: minLimitedBackoff, most: 2 * minLimitedBackoff,
				kind: limited},
			{at: 2 * time.Minute, status: 200},
			{at: 3 * time.Minute, status: 429, least: minLimitedBackoff / 2,
				most: minLimitedBackoff, kind: limited},
		},
		"one failure is no pause": {{status: 500}, {status: 502}, {status: 200}, {status: 500},
			{status: 504}},
		"not implemented is none":  {{status: 501}, {status: 501}, {status: 501}, {status: 505}},
		"what was refused is none": {{status: 404}, {status: 401}, {status: 400}, {status: 404}},
		"three are": {
			{status: 500}, {status: 502}, {status: 503, least: minBackoff / 2, most: minBackoff,
				kind: unavailable},
			{at: time.Minute, status: 500, least: minBackoff, most: 2 * minBackoff, kind: unavailable},
			{at: 2 * time.Minute, status: 500, sent: 90 * time.Second}, // from before the pause
			{at: 3 * time.Minute, status: 500, least: 2 * minBackoff, most: 4 * minBackoff,
				kind: unavailable},
		},
	} {
		p := newThrottle("registry.test", 0)
		for i, a := range answers {
			now := begin.Add(a.at)
			resp := &http.Response{StatusCode: a.status,
				Header: http.Header{"Retry-After": {a.told}}, Body: http.NoBody}
			_ = p.observe(resp, now.Add(-a.sent), now)
			err := p.paused(now)
			var throttled *Throttled
			if !errors.As(err, &throttled) {
				throttled = &Throttled{}
			}
			if throttled.Wait < a.least || throttled.Wait > a.most || err != nil &&
				pratique.KindOf(err) != a.kind {
				t.Errorf("%s, answer %d: %v, want %s to %s", name, i+1, err, a.least, a.most)
			}
		}
	}
	p := newThrottle("registry.test", 0)
	for i := range 100 {
		now := begin.Add(time.Duration(i) * time.Hour)
		_ = p.observe(&http.Response{StatusCode: 429, Body: http.NoBody}, now, now)
		if left := p.until.Sub(now); left > maxBackoff {
			t.Fatalf("a pause of %s after %d failures", left, i+1)
		}
	}
}

// TestPauseIsSharedAndOfOneHost: nobody asks before the time, whatever for; others are asked all
// the while; and afterwards all is as before.
func TestPauseIsSharedAndOfOneHost(t *testing.T) {
	t.Parallel()
	busy, other := newFake(t), newFake(t)
	busy.image(t, "v1", nil)
	other.image(t, "v1", nil)
	var refusals atomic.Int32
	busy.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") || refusals.Add(1) > 1 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	c, err := New(Config{Hosts: []Host{{Name: busy.host()}, {Name: other.host()}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Resolve(t.Context(), ref(busy, "v1"))
	wantThrottled(t, err, pratique.RateLimited)
	asked := busy.count("/")
	if here, there := c.Paused(ref(busy, "").Repository),
		c.Paused(ref(other, "").Repository); here <= 0 || here > time.Second || there != 0 {
		t.Errorf("paused for %s, and the other for %s", here, there)
	}
	if all := c.Pauses(); len(all) != 2 || all[busy.host()] <= 0 || all[other.host()] != 0 {
		t.Errorf("pauses %v", all)
	}
	_, err = c.Resolve(t.Context(), ref(busy, "v1"))
	wantThrottled(t, err, pratique.RateLimited)
	_, err = c.Layer(t.Context(), ref(busy, "").Repository,
		layers.Descriptor{Digest: pratique.DigestOf(nil)})
	wantThrottled(t, err, pratique.RateLimited)
	_, err = c.Tags(t.Context(), ref(busy, "").Repository, "", "")
	wantThrottled(t, err, pratique.RateLimited)
	// A repository without a session must not even log in, also for writing signatures.
	_, _, err = c.RemoteOptions(t.Context(), pratique.Repository{Registry: busy.host(), Path: "team/new"})
	wantThrottled(t, err, pratique.RateLimited)
	if n := busy.count("/"); n != asked {
		t.Errorf("asked %d times within the pause", n-asked)
	}
	if _, err := c.Resolve(t.Context(), ref(other, "v1")); err != nil {
		t.Errorf("another registry: %v", err)
	}
	for c.Paused(ref(busy, "").Repository) > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := c.Resolve(t.Context(), ref(busy, "v1")); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

// TestWritersKeepThePause: the signer writes through the library, with its options made before the
// pause.
func TestWritersKeepThePause(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var writes atomic.Int32
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		writes.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	c := client(t, f, Config{})
	opts, names, err := c.RemoteOptions(t.Context(), ref(f, "").Repository)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref(f, "v1").String(), names...)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		err := remote.Write(tag, img, opts...)
		var told *Throttled
		if !errors.As(err, &told) || told.Wait < 20*time.Second {
			t.Fatalf("write: %v", err)
		}
	}
	if n := writes.Load(); n > 2 { // layer and configuration go at the same time
		t.Errorf("the registry asked for patience and got %d requests", n)
	}
}

func wantThrottled(t *testing.T, err error, kind pratique.Kind) {
	t.Helper()
	wantKind(t, err, kind)
	var told *Throttled
	if !errors.As(err, &told) || told.Wait <= 0 || told.Wait > time.Second {
		t.Errorf("no time to come back: %v", err)
	}
}

// TestRequestsAtATime counts what one host gets at once. Downloads take half; other requests go on
// beside them.
func TestRequestsAtATime(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := map[string]int{}, map[string]int{}
	proceed := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "other"
		if strings.Contains(r.URL.Path, "/blobs/") {
			kind = "layers"
		}
		mu.Lock()
		now[kind]++
		now["all"]++
		most[kind], most["all"] = max(most[kind], now[kind]), max(most["all"], now["all"])
		mu.Unlock()
		if kind == "layers" {
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "he")
			w.(http.Flusher).Flush()
			<-proceed
			fmt.Fprint(w, "llo")
		} else if r.URL.Path != "/v2/" {
			time.Sleep(5 * time.Millisecond)
			w.WriteHeader(http.StatusNotFound)
		}
		mu.Lock()
		now[kind]--
		now["all"]--
		mu.Unlock()
	}))
	t.Cleanup(server.Close)
	c, err := New(Config{Hosts: []Host{{Name: strings.TrimPrefix(server.URL, "http://"),
		Concurrency: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	repo := pratique.Repository{Registry: strings.TrimPrefix(server.URL, "http://"), Path: "team/app"}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			rc, err := c.Layer(t.Context(), repo,
				layers.Descriptor{Digest: pratique.DigestOf([]byte("hello")), Size: 5})
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := readClose(rc); err != nil || string(b) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	var heads sync.WaitGroup
	for range 20 {
		heads.Go(func() { // although no download ends
			_, err := c.Digest(t.Context(), pratique.ImageRef{Repository: repo, Tag: "v1"})
			if pratique.KindOf(err) != pratique.NotFound {
				t.Error(err)
			}
		})
	}
	heads.Wait()
	close(proceed)
	group.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most["layers"] != 2 || most["all"] > 4 {
		t.Errorf("at the same time: %v, want 2 layers, and 4 in all", most)
	}
}
