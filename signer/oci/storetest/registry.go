package storetest

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
)

// Registry is a real registry in this process, which remembers the requests that it got. It is also
// what a store over it takes as its way to the registry.
type Registry struct {
	Host    string
	handler http.Handler

	mu        sync.Mutex
	requests  []string
	intercept Intercept
}

// Intercept sees a request before the registry does, and says whether it has answered it.
type Intercept func(w http.ResponseWriter, r *http.Request) (answered bool)

// NewRegistry starts an empty registry for the test.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	return Serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithReferrersSupport(true)))
}

// Serve starts the registry that the handler is.
func Serve(t testing.TB, handler http.Handler) *Registry {
	t.Helper()
	r := &Registry{handler: handler}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.Host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// ServeHTTP implements [http.Handler].
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, req.Method+" "+req.URL.Path)
	intercept := r.intercept
	r.mu.Unlock()
	if intercept != nil && intercept(w, req) {
		return
	}
	r.handler.ServeHTTP(w, req)
}

// Intercept has f see all requests from now on; nil sees none.
func (r *Registry) Intercept(f Intercept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// Answer has the registry answer requests of a method with a status. The path has to contain a
// part; no method is any.
func (r *Registry) Answer(method, part string, status int) {
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if method != "" && req.Method != method || !strings.Contains(req.URL.Path, part) {
			return false
		}
		w.WriteHeader(status)
		return true
	})
}

// Requests returns the requests since it was last called, each as "GET /v2/…".
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := r.requests
	r.requests = nil
	return requests
}

// writes are those among the requests since the last call that change something.
func (r *Registry) writes() []string {
	return slices.DeleteFunc(r.Requests(), func(request string) bool {
		return strings.HasPrefix(request, http.MethodGet+" ") ||
			strings.HasPrefix(request, http.MethodHead+" ")
	})
}

// RemoteOptions is how a store talks to this registry.
func (r *Registry) RemoteOptions(ctx context.Context, _ pratique.Repository) ([]remote.Option,
	[]name.Option, error) {
	backoff := remote.Backoff{Duration: time.Millisecond, Steps: 2}
	return []remote.Option{remote.WithContext(ctx), remote.WithRetryBackoff(backoff)}, nil, nil
}

// Transport is how a store talks to this registry.
func (r *Registry) Transport(context.Context, pratique.Repository) (http.RoundTripper, error) {
	return http.DefaultTransport, nil
}

// Push puts a small image into a repository, another one each time.
func (r *Registry) Push(t testing.TB, path string) pratique.Subject {
	t.Helper()
	image, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	subject, err := pratique.ParseSubject(r.Host + "/" + path + "@" + hash.String())
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(subject.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return subject
}
