package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// What people are told of a sender, and what every sender must be able to do.
func TestEveryFormatIsARowOfTheTable(t *testing.T) {
	t.Parallel()
	previous := ""
	for _, f := range webhook.Formats() {
		if f.Name <= previous || f.Sender == "" || len(f.Methods) == 0 || f.Answers.Retries == "" ||
			f.Answers.Loses == "" {
			t.Errorf("%+v", f)
		}
		previous = f.Name
		if _, err := webhook.Parse(f.Name, http.Header{}, []byte(`[`)); err == nil {
			t.Errorf("%s reads half a payload", f.Name)
		}
	}
}

func TestSecretInTheURLOnlyWhereNothingElseIsSure(t *testing.T) {
	t.Parallel()
	last := map[string]webhook.Method{}
	for _, f := range webhook.Formats() {
		for i, m := range f.Methods {
			if m == webhook.MethodURL && i != len(f.Methods)-1 {
				t.Errorf("%s: a secret in the URL before %v", f.Name, f.Methods[i+1:])
			}
			last[f.Name] = m
		}
	}
	for name, url := range map[string]bool{
		"dockerhub": true, "quay": true, "eventgrid": true, "ghcr": false, "harbor": false,
		"ecr": false, "gar": false, "acr": false,
	} {
		if got := last[name] == webhook.MethodURL; got != url {
			t.Errorf("%s: a secret in the URL: %v", name, got)
		}
	}
}

// sampleOf sets up a receiver like the sample's, with other authentication.
func sampleOf(t *testing.T, path string, auth webhook.Auth) (*fixture, sample) {
	t.Helper()
	var s setup
	readJSON(t, filepath.Join("testdata", filepath.Dir(path), "receiver.json"), &s)
	f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Format, r.Registry, r.Repositories, r.Auth = filepath.Dir(path), s.Registry, nil, auth
	})
	return f, readSample(t, filepath.Join("testdata", path))
}

func mac(sum func() hash.Hash, key string, body []byte) string {
	m := hmac.New(sum, []byte(key))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

func TestGitHubSignatures(t *testing.T) {
	t.Parallel()
	const next = "fedcba9876543210-next"
	for name, c := range map[string]struct {
		header func(body []byte) http.Header
		want   int
	}{
		"right": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha256.New, sampleSecret, b))
		}, 202},
		"other secret": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha256.New, next, b))
		}, 202},
		"sha1 only": {func(b []byte) http.Header {
			return http.Header{"X-Hub-Signature": {"sha1=" + mac(sha1.New, sampleSecret, b)}}
		}, 401},
		"sha1 in its place": {func(b []byte) http.Header {
			return signature256("sha1=" + mac(sha1.New, sampleSecret, b))
		}, 401},
		"sha1, renamed": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha1.New, sampleSecret, b))
		}, 401},
		"no prefix": {func(b []byte) http.Header {
			return signature256(mac(sha256.New, sampleSecret, b))
		}, 401},
		"cut off": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha256.New, sampleSecret, b)[:62])
		}, 401},
		"of another body": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha256.New, sampleSecret, b[1:]))
		}, 401},
		"of no secret": {func(b []byte) http.Header {
			return signature256("sha256=" + mac(sha256.New, "", b))
		}, 401},
		"empty":   {func([]byte) http.Header { return signature256("") }, 401},
		"missing": {func([]byte) http.Header { return http.Header{} }, 401},
		"twice": {func(b []byte) http.Header {
			right := "sha256=" + mac(sha256.New, sampleSecret, b)
			return signature256(right, right)
		}, 401},
		"the secret itself": {func([]byte) http.Header {
			return http.Header{"Authorization": {sampleSecret}}
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, one := sampleOf(t, "ghcr/push.http", webhook.Auth{Secrets: []string{sampleSecret, next}})
			status, _, _ := f.send(t, strings.NewReader(string(one.body)), func(r *http.Request) {
				r.Header = one.header.Clone()
				for key, values := range c.header(one.body) {
					r.Header[key] = values
				}
			})
			if status != c.want || len(f.events) != map[int]int{202: 1}[c.want] || len(f.drops) > 0 {
				t.Errorf("status %d, want %d; events %v, drops %v", status, c.want, f.events, f.drops)
			}
		})
	}
}

