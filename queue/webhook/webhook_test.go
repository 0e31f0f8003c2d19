package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

const (
	secret     = "Bearer 0123456789abcdef"
	nextSecret = "Bearer fedcba9876543210"
	eventsType = "application/vnd.docker.distribution.events.v2+json"
	hexA       = "fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf"
)

// fixture is a handler behind a real server, and everything it did.
type fixture struct {
	url string

	mu     sync.Mutex
	events []pratique.Event
	drops  []webhook.Drop
	bodies [][]byte // of requests with drops
	errors []error
	counts map[string]int
	fail   error         // of Publish
	hold   chan struct{} // Publish waits for its end
	lost   error         // of OnDropped
}

// Publish takes an event for a duplicate if it has seen its delivery.
func (f *fixture) Publish(ctx context.Context, events []pratique.Event) (int, error) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(ctx.Err(), f.fail); err != nil {
		return 0, err
	}
	stored := 0
	for _, e := range events {
		same := func(have pratique.Event) bool {
			return have.Delivery != "" && have.Delivery == e.Delivery
		}
		if !slices.ContainsFunc(f.events, same) {
			f.events = append(f.events, e)
			stored++
		}
	}
	return stored, nil
}

func receiver() webhook.Receiver {
	return webhook.Receiver{
		Name: "main", Format: "distribution", Registry: "registry.example.com",
		Aliases:      []string{"registry:5000"},
		Repositories: []pratique.Glob{"team/*", "apps/**/prod"},
		Auth:         webhook.Auth{Secrets: []string{secret, nextSecret}},
	}
}

func (f *fixture) config(r webhook.Receiver) webhook.Config {
	f.counts = map[string]int{}
	return webhook.Config{
		Receivers: []webhook.Receiver{r}, Publisher: f,
		Now: func() time.Time { return time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC) },
		Count: func(_, outcome string, n int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.counts[outcome] += n
		},
		OnDropped: func(ctx context.Context, r webhook.Refusal) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.drops, f.bodies = append(f.drops, r.Drops...), append(f.bodies, r.Body)
			return f.lost
		},
		OnError: func(_ string, err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.errors = append(f.errors, err)
		},
	}
}

func serve(t testing.TB, change func(*webhook.Receiver, *webhook.Limits)) *fixture {
	t.Helper()
	f := &fixture{}
	r := receiver()
	limits := webhook.Limits{}
	if change != nil {
		change(&r, &limits)
	}
	c := f.config(r)
	c.Limits = limits
	h, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", h)
	mux.Handle("/webhooks/{name}/{secret}", h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	f.url = s.URL + "/webhooks/main"
	return f
}

type reply struct {
	Accepted int            `json:"accepted"`
	Ignored  map[string]int `json:"ignored"`
	Dropped  []struct{ Reason, Detail string }
	Detail   string
}

func (f *fixture) send(t testing.TB, body io.Reader, change func(*http.Request)) (int,
	http.Header, reply) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", secret)
	r.Header.Set("Content-Type", eventsType)
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out reply
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatalf("status %d with a body that is not JSON: %v", resp.StatusCode, err)
	}
	return resp.StatusCode, resp.Header, out
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// changed is the push of testdata with one value replaced.
func changed(t testing.TB, old, with string) string {
	t.Helper()
	body := file(t, "push.json")
	if !strings.Contains(body, old) {
		t.Fatalf("testdata has no %s", old)
	}
	return strings.Replace(body, old, with, 1)
}

func TestPushBecomesAnEvent(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	status, _, out := f.send(t, strings.NewReader(file(t, "push.json")), nil)
	if status != http.StatusAccepted || out.Accepted != 1 {
		t.Fatalf("status %d, %+v", status, out)
	}
	d, err := pratique.ParseDigestHex(hexA)
	if err != nil {
		t.Fatal(err)
	}
	ref := pratique.ImageRef{Repository: pratique.Repository{Registry: "registry.example.com",
		Path: "team/app"}, Tag: "1.4.2", Digest: d}
	want := []pratique.Event{{
		Ref: ref, Source: "main", Actor: "ci", Delivery: "320678d8-ca14-430f-8bb6-4ca139cd83f7",
		Priority:   pratique.PriorityPush,
		OccurredAt: time.Date(2026, 3, 9, 14, 44, 26, 402973972, time.UTC),
		ReceivedAt: time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(want, f.events, cmp.Comparer(func(a, b pratique.Digest) bool {
		return a == b
	})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"accepted": 1}, f.counts); diff != "" {
		t.Error(diff)
	}
}

func TestAliasIsReplacedByTheConfiguredRegistry(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	f.send(t, strings.NewReader(changed(t, `"host":"registry.example.com"`,
		`"host":"REGISTRY:5000"`)), nil)
	if len(f.events) != 1 || f.events[0].Ref.Repository.Registry != "registry.example.com" {
		t.Errorf("%+v", f.events)
	}
}

func TestIgnored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want map[string]int
	}{
		"pull":       {changed(t, `"push"`, `"pull"`), map[string]int{"pull": 1}},
		"mount":      {changed(t, `"push"`, `"mount"`), map[string]int{"mount": 1}},
		"deletes":    {file(t, "delete.json"), map[string]int{"delete": 2}},
		"unheard of": {changed(t, `"push"`, `"<script>"`), map[string]int{"action": 1}},
		"blob": {changed(t, "application/vnd.oci.image.manifest.v1+json",
			"application/octet-stream"), map[string]int{"blob": 1}},
		"chart": {changed(t, "application/vnd.oci.image.manifest.v1+json",
			"application/x"), map[string]int{"media-type": 1}},
		"signature": {changed(t, "1.4.2", "sha256-"+hexA+".sig"),
			map[string]int{"signature-tag": 1}},
		"attestation": {changed(t, "1.4.2", "sha256-"+hexA+".att"),
			map[string]int{"signature-tag": 1}},
		"sbom": {changed(t, "1.4.2", "sha256-"+hexA+".sbom"),
			map[string]int{"signature-tag": 1}},
		"referrers": {changed(t, "1.4.2", "sha256-"+hexA), map[string]int{"signature-tag": 1}},
		"referrers, 512": {changed(t, "1.4.2", "sha512-"+hexA+hexA),
			map[string]int{"signature-tag": 1}},
		"untagged": {changed(t, `"tag":"1.4.2"`, `"tag":""`), map[string]int{"untagged": 1}},
		"nothing":  {`{"events":[]}`, nil},
		"another's, pulls": {strings.Replace(changed(t, `"push"`, `"pull"`),
			`"host":"registry.example.com"`, `"host":"evil"`, 1), map[string]int{"pull": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			status, _, out := f.send(t, strings.NewReader(c.body), nil)
			if status != http.StatusOK || len(f.events) > 0 || len(f.drops) > 0 {
				t.Errorf("status %d, events %v, drops %v", status, f.events, f.drops)
			}
			if diff := cmp.Diff(c.want, out.Ignored); diff != "" {
				t.Error(diff)
			}
			for why, n := range c.want {
				if f.counts["ignored:"+why] != n {
					t.Errorf("counts %v", f.counts)
				}
			}
		})
	}
}

