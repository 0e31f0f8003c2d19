package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// What one sender does that does not fit into a file of testdata.

// sender is a receiver of that format for every repository, with the sample's secret.
func sender(t *testing.T, format string, method webhook.Method, change func(*webhook.Receiver)) *fixture {
	t.Helper()
	return serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Format, r.Repositories = format, nil
		r.Auth = webhook.Auth{Method: method, Secrets: []string{sampleSecret}}
		if change != nil {
			change(r)
		}
	})
}

// with sends a body as JSON, with these headers and no other.
func (f *fixture) with(t *testing.T, body string, headers ...string) (int, http.Header, reply) {
	t.Helper()
	return f.send(t, strings.NewReader(body), func(r *http.Request) {
		r.Header = http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	})
}

func signature(body string) string {
	mac := hmac.New(sha256.New, []byte(sampleSecret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func TestArtifactoryIsBelievedInTheConfiguredWayOnly(t *testing.T) {
	t.Parallel()
	body := file(t, "artifactory/push.json")
	for _, c := range []struct {
		method webhook.Method
		value  string
		want   int
	}{
		{webhook.MethodHeader, sampleSecret, http.StatusAccepted},
		{webhook.MethodHeader, signature(body), http.StatusUnauthorized},
		{webhook.MethodHMACSHA256, signature(body), http.StatusAccepted},
		{webhook.MethodHMACSHA256, sampleSecret, http.StatusUnauthorized},
		{webhook.MethodHMACSHA256, "sha256=" + signature(body), http.StatusUnauthorized},
	} {
		f := sender(t, "artifactory", c.method, func(r *webhook.Receiver) {
			r.Registry = "acme.jfrog.io"
		})
		if status, _, out := f.with(t, body, "X-JFrog-Event-Auth", c.value); status != c.want {
			t.Errorf("%s with %q: status %d, %+v", c.method, c.value, status, out)
		}
	}
}

func TestArtifactoryRepositoriesHavePrefixes(t *testing.T) {
	t.Parallel()
	body := file(t, "artifactory/push.json")
	for _, c := range []struct {
		prefixes map[string]string
		want     string
	}{
		{nil, "acme.jfrog.io/team-docker-local/foo/app"},
		{map[string]string{"team-docker-local": "team-docker"}, "acme.jfrog.io/team-docker/foo/app"},
		{map[string]string{"team-docker-local": ""}, "acme.jfrog.io/foo/app"},
		{map[string]string{"other-docker-local": ""}, ""},
	} {
		f := sender(t, "artifactory", webhook.MethodHeader, func(r *webhook.Receiver) {
			r.Registry, r.Prefixes = "acme.jfrog.io", c.prefixes
		})
		status, _, _ := f.with(t, body, "X-JFrog-Event-Auth", sampleSecret)
		if c.want == "" {
			if status != http.StatusOK || len(f.events) > 0 || len(f.drops) != 1 ||
				f.drops[0].Reason != "repository" {
				t.Errorf("%v: status %d, events %v, drops %v", c.prefixes, status, f.events, f.drops)
			}
			continue
		}
		if status != http.StatusAccepted || f.events[0].Ref.Repository.String() != c.want {
			t.Errorf("%v: status %d, events %v, want %s", c.prefixes, status, f.events, c.want)
		}
	}
}

func TestGiteaRequestsThatAreNotSigned(t *testing.T) {
	t.Parallel()
	body := file(t, "gitea/created-without-header.json")
	f := sender(t, "gitea", "", func(r *webhook.Receiver) { r.Registry = "git.example.com" })
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"without a secret the signature is empty": {func(r *http.Request) {
			r.Header.Set("X-Gitea-Signature", "")
		}, http.StatusUnauthorized},
		"no signature": {func(*http.Request) {}, http.StatusUnauthorized},
		"short": {func(r *http.Request) {
			r.Header.Set("X-Gitea-Signature", signature(body)[:40])
		}, http.StatusUnauthorized},
		"as GitHub writes it": {func(r *http.Request) {
			r.Header.Set("X-Gitea-Signature", "sha256="+signature(body))
		}, http.StatusUnauthorized},
		"twice": {func(r *http.Request) {
			r.Header["X-Gitea-Signature"] = []string{signature(body), signature(body)}
		}, http.StatusUnauthorized},
		"only that of GitHub": {func(r *http.Request) {
			r.Header.Set("X-Hub-Signature-256", "sha256="+signature(body))
		}, http.StatusUnauthorized},
		"GET": {func(r *http.Request) {
			r.Method = http.MethodGet
			r.Header.Set("X-Gitea-Signature", signature(body))
		}, http.StatusMethodNotAllowed},
		"a form": {func(r *http.Request) {
			r.Header.Set("X-Gitea-Signature", signature(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, http.StatusUnsupportedMediaType},
		"signed": {func(r *http.Request) {
			r.Header.Set("X-Gitea-Signature", signature(body))
		}, http.StatusAccepted},
	} {
		status, _, out := f.send(t, strings.NewReader(body), func(r *http.Request) {
			r.Header = http.Header{"Content-Type": {"application/json"}}
			c.change(r)
		})
		if status != c.want {
			t.Errorf("%s: status %d, want %d, %+v", name, status, c.want, out)
		}
	}
}

func TestForgejosOwnSignature(t *testing.T) {
	t.Parallel()
	body := file(t, "gitea/created-without-header.json")
	f := sender(t, "gitea", webhook.MethodHMACSHA256, func(r *webhook.Receiver) {
		r.Registry, r.Auth.Header = "git.example.com", "X-Forgejo-Signature"
	})
	if status, _, out := f.with(t, body, "X-Forgejo-Signature",
		signature(body)); status != http.StatusAccepted {
		t.Errorf("status %d, %+v", status, out)
	}
	if status, _, _ := f.with(t, body, "X-Gitea-Signature",
		signature(body)); status != http.StatusUnauthorized {
		t.Errorf("with the other: status %d", status)
	}
}

// A manifest may have 4 MiB, and quotes and newlines in it are escaped.
func TestZotSendsLargeManifests(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{4 << 20: http.StatusAccepted,
		11 << 20: http.StatusRequestEntityTooLarge} {
		text := `{"schemaVersion":2,"annotations":{"x":"` + strings.Repeat(`\"`, size/4) +
			strings.Repeat("x", size/2) + `"}}`
		image, err := json.Marshal(map[string]string{
			"name": "team/app", "reference": "1.4.2",
			"digest": pratique.DigestOf([]byte(text)).String(), "mediaType": pratique.TypeOCIManifest,
			"manifest": text,
		})
		if err != nil {
			t.Fatal(err)
		}
		f := sender(t, "zot", "", nil)
		status, _, out := f.with(t, string(image), "Authorization", "Bearer "+sampleSecret,
			"Ce-Specversion", "1.0",
			"Ce-Id", "1", "Ce-Source", "zotregistry.dev", "Ce-Type", "zotregistry.image.updated")
		if status != want {
			t.Errorf("%d bytes: status %d, %+v", len(image), status, out)
		}
	}
}

func TestZotOverNATSHasNoHeader(t *testing.T) {
	t.Parallel()
	f := &fixture{}
	r := receiver()
	r.Format, r.Auth = "zot", webhook.Auth{Secrets: []string{sampleSecret}}
	h, err := webhook.New(f.config(r))
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Receive(t.Context(), "main", nil, []byte(file(t, "zot/nats.json")))
	if err != nil || out.Accepted != 1 || len(f.events) != 1 || f.events[0].Ref.Tag != "1.4.2" {
		t.Errorf("%+v, %v, events %v", out, err, f.events)
	}
}

func TestCloudEventsAreAskedToComeAgainWith429(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"cloudevents", "cdevents"} {
		f := sender(t, format, "", nil)
		f.fail = pratique.Errorf(pratique.Unavailable, "publish", "no ack")
		body := file(t, map[string]string{"cloudevents": "cloudevents/structured-plain-type.json",
			"cdevents": "cdevents/published.json"}[format])
		status, header, _ := f.with(t, body, "Authorization", "Bearer "+sampleSecret)
		if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, %v", format, status, header)
		}
	}
}

func TestHandshakeOfCloudEventsNeedsTheSecret(t *testing.T) {
	t.Parallel()
	f := sender(t, "cloudevents", "", nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, f.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("WebHook-Request-Origin", "evil.example")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WebHook-Allowed-Origin") != "" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
}

// tagOf reads bodies such as {"tag": "1"}, as the expressions of a receiver may do.
func tagOf(h http.Header, body []byte) ([]webhook.Notification, error) {
	var image struct{ Tag string }
	if err := json.Unmarshal(body, &image); err != nil {
		return nil, err
	}
	if image.Tag == "" {
		return nil, errors.New("no tag")
	}
	return []webhook.Notification{{
		ID: h.Get("X-Id"), Action: webhook.ActionPush, Repository: "team/app", Tag: image.Tag,
		At: time.Unix(1, 0),
	}}, nil
}

func TestGenericUsesTheReceiversExpressions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		contentType, body string
		want              int
	}{
		{"application/json", `{"tag":"1"}`, http.StatusAccepted},
		{"text/plain; charset=UTF-8", `{"tag":"1"}`, http.StatusAccepted},
		{"application/vnd.example.push+json", `{"tag":"1"}`, http.StatusAccepted},
		{"application/json", `{}`, http.StatusBadRequest},
		{"application/x-www-form-urlencoded", `{"tag":"1"}`, http.StatusUnsupportedMediaType},
		{"application/json+x", `{"tag":"1"}`, http.StatusUnsupportedMediaType},
		{"+json", `{"tag":"1"}`, http.StatusUnsupportedMediaType},
		{"", `{"tag":"1"}`, http.StatusUnsupportedMediaType},
	} {
		f := sender(t, "generic", "", func(r *webhook.Receiver) { r.Parse = tagOf })
		status, _, out := f.with(t, c.body, "Authorization", "Bearer "+sampleSecret, "Content-Type",
			c.contentType, "X-Id", "7")
		if status != c.want {
			t.Errorf("%+v: status %d, %+v", c, status, out)
		}
		if status == http.StatusAccepted &&
			f.events[0].Ref.String() != "registry.example.com/team/app:1" {
			t.Errorf("events %v", f.events)
		}
	}
}

// Expressions may give a year that cannot be written; the event would be asked for again for ever.
func TestOddTimeOfExpressionsIsNone(t *testing.T) {
	t.Parallel()
	f := sender(t, "generic", "", func(r *webhook.Receiver) {
		r.Parse = func(http.Header, []byte) ([]webhook.Notification, error) {
			return []webhook.Notification{{Action: webhook.ActionPush, Repository: "team/app",
				Tag: "1", At: time.Unix(1<<40, 0)}}, nil
		}
	})
	status, _, _ := f.with(t, `{}`, "Authorization", "Bearer "+sampleSecret)
	if status != http.StatusAccepted || !f.events[0].OccurredAt.IsZero() {
		t.Errorf("status %d, events %v", status, f.events)
	}
}

func TestGenericCanDoEveryMethod(t *testing.T) {
	t.Parallel()
	for _, method := range []webhook.Method{
		webhook.MethodHeader, webhook.MethodBearer, webhook.MethodBasic, webhook.MethodHMACSHA256,
		webhook.MethodHMACSHA1, webhook.MethodURL, webhook.MethodOIDC,
	} {
		f, r := &fixture{}, receiver()
		r.Format, r.Parse = "generic", tagOf
		r.Auth = webhook.Auth{Method: method, Header: "X-Signature",
			Secrets: []string{"user-" + sampleSecret}}
		switch method {
		case webhook.MethodBasic:
			r.Auth.Secrets = []string{"user:" + sampleSecret}
		case webhook.MethodOIDC:
			r.Auth = webhook.Auth{Method: method, Tokens: onlyToken("x")}
		default:
		}
		if _, err := webhook.New(f.config(r)); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestGenericAndItsExpressionsBelongTogether(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*webhook.Receiver){
		"without":             func(r *webhook.Receiver) { r.Format = "generic" },
		"with another format": func(r *webhook.Receiver) { r.Parse = tagOf },
		"signed in no header": func(r *webhook.Receiver) {
			r.Format, r.Parse, r.Auth.Method = "generic", tagOf, webhook.MethodHMACSHA256
		},
		"a method that it lacks": func(r *webhook.Receiver) {
			r.Format, r.Auth.Method = "nexus", webhook.MethodHMACSHA256
		},
	} {
		f, r := &fixture{}, receiver()
		change(&r)
		if _, err := webhook.New(f.config(r)); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := webhook.Parse("generic", nil, []byte(`{}`)); err == nil ||
		!strings.Contains(err.Error(), "expressions") {
		t.Errorf("got %v", err)
	}
}

// Six copies of one push arrive with six ids: none is taken for another here, since only the digest
// can tell.
func TestEveryNexusCallIsHandedOn(t *testing.T) {
	t.Parallel()
	f := &fixture{}
	r := receiver()
	r.Format, r.Auth = "nexus", webhook.Auth{Secrets: []string{sampleSecret}}
	h, err := webhook.New(f.config(r))
	if err != nil {
		t.Fatal(err)
	}
	one := readSample(t, "testdata/nexus/component-updated.http")
	for i := range 6 {
		one.header.Set("X-Nexus-Webhook-Delivery", fmt.Sprint(i))
		if _, err := h.Receive(t.Context(), "main", one.header, one.body); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.events) != 6 || !f.events[0].Ref.Digest.IsZero() {
		t.Errorf("events %v", f.events)
	}
}
