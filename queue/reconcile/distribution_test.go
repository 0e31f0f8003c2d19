package reconcile

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/registry"
	testregistry "github.com/pratique-dev/pratique/internal/testenv/registry"
)

// seenRequests are those that a real registry got, as "METHOD path" with " if-none-match" and "
// STATUS".
type seenRequests struct {
	mu    sync.Mutex
	lines []string
	limit bool // answer the next request for a tag with 429
}

func (s *seenRequests) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + r.URL.Path
		if r.Header.Get("If-None-Match") != "" {
			line += " if-none-match"
		}
		s.mu.Lock()
		s.lines = append(s.lines, line)
		limit := s.limit && strings.Contains(r.URL.Path, "/manifests/")
		s.limit = s.limit && !limit
		s.mu.Unlock()
		if limit {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// take returns the requests for manifests and lists since the last call.
func (s *seenRequests) take() (heads, lists []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		switch {
		case strings.Contains(line, "/manifests/"):
			heads = append(heads, line)
		case strings.Contains(line, "/tags/list"):
			lists = append(lists, line)
		}
	}
	s.lines = nil
	return heads, lists
}

func TestAgainstDistribution(t *testing.T) {
	t.Parallel()
	seen := &seenRequests{}
	server, err := testregistry.Start(t.Context(), testregistry.Config{Wrap: seen.wrap})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	app := pratique.Repository{Registry: server.Host(), Path: "team/app"}
	push := func(tag string) pratique.Digest {
		t.Helper()
		img, err := random.Image(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		named, err := name.ParseReference(app.String() + ":" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(named, img, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		hash, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		d, err := pratique.ParseDigest(hash.String())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	push("v1")
	v2 := push("v2")
	push("sha256-" + v2.Hex() + ".sig")
	client, err := registry.New(registry.Config{Hosts: []registry.Host{{Name: server.Host()}}})
	if err != nil {
		t.Fatal(err)
	}
	intake := newIntake()
	r, err := New(Config{
		Repositories:      []Repository{{Repository: app}},
		RequestsPerMinute: map[string]int{server.Host(): 60_000},
		OnError:           func(err error) { t.Error(err) },
	}, client, intake, newBookmarks())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	rests := func() pratique.Sweep {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if s := r.Status()[0]; (s.State == Idle || s.State == Failed) && !s.Finished.IsZero() {
				return s
			}
		}
		t.Fatalf("no end: %+v", r.Status())
		return pratique.Sweep{}
	}
	again := func() pratique.Sweep {
		t.Helper()
		seen.take()
		if _, err := r.Request(nil); err != nil {
			t.Fatal(err)
		}
		return rests()
	}

	if s := rests(); s.State != Idle || s.News != 2 || s.Skipped[SkippedSignature] != 1 || s.Tags != 3 {
		t.Fatalf("%+v", s)
	}
	if s := again(); s.News != 0 || s.Unchanged != 2 || len(intake.found()) != 2 {
		t.Errorf("the second sweep: %+v %v", s, intake.found())
	}
	heads, lists := seen.take()
	if len(heads) != 2 || len(lists) != 1 {
		t.Errorf("the second sweep asked %v %v", heads, lists)
	}
	for _, line := range heads {
		if !strings.HasPrefix(line, "HEAD ") || !strings.HasSuffix(line, " if-none-match") {
			t.Errorf("the second sweep asked %s", line)
		}
	}

	moved := push("v1")
	push("v3")
	seen.mu.Lock()
	seen.limit = true
	seen.mu.Unlock()
	started := time.Now()
	s := again()
	if s.State != Idle || s.News != 2 || s.Unchanged != 1 || time.Since(started) < 2*time.Second {
		t.Errorf("after a limit, %s: %+v", time.Since(started), s)
	}
	if len(intake.events) != 4 || intake.events[2].Ref.Tag != "v1" ||
		intake.events[2].Ref.Digest != moved || intake.events[3].Ref.Tag != "v3" {
		t.Errorf("%v", intake.found())
	}
}