func TestNotQuiteASignature(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{"sha256-" + hexA[:63], "sha256-" + hexA + ".sigx", "sha256-" +
		hexA + ".sig.1", "sha256-abc.sig", "app-sha256-" + hexA, "acme-sha256-" + hexA + ".sig",
		"xsha256-" + hexA} {
		f := serve(t, nil)
		if status, _, _ := f.send(t, strings.NewReader(changed(t, "1.4.2", tag)),
			nil); status != http.StatusAccepted {
			t.Errorf("tag %s: status %d", tag, status)
		}
	}
}

func TestUntaggedWhenAskedFor(t *testing.T) {
	t.Parallel()
	f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) { r.Untagged = true })
	status, _, _ := f.send(t, strings.NewReader(changed(t, `,"tag":"1.4.2"`, ``)), nil)
	if status != http.StatusAccepted || len(f.events) != 1 || f.events[0].Ref.Tag != "" {
		t.Errorf("status %d, %+v", status, f.events)
	}
}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	return n, err
}

func (c *counting) count() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func TestMixedEnvelope(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	one := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(file(t, "push.json")),
		`{"events":[`), `]}`)
	second := strings.Replace(one, "320678d8", "420678d8", 1)
	evil := strings.Replace(one, `"host":"registry.example.com"`, `"host":"evil.example"`, 1)
	pull := strings.Replace(one, `"push"`, `"pull"`, 1)
	body := `{"events":[` + strings.Join([]string{one, pull, evil, second, one}, ",") + `]}`
	status, _, out := f.send(t, strings.NewReader(body), nil)
	if status != http.StatusAccepted || out.Accepted != 2 || out.Ignored["pull"] != 1 ||
		len(out.Dropped) != 1 {
		t.Errorf("status %d, %+v", status, out)
	}
	if len(f.events) != 2 || out.Ignored["duplicate"] != 1 {
		t.Errorf("%+v, %+v", f.events, out)
	}
}

func TestLongIDsStayDifferent(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	for _, end := range []string{"a", "b"} {
		f.send(t, strings.NewReader(changed(t, "320678d8-ca14-430f-8bb6-4ca139cd83f7",
			strings.Repeat("x", 300)+end)), nil)
	}
	if len(f.events) != 2 || len(f.events[0].Delivery) > 120 {
		t.Errorf("%+v", f.events)
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	for i, want := range []int{http.StatusAccepted, http.StatusOK} {
		status, _, out := f.send(t, strings.NewReader(file(t, "push.json")), nil)
		if status != want || out.Ignored["duplicate"] != i || out.Accepted != 1-i {
			t.Errorf("%d: status %d, %+v", i, status, out)
		}
	}
	if f.counts["ignored:duplicate"] != 1 || f.counts["accepted"] != 1 {
		t.Errorf("%v", f.counts)
	}
}

func TestRepositoryPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, repository string
		want                bool
	}{
		{"", "any/thing", true},
		{"**", "any/thing", true},
		{"team/*", "team/app", true},
		{"team/*", "team", false},
		{"team/app-*", "team/app-x", true},
		{"team/app-*", "team/app", false},
		{"apps/**/prod", "apps/prod", true},
		{"apps/**/prod", "apps/a/b/prod", true},
		{"apps/**/prod", "apps/a/b/test", false},
		{"apps/**", "apps", true},
		{"app", "apps", false},
	} {
		f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
			r.Repositories = nil
			if c.pattern != "" {
				r.Repositories = []pratique.Glob{pratique.Glob(c.pattern)}
			}
		})
		status, _, _ := f.send(t,
			strings.NewReader(changed(t, `"repository":"team/app"`, `"repository":"`+c.repository+
				`"`)), nil)
		if got := status == http.StatusAccepted; got != c.want {
			t.Errorf("%q takes %q: %v, want %v", c.pattern, c.repository, got, c.want)
		}
	}
}
