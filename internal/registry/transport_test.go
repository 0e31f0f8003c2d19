package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]pratique.Kind{
		401: pratique.Denied, 403: pratique.Denied, 404: pratique.NotFound, 410: pratique.NotFound,
		429: pratique.RateLimited,
		500: pratique.Unavailable, 503: pratique.Unavailable, 418: pratique.Unavailable,
		406: pratique.Invalid,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				w.WriteHeader(status)
				fmt.Fprint(w, "<html>\x1b[31m"+strings.Repeat("x", 10000))
				return true
			}
			c := client(t, f, Config{})
			_, err := c.Resolve(t.Context(), ref(f, "v1"))
			wantKind(t, err, want)
			if len(err.Error()) > 500 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("the registry's page is in the error: %q", err)
			}
			tries := f.count("/manifests/")
			if status == 429 && tries != 1 {
				t.Errorf("asked %d times despite 429", tries)
			}
			if tries > 3 {
				t.Errorf("asked %d times", tries)
			}
			_, err = c.Layer(t.Context(), ref(f, "").Repository,
				layers.Descriptor{Digest: pratique.DigestOf(nil)})
			wantKind(t, err, want)
		})
	}
}

func TestRetriesPassingTrouble(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.image(t, "v1", nil)
	tries := 0
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		tries++
		if tries == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
		return tries == 1
	}
	if _, err := client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1")); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.Close()
	_, err := client(t, f, Config{}).Resolve(t.Context(), ref(f, "v1"))
	wantKind(t, err, pratique.Unavailable)

	// Something answers, but it is no registry: an image cannot be missing from it.
	other := newFake(t)
	other.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true }
	_, err = client(t, other, Config{}).Resolve(t.Context(), ref(other, "v1"))
	wantKind(t, err, pratique.Unavailable)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client(t, other, Config{}).Resolve(ctx, ref(other, "v1"))
	wantKind(t, err, pratique.Unavailable)
}

func TestOnlyConfiguredHosts(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.image(t, "v1", nil)
	c := client(t, f, Config{})
	for _, other := range []string{"127.0.0.1", "x" + f.host(), f.host() + "0",
		"registry.test.example.com", "registry.test:443", "localhost"} {
		r := ref(f, "v1")
		r.Repository.Registry = other
		_, err := c.Resolve(t.Context(), r)
		wantKind(t, err, pratique.Invalid)
		_, _, err = c.RemoteOptions(t.Context(), r.Repository)
		wantKind(t, err, pratique.Invalid)
		_, err = c.Layer(t.Context(), r.Repository, layers.Descriptor{})
		wantKind(t, err, pratique.Invalid)
	}
	if n := f.count(""); n != 0 {
		t.Errorf("%d requests", n)
	}
	for _, bad := range []Config{
		{Hosts: []Host{{Name: "a.example"}, {Name: "b.example", Aliases: []string{"a.example"}}}},
		{Hosts: []Host{{Name: "https://a.example"}}},
		{Hosts: []Host{{Name: "a.example/b"}}},
		{Hosts: []Host{{Name: ""}}},
		{Hosts: []Host{{Name: "a.example", Aliases: []string{"*.example"}}}},
		{Hosts: []Host{{Name: "a.example", Username: "me"}}},
	} {
		_, err := New(bad)
		wantKind(t, err, pratique.Invalid)
	}
}

// basic makes the fake ask for a user's password.
func (f *fake) basic(user, password string) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	inner := f.answer
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return inner != nil && inner(w, r)
	}
}

func TestCredentials(t *testing.T) {
	f := newFake(t)
	f.image(t, "v1", nil)
	f.basic("robot", "hunter2")
	// What lies about in the environment is not used.
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("REGISTRY_AUTH_FILE", dir+"/auth.json")
	for _, test := range []struct {
		host Host
		want pratique.Kind
	}{
		{Host{Username: "robot", Password: "hunter2"}, 0},
		{Host{Username: "robot", Password: "wrong"}, pratique.Denied},
		{Host{}, pratique.Denied},
	} {
		test.host.Name = f.host()
		_, err := client(t, f, Config{Hosts: []Host{test.host}}).Resolve(t.Context(), ref(f, "v1"))
		if pratique.KindOf(err) != test.want || (err == nil) != (test.want == 0) {
			t.Errorf("%s: %v", test.host.Password, err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("password in %v", err)
		}
	}
}

// elsewhere is another host at the same address, which serves any blob and notes the credentials it
// gets.
func elsewhere(t *testing.T, content []byte) (host string, saw func() []string) {
	var mu sync.Mutex
	var headers []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		headers = append(headers, r.Header.Get("Authorization"))
		_, _ = w.Write(content)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return headers
	}
}

