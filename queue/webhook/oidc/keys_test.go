package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pratique-dev/pratique"
)

const (
	audience = "https://pratique.test/v1/webhooks/gar"
	account  = "push@project.iam.gserviceaccount.com"
)

// issuer is a key server on the loopback with a clock that the test moves.
type issuer struct {
	server *httptest.Server
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey

	mu     sync.Mutex
	clock  time.Time
	keys   []any
	answer http.HandlerFunc // instead of the keys, if set
	asked  int
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{clock: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	i.publish("rsa", "ec")
	i.server = httptest.NewTLSServer(i)
	t.Cleanup(i.server.Close)
	return i
}

// publish sets the ids under which the keys are served: "ec" is the EC key, all others the RSA key.
// With them come keys of kinds that are of no use here.
func (i *issuer) publish(ids ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = []any{
		map[string]string{"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
		map[string]string{"kty": "OKP", "crv": "Ed448", "kid": "ed448", "x": "AA"},
		map[string]string{"kty": "new-kind", "kid": "new"},
		jose.JSONWebKey{Key: i.rsa.Public(), KeyID: "encryption", Use: "enc"},
	}
	for _, id := range ids {
		key := jose.JSONWebKey{Key: i.rsa.Public(), KeyID: id, Use: "sig", Algorithm: "RS256"}
		if id == "ec" {
			key = jose.JSONWebKey{Key: i.ec.Public(), KeyID: id} // Entra gives no algorithm
		}
		i.keys = append(i.keys, key)
	}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked++
	answer, keys := i.answer, i.keys
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

func (i *issuer) say(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func (i *issuer) now() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.clock
}

func (i *issuer) sleep(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clock = i.clock.Add(d)
}

func (i *issuer) at(d time.Duration) int64 { return i.now().Add(d).Unix() }

func (i *issuer) verifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	c.KeysURL, c.Client, c.Now = i.server.URL+"/keys", i.server.Client(), i.now
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestOwnAuthority: the keys of an issuer of one's own are read once its authority is named.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c := Config{KeysURL: i.server.URL + "/keys", Now: i.now, Audience: audience, Email: account}
	verify := func() error {
		v, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		return v.Verify(t.Context(), "Bearer "+i.sign(t, "rsa", nil))
	}
	if err := verify(); pratique.KindOf(err) != pratique.Unavailable ||
		!strings.Contains(err.Error(), "to receivers[].oidc.ca") {
		t.Errorf("an unknown authority: %v", err)
	}
	c.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw})
	if err := verify(); err != nil {
		t.Error(err)
	}
	c.CA = []byte("no PEM")
	if _, err := New(c); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("a file that holds no certificate: %v", err)
	}
}

func TestRotatedKeyIsFoundAndWithdrawnOneIsNot(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account})
	verify := func(kid string) error { return v.Verify(t.Context(), "Bearer "+i.sign(t, kid, nil)) }
	if err := verify("rsa"); err != nil {
		t.Fatal(err)
	}
	i.publish("ec", "rsa-2")
	i.sleep(pause)
	if err := verify("rsa-2"); err != nil {
		t.Errorf("a key that was published since: %v", err)
	}
	wantDenied(t, "withdrawn key", verify("rsa"), "no key")
	i.publish("rsa-3")
	if err := verify("ec"); err != nil {
		t.Errorf("a key of less than an hour ago: %v", err)
	}
	i.sleep(refresh)
	wantDenied(t, "key withdrawn an hour ago", verify("ec"), "no key")
}

func TestWrongTokensDoNotHammerIssuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account})
	elsewhere := i.sign(t, "rsa", claims{"iss": "https://elsewhere.test"})
	wantDenied(t, "another issuer's token", v.Verify(t.Context(), "Bearer "+elsewhere), "issued by")
	if n := i.requests(); n != 0 {
		t.Errorf("asked %d times for the keys because of another issuer's token", n)
	}
	for range 50 {
		wantDenied(t, "unknown key", v.Verify(t.Context(), "Bearer "+i.sign(t, "nobody", nil)), "no key")
		good := i.sign(t, "rsa", nil)
		wantDenied(t, "bad signature", v.Verify(t.Context(), "Bearer "+good[:len(good)-8]+"AAAAAAAA"), "")
	}
	if n := i.requests(); n != 1 {
		t.Errorf("asked %d times within the pause, want once", n)
	}
	i.sleep(pause)
	wantDenied(t, "unknown key later", v.Verify(t.Context(), "Bearer "+i.sign(t, "nobody", nil)),
		"no key")
	if n := i.requests(); n != 2 {
		t.Errorf("asked %d times, want a second time after the pause", n)
	}
}

func TestKeysThatCannotBeReadAreNoRefusal(t *testing.T) {
	t.Parallel()
	big := strings.Repeat(" ", maxKeysBytes+1)
	for name, answer := range map[string]http.HandlerFunc{
		"status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			t.Error("the redirect was followed")
		},
		"too many bytes": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(big)) },
		"not JSON": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>"))
		},
		"no keys": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[]}`))
		},
		"too many keys": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`))
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.say(answer)
			v := i.verifier(t, Config{Audience: audience, Email: account})
			header := "Bearer " + i.sign(t, "rsa", nil)
			for range 3 {
				if err := v.Verify(t.Context(), header); pratique.KindOf(err) != pratique.Unavailable {
					t.Errorf("got %v, want Unavailable", err)
				}
			}
			if n := i.requests(); n > 2 {
				t.Errorf("asked %d times within the pause", n)
			}
			i.say(nil)
			i.sleep(pauseFailed)
			if err := v.Verify(t.Context(), header); err != nil {
				t.Errorf("when the keys are back: %v", err)
			}
		})
	}
}

func TestKnownKeysOutliveShortOutageOnly(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account})
	verify := func(kid string) error { return v.Verify(t.Context(), "Bearer "+i.sign(t, kid, nil)) }
	if err := verify("rsa"); err != nil {
		t.Fatal(err)
	}
	i.say(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	i.sleep(refresh + time.Minute)
	if err := verify("rsa"); err != nil {
		t.Errorf("an hour into the outage: %v", err)
	}
	if err := verify("rsa-2"); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("a key that may be new: got %v, want Unavailable", err)
	}
	i.sleep(keep)
	if err := verify("rsa"); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("a day into the outage: got %v, want Unavailable", err)
	}
}

func TestConcurrentFirstTokensFetchOnceAndHangUpAlone(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account})
	arrived, release := make(chan struct{}), make(chan struct{})
	keys := i.keys
	i.say(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	})
	header := "Bearer " + i.sign(t, "rsa", nil)
	ctx, hangUp := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	first := make(chan error, 1)
	wait.Go(func() { first <- v.Verify(ctx, header) })
	<-arrived
	others := make(chan error, 8)
	for range cap(others) {
		wait.Go(func() { others <- v.Verify(t.Context(), header) })
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Verify(gone, header); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("a caller that does not wait: got %v, want Unavailable", err)
	}
	hangUp()
	close(release)
	wait.Wait()
	if err := <-first; err != nil {
		t.Errorf("the fetch ended with its caller: %v", err)
	}
	for range cap(others) {
		if err := <-others; err != nil {
			t.Error(err)
		}
	}
	if n := i.requests(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
}

func TestSmallAndForeignKeysAreLeftOut(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := `{"kty":"RSA","kid":"small","e":"AQAB","n":"` + strings.Repeat("u", 171) + `"}`
	body, err := json.Marshal(map[string]any{"keys": []any{
		json.RawMessage(small),
		jose.JSONWebKey{Key: p384.Public(), KeyID: "p384"},
		jose.JSONWebKey{Key: p256.Public(), KeyID: "p256"},
		jose.JSONWebKey{Key: p256, KeyID: "private"},
		jose.JSONWebKey{Key: p256.Public()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := parseKeys(body)
	if err != nil || len(keys) != 1 || keys["p256"].Key == nil {
		t.Errorf("got %v, %v; want p256 alone", keys, err)
	}
}