func signature256(values ...string) http.Header { return http.Header{"X-Hub-Signature-256": values} }

// cannotSay is an issuer whose keys cannot be had now.
type cannotSay struct{}

func (cannotSay) Verify(context.Context, string) error {
	return pratique.Errorf(pratique.Unavailable, "verify token", "the issuer does not answer")
}

// Event Grid drops what is answered with 401, so that would be an event lost for a fault of ours.
func TestTokenThatCannotBeCheckedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"eventgrid/grid.http", "eventgrid/validation.http",
		"gar/wrapped.json"} {
		f, one := sampleOf(t, path, webhook.Auth{Tokens: cannotSay{}})
		status, header, _ := f.send(t, strings.NewReader(string(one.body)), func(r *http.Request) {
			r.Header = one.header.Clone()
		})
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" ||
			len(f.events) > 0 {
			t.Errorf("%s: status %d, %v, events %v", path, status, header, f.events)
		}
	}
}

func TestEventGridHandshakeWithEachMethod(t *testing.T) {
	t.Parallel()
	for _, s := range []setup{
		{Method: webhook.MethodURL},
		{Method: webhook.MethodHeader, Header: "Authorization"},
		{Method: webhook.MethodOIDC},
	} {
		for _, name := range []string{"validation.http", "options.http"} {
			one := readSample(t, "testdata/eventgrid/"+name)
			s.Registry = "acme.azurecr.io"
			f := s.serve(t, webhook.Format{Name: "eventgrid"})
			if status, _, _ := s.request(t, f, one, sampleSecret); status != http.StatusOK {
				t.Errorf("%s %s: status %d", s.Method, name, status)
			}
			status, header, answer := s.request(t, f, one, wrongSecret)
			if status < 400 || strings.Contains(string(answer), "validationResponse") ||
				strings.Contains(strings.Join(header, " "), "WebHook-Allowed") {
				t.Errorf("%s %s with a wrong secret: %d %v %s", s.Method, name, status, header, answer)
			}
		}
	}
}

func TestHandshakesAreOfTheirSenderOnly(t *testing.T) {
	t.Parallel()
	one := readSample(t, "testdata/eventgrid/validation.http")
	for _, f := range webhook.Formats() {
		if f.Name == "eventgrid" || f.Name == "generic" { // whose parser belongs to the receiver
			continue
		}
		s := setup{Registry: "registry.example.com", Method: f.Methods[0]}
		if s.Method == webhook.MethodHMACSHA256 || s.Method == webhook.MethodHMACSHA1 {
			continue // it is refused for want of a signature
		}
		_, _, answer := s.request(t, s.serve(t, f), one, sampleSecret)
		if strings.Contains(string(answer), "512d38b6") {
			t.Errorf("%s answers the handshake of Event Grid: %s", f.Name, answer)
		}
	}
}

func TestRetriesKeepTheirID(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"harbor/cloudevents-push.http", "ecr/push.json",
		"gar/wrapped.json", "acr/push.http", "eventgrid/grid.http", "ghcr/push.http"} {
		one := readSample(t, "testdata/"+path)
		all, err := webhook.Parse(filepath.Dir(path), one.header, one.body)
		if err != nil || len(all) != 1 || all[0].ID == "" {
			t.Errorf("%s: %+v, %v", path, all, err)
		}
	}
}

// An event that cannot be written would be asked for again for ever.
func TestOddTimesCanBeWritten(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"9999-12-31T23:59:59-23:00", "0000-01-01T00:00:00+23:00",
		"2026-03-09T14:44:26Z", "now"} {
		f := serve(t, nil)
		f.send(t, strings.NewReader(changed(t, "2026-03-09T14:44:26.402973972Z", at)), nil)
		if len(f.events) != 1 {
			t.Fatalf("%s: events %v", at, f.events)
		}
		if _, err := json.Marshal(f.events[0]); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}