func TestRedirectWithoutCredentials(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	content := []byte("layer")
	store, saw := elsewhere(t, content)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		http.Redirect(w, r, "http://"+store+"/signed?X-Amz-Signature=sesame",
			http.StatusTemporaryRedirect)
		return true
	}
	f.basic("robot", "hunter2")
	login := Host{Name: f.host(), Username: "robot", Password: "hunter2"}
	d := layers.Descriptor{Digest: pratique.DigestOf(content), Size: int64(len(content))}

	// A private address that nobody named is not contacted.
	_, err := client(t, f, Config{Hosts: []Host{login}}).Layer(t.Context(), ref(f, "").Repository, d)
	wantKind(t, err, pratique.Denied)
	if got := saw(); len(got) != 0 {
		t.Fatalf("requests that must not be: %q", got)
	}
	if !strings.Contains(err.Error(), "redirectHosts") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("error: %v", err)
	}

	login.RedirectHosts = []string{store}
	rc, err := client(t, f, Config{Hosts: []Host{login}}).Layer(t.Context(), ref(f, "").Repository, d)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := readClose(rc); err != nil || string(b) != string(content) {
		t.Errorf("got %q, %v", b, err)
	}
	if got := saw(); len(got) != 1 || got[0] != "" {
		t.Errorf("Authorization sent to the other host: %q", got)
	}
}

func TestTokenRealm(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	digest := f.image(t, "v1", nil)
	realm := f.URL + "/token"
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			if user, password, _ := r.BasicAuth(); user != "robot" || password != "hunter2" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			fmt.Fprint(w, `{"token":"t1"}`)
			return true
		case r.Header.Get("Authorization") != "Bearer t1":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	login := Host{Name: f.host(), Username: "robot", Password: "hunter2"}
	c := client(t, f, Config{Hosts: []Host{login}})
	for range 5 {
		if _, err := c.Resolve(t.Context(), ref(f, "v1")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Image(t.Context(), pratique.Subject{Repository: ref(f, "").Repository,
		Digest: digest}); err != nil {
		t.Fatal(err)
	}
	// Pings are not counted: the library sends a second one if the first takes longer than 300 ms.
	if f.count("/token") != 1 || f.count("/v2/team/") != 5+1 { // manifests, configuration
		t.Errorf("%d tokens, %d requests", f.count("/token"), f.count("/v2/team/"))
	}

	// A registry that sends us to somebody else's token server does not get the password there.
	thief, saw := elsewhere(t, []byte(`{"token":"t1"}`))
	f.mu.Lock()
	realm = "http://" + strings.Replace(thief, "127.0.0.1", "localhost", 1) + "/token"
	f.mu.Unlock()
	_, err := client(t, f, Config{Hosts: []Host{login}}).Resolve(t.Context(), ref(f, "v1"))
	wantKind(t, err, pratique.Denied)
	if got := saw(); len(got) != 0 {
		t.Fatalf("the other token server got %q", got)
	}
	login.TokenHosts = []string{strings.Replace(thief, "127.0.0.1", "localhost", 1)}
	if _, err := client(t, f, Config{Hosts: []Host{login}}).Resolve(t.Context(),
		ref(f, "v1")); err != nil {
		t.Error(err)
	}
	if got := saw(); len(got) != 1 || !strings.HasPrefix(got[0], "Basic ") {
		t.Errorf("the token server that is ours got %q", got)
	}
}

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for addr, public := range map[string]bool{
		"140.82.112.34": true, "2606:4700::1": true,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false,
		"169.254.169.254": false, "0.0.0.0": false,
		"0.1.2.3": false, "100.64.0.1": false, "198.18.0.1": false, "224.0.0.1": false,
		"255.255.255.255": false, "::1": false, "::": false,
		"fe80::1": false, "fd00:ec2::254": false, "fec0::1": false, "::ffff:10.0.0.1": false,
		"::10.0.0.1":     false,
		"64:ff9b::a00:1": false, "2002:a00:1::": false, "2001::1": false, "ff02::1": false,
	} {
		err := checkPublic(netip.AddrPortFrom(netip.MustParseAddr(addr), 443).String())
		if (err == nil) != public {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestGuardRoutes(t *testing.T) {
	t.Parallel()
	h, err := Host{Name: "docker.io", Username: "u", Password: "p"}.prepare()
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(h, newTransport(false), newTransport(true), 10)
	request := func(method, url, authorization, host string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), method, url, nil)
		r.Host = host
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return r
	}
	for _, test := range []struct {
		req  *http.Request
		want http.RoundTripper
	}{
		{request("PUT", "https://index.docker.io/v2/a", "x", ""), g.trusted},
		{request("PUT", "https://index.docker.io:443/v2/a", "x", ""), g.trusted},
		{request("GET", "https://auth.docker.io/token", "x", ""), g.trusted},
		{request("GET", "https://cdn.example/blob", "", ""), g.public},
		{request("GET", "https://cdn.example/blob", "x", ""), nil},
		{request("GET", "https://cdn.example/blob", "", "index.docker.io"), nil},
		{request("POST", "https://cdn.example/upload", "", ""), nil},
		{request("GET", "http://index.docker.io/v2/a", "x", ""), nil},
		{request("GET", "http://cdn.example/blob", "", ""), nil},
		{request("GET", "https://index.docker.io:8443/v2/a", "x", ""), nil},
		{request("GET", "https://index.docker.io.evil.example/v2/a", "x", ""), nil},
	} {
		got, err := g.route(test.req)
		if got != test.want || (err == nil) != (test.want != nil) {
			t.Errorf("%s %s: %v", test.req.Method, test.req.URL, err)
		}
	}
}

func TestLayerTrouble(t *testing.T) {
	t.Parallel()
	content := []byte(strings.Repeat("layer", 1000))
	d := layers.Descriptor{Digest: pratique.DigestOf(content), Size: int64(len(content))}
	tests := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   pratique.Kind
	}{
		"other length": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content[:100])
		}, pratique.Corrupt},
		"gone": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
		}, pratique.NotFound},
		"longer, chunked": {func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = w.Write(content)
				w.(http.Flusher).Flush()
			}
		}, pratique.Corrupt},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:100])
			panic(http.ErrAbortHandler)
		}, pratique.Unavailable},
		"stalled": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, pratique.Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/blobs/") {
					test.answer(w, r)
				}
				return strings.Contains(r.URL.Path, "/blobs/")
			}
			c := client(t, f, Config{Hosts: []Host{{Name: f.host(), Concurrency: 1}}})
			c.stall = 100 * time.Millisecond
			for range 2 { // the one slot must come free again
				rc, err := c.Layer(t.Context(), ref(f, "").Repository, d)
				var got []byte
				if err == nil {
					got, err = readClose(rc)
				}
				wantKind(t, err, test.want)
				if len(got) > len(content) {
					t.Errorf("got %d bytes", len(got))
				}
			}
		})
	}
}

// TestRemoteOptions writes and reads with the library's own functions, as the signer does.
func TestRemoteOptions(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	c, err := New(Config{Hosts: []Host{{Name: host}}, UserAgent: "pratique/test cosign"})
	if err != nil {
		t.Fatal(err)
	}
	repo := pratique.Repository{Registry: host, Path: "team/app"}
	opts, names, err := c.RemoteOptions(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(repo.String()+":v1", names...)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, opts...); err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := remote.Head(tag, opts...); err != nil || got.Digest != want {
		t.Errorf("head %v, %v", got, err)
	}
	if got, err := c.Digest(t.Context(), pratique.ImageRef{Repository: repo,
		Tag: "v1"}); err != nil || got.String() != want.String() {
		t.Errorf("digest %v, %v", got, err)
	}
}

func TestConcurrentResolve(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.image(t, "v1", nil)
	c := client(t, f, Config{})
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := c.Resolve(t.Context(), ref(f, "v1")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := f.count("/v2/"); n > 1+16+16 {
		t.Errorf("%d requests", n)
	}
	pings := 0
	for _, r := range f.requests {
		if r.URL.Path == "/v2/" {
			pings++
		}
	}
	if pings != 1 {
		t.Errorf("%d logins", pings)
	}
}
