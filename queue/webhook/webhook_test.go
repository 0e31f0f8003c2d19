package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
	counts map[string]int
	fail   error // of Publish
	lost   error // of OnDropped
}

func (f *fixture) Publish(_ context.Context, e pratique.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		f.events = append(f.events, e)
	}
	return f.fail
}

func receiver() webhook.Receiver {
	return webhook.Receiver{
		Name: "main", Format: "distribution", Registry: "registry.example.com", Aliases: []string{"registry:5000"},
		Repositories: []string{"team/*", "apps/**/prod"}, Auth: webhook.Auth{Values: []string{secret, nextSecret}},
	}
}

func (f *fixture) config(r webhook.Receiver) webhook.Config {
	f.counts = map[string]int{}
	return webhook.Config{
		Receivers: []webhook.Receiver{r}, Publisher: f,
		Now:   func() time.Time { return time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC) },
		Count: func(_, outcome string, n int) { f.mu.Lock(); defer f.mu.Unlock(); f.counts[outcome] += n },
		OnDropped: func(_ context.Context, d webhook.Drop) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.drops = append(f.drops, d)
			return f.lost
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

func (f *fixture) send(t testing.TB, body io.Reader, change func(*http.Request)) (int, http.Header, reply) {
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
	ref := pratique.ImageRef{Repository: pratique.Repository{Registry: "registry.example.com", Path: "team/app"}, Tag: "1.4.2", Digest: d}
	want := []pratique.Event{{
		ID:  pratique.EventID("main", ref, "320678d8-ca14-430f-8bb6-4ca139cd83f7"),
		Ref: ref, Source: "main", Actor: "ci", Lane: pratique.LanePush,
		OccurredAt: time.Date(2026, 3, 9, 14, 44, 26, 402973972, time.UTC), ReceivedAt: time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(want, f.events, cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"accepted": 1}, f.counts); diff != "" {
		t.Error(diff)
	}
}

func TestAliasIsReplacedByTheConfiguredRegistry(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	f.send(t, strings.NewReader(changed(t, `"host":"registry.example.com"`, `"host":"REGISTRY:5000"`)), nil)
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
		"pull":             {changed(t, `"push"`, `"pull"`), map[string]int{"pull": 1}},
		"mount":            {changed(t, `"push"`, `"mount"`), map[string]int{"mount": 1}},
		"deletes":          {file(t, "delete.json"), map[string]int{"delete": 2}},
		"unheard of":       {changed(t, `"push"`, `"<script>"`), map[string]int{"action": 1}},
		"blob":             {changed(t, "application/vnd.oci.image.manifest.v1+json", "application/octet-stream"), map[string]int{"blob": 1}},
		"chart":            {changed(t, "application/vnd.oci.image.manifest.v1+json", "application/x"), map[string]int{"media-type": 1}},
		"signature":        {changed(t, "1.4.2", "sha256-"+hexA+".sig"), map[string]int{"signature-tag": 1}},
		"attestation":      {changed(t, "1.4.2", "sha256-"+hexA+".att"), map[string]int{"signature-tag": 1}},
		"sbom":             {changed(t, "1.4.2", "sha256-"+hexA+".sbom"), map[string]int{"signature-tag": 1}},
		"referrers":        {changed(t, "1.4.2", "sha256-"+hexA), map[string]int{"signature-tag": 1}},
		"prefixed":         {changed(t, "1.4.2", "acme-sha256-"+hexA+".sig"), map[string]int{"signature-tag": 1}},
		"untagged":         {changed(t, `"tag":"1.4.2"`, `"tag":""`), map[string]int{"untagged": 1}},
		"nothing":          {`{"events":[]}`, nil},
		"another's, pulls": {strings.Replace(changed(t, `"push"`, `"pull"`), `"host":"registry.example.com"`, `"host":"evil"`, 1), map[string]int{"pull": 1}},
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
	for _, tag := range []string{"sha256-" + hexA[:63], "sha256-" + hexA + ".sigx", "sha256-" + hexA + ".sig.1", "sha256-abc.sig"} {
		f := serve(t, nil)
		if status, _, _ := f.send(t, strings.NewReader(changed(t, "1.4.2", tag)), nil); status != http.StatusAccepted {
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

func TestDropped(t *testing.T) {
	t.Parallel()
	repository := `"repository":"team/app"`
	for name, c := range map[string]struct{ body, reason string }{
		"not JSON":          {`{"events":[`, "unreadable"},
		"empty":             {``, "unreadable"},
		"no events":         {`{}`, "unreadable"},
		"null events":       {`{"events":null}`, "unreadable"},
		"wrong type":        {`{"events":[{"id":7}]}`, "unreadable"},
		"two values":        {`{"events":[]}{"events":[]}`, "unreadable"},
		"duplicate key":     {changed(t, `"action":"push"`, `"action":"pull","action":"push"`), "unreadable"},
		"not UTF-8":         {changed(t, `"ci"`, "\"\xff\""), "unreadable"},
		"deep":              {`{"events":[],"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "unreadable"},
		"10,000 events":     {`{"events":[` + strings.Repeat(`{},`, 9_999) + `{}]}`, "too-many-events"},
		"too large":         {`{"events":[]}` + strings.Repeat(" ", 3<<20), "body-too-large"},
		"forged host":       {changed(t, `"host":"registry.example.com"`, `"host":"169.254.169.254"`), "host"},
		"longer host":       {changed(t, `"host":"registry.example.com"`, `"host":"registry.example.com.evil.org"`), "host"},
		"host with port":    {changed(t, `"host":"registry.example.com"`, `"host":"registry.example.com:444"`), "host"},
		"no host":           {changed(t, `"host":"registry.example.com"`, `"host":""`), "host"},
		"other repository":  {changed(t, repository, `"repository":"other/app"`), "repository"},
		"deeper repository": {changed(t, repository, `"repository":"team/app/sub"`), "repository"},
		"prefix repository": {changed(t, repository, `"repository":"team-evil/app"`), "repository"},
		"escaping path":     {changed(t, repository, `"repository":"team/../../etc"`), "reference"},
		"option as tag":     {changed(t, "1.4.2", "--upload-pack=x"), "reference"},
		"newline in tag":    {changed(t, "1.4.2", `1.4.2\nSigned-off-by: x`), "reference"},
		"bad digest":        {changed(t, "sha256:fea", "sha256:FEA"), "reference"},
		"sha512":            {changed(t, "sha256:fea", "sha512:fea"), "reference"},
		"no id":             {changed(t, "320678d8-ca14-430f-8bb6-4ca139cd83f7", ""), "no-id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			status, _, out := f.send(t, strings.NewReader(c.body), nil)
			if status != http.StatusOK || out.Accepted != 0 || len(f.events) > 0 {
				t.Fatalf("status %d, %+v, events %v", status, out, f.events)
			}
			if len(f.drops) != 1 || f.drops[0].Reason != c.reason || f.drops[0].Receiver != "main" || f.drops[0].Detail == "" {
				t.Errorf("drops %+v, want one for %s", f.drops, c.reason)
			}
			if len(out.Dropped) != 1 || out.Dropped[0].Reason != c.reason || f.counts["dropped:"+c.reason] != 1 {
				t.Errorf("answer %+v, counts %v", out, f.counts)
			}
			if len(f.drops[0].Detail) > 300 {
				t.Errorf("detail of %d bytes", len(f.drops[0].Detail))
			}
		})
	}
}

func TestDropThatCannotBeRecordedIsAskedForAgain(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	f.lost = errors.New("ledger is away")
	status, header, _ := f.send(t, strings.NewReader(`{`), nil)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", status, header)
	}
}

func TestHundredMegabytes(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	for name, c := range map[string]struct {
		auth   string
		status int
		reason string
	}{
		"with the secret": {secret, http.StatusOK, "body-too-large"},
		"without":         {"Bearer wrong-wrong-wrong", http.StatusUnauthorized, ""},
	} {
		for _, chunked := range []bool{false, true} {
			f := serve(t, nil)
			body := &counting{r: io.LimitReader(zeros{}, size)}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", c.auth)
			r.Header.Set("Content-Type", eventsType)
			if !chunked {
				r.ContentLength = size
			}
			resp, err := http.DefaultClient.Do(r)
			if err == nil { // the client may meet the closed connection before the answer
				resp.Body.Close()
				if resp.StatusCode != c.status {
					t.Errorf("%s, chunked %v: status %d", name, chunked, resp.StatusCode)
				}
			}
			if n := body.count(); n > 16<<20 {
				t.Errorf("%s, chunked %v: the client could send %d bytes", name, chunked, n)
			}
			f.mu.Lock()
			if c.reason != "" && (len(f.drops) != 1 || f.drops[0].Reason != c.reason) || c.reason == "" && len(f.drops) > 0 {
				t.Errorf("%s, chunked %v: drops %v", name, chunked, f.drops)
			}
			f.mu.Unlock()
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counting struct {
	r  io.Reader
	mu sync.Mutex
	n  int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	return n, err
}

func (c *counting) count() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"no secret":    {func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		"empty secret": {func(r *http.Request) { r.Header.Set("Authorization", "") }, 401},
		"wrong secret": {func(r *http.Request) { r.Header.Set("Authorization", secret+"x") }, 401},
		"prefix of it": {func(r *http.Request) { r.Header.Set("Authorization", secret[:20]) }, 401},
		"bare secret":  {func(r *http.Request) { r.Header.Set("Authorization", strings.TrimPrefix(secret, "Bearer ")) }, 401},
		"two of them":  {func(r *http.Request) { r.Header.Add("Authorization", secret) }, 401},
		"other header": {func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Token", secret) }, 401},
		"get":          {func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"gzip":         {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415},
		"form":         {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415},
		"no type":      {func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"no such hook": {func(r *http.Request) { r.URL.Path = "/webhooks/other" }, 404},
		"rotated":      {func(r *http.Request) { r.Header.Set("Authorization", nextSecret) }, 202},
		"old type": {func(r *http.Request) {
			r.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v1+json")
		}, 202},
		"type and more": {func(r *http.Request) { r.Header.Set("Content-Type", "Application/JSON; charset=utf-8") }, 202},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			status, header, out := f.send(t, strings.NewReader(file(t, "push.json")), c.change)
			if status != c.want {
				t.Fatalf("status %d, want %d", status, c.want)
			}
			if status >= 400 && (header.Get("Content-Type") != "application/problem+json" || out.Detail == "" || len(f.events) > 0) {
				t.Errorf("header %v, %+v, events %v", header, out, f.events)
			}
		})
	}
}

func TestOtherHeader(t *testing.T) {
	t.Parallel()
	f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Auth = webhook.Auth{Header: "x-registry-token", Values: []string{"0123456789abcdef"}}
	})
	status, _, _ := f.send(t, strings.NewReader(file(t, "push.json")), func(r *http.Request) {
		r.Header.Del("Authorization")
		r.Header.Set("X-Registry-Token", "0123456789abcdef")
	})
	if status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}

func TestQueueTroubleIs503(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	f.fail = pratique.Errorf(pratique.Unavailable, "publish", "no ack")
	status, header, _ := f.send(t, strings.NewReader(file(t, "push.json")), nil)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", status, header)
	}
}

func TestMixedEnvelope(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	one := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(file(t, "push.json")), `{"events":[`), `]}`)
	second := strings.Replace(one, "320678d8", "420678d8", 1)
	evil := strings.Replace(one, `"host":"registry.example.com"`, `"host":"evil.example"`, 1)
	pull := strings.Replace(one, `"push"`, `"pull"`, 1)
	body := `{"events":[` + strings.Join([]string{one, pull, evil, second, one}, ",") + `]}`
	status, _, out := f.send(t, strings.NewReader(body), nil)
	if status != http.StatusAccepted || out.Accepted != 2 || out.Ignored["pull"] != 1 || len(out.Dropped) != 1 {
		t.Errorf("status %d, %+v", status, out)
	}
	if len(f.events) != 2 || f.events[0].ID == f.events[1].ID {
		t.Errorf("%+v", f.events)
	}
}

func TestEventIDs(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	hexB := strings.Repeat("b", 64)
	push := func(id, hex string) {
		body := strings.ReplaceAll(changed(t, "320678d8-ca14-430f-8bb6-4ca139cd83f7", id), hexA, hex)
		f.send(t, strings.NewReader(body), nil)
	}
	push("1", hexA)
	push("1", hexA) // a retry of the same delivery
	push("2", hexB)
	push("3", hexA) // the tag goes back to A
	ids := map[string]bool{}
	for _, e := range f.events {
		ids[e.ID] = true
	}
	if len(f.events) != 4 || f.events[0].ID != f.events[1].ID || len(ids) != 3 {
		t.Errorf("%d events with %d ids", len(f.events), len(ids))
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Read = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(f.url, "http://"), "/webhooks/main"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /webhooks/main HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", secret, eventsType)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	begin := time.Now()
	answer, err := io.ReadAll(conn) // ends when the server hangs up
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408") {
		t.Errorf("%v, %q", err, answer)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestOverloadIs503(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Concurrent = 1 })
	reader, writer := io.Pipe()
	done := make(chan int)
	go func() {
		status, _, _ := f.send(t, reader, nil)
		done <- status
	}()
	if _, err := writer.Write([]byte(`{"events":`)); err != nil { // read by the transport: the request is under way
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for status := 0; status != http.StatusServiceUnavailable; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a second request was never refused")
		}
		status, _, _ = f.send(t, strings.NewReader(`{"events":[]}`), nil)
	}
	fmt.Fprint(writer, `[]}`)
	writer.Close()
	if status := <-done; status != http.StatusOK {
		t.Errorf("the first request: status %d", status)
	}
	if status, _, _ := f.send(t, strings.NewReader(`{"events":[]}`), nil); status != http.StatusOK {
		t.Errorf("after the load: status %d", status)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*webhook.Receiver){
		"no secret":          func(r *webhook.Receiver) { r.Auth.Values = nil },
		"empty secret":       func(r *webhook.Receiver) { r.Auth.Values = []string{""} },
		"short secret":       func(r *webhook.Receiver) { r.Auth.Values = []string{"Bearer 0123456789abcde"} },
		"secret and newline": func(r *webhook.Receiver) { r.Auth.Values = []string{secret + "\n"} },
		"secret, insecure":   func(r *webhook.Receiver) { r.Auth.Insecure = true },
		"name":               func(r *webhook.Receiver) { r.Name = "a/b" },
		"no name":            func(r *webhook.Receiver) { r.Name = "" },
		"format":             func(r *webhook.Receiver) { r.Format = "x" },
		"registry":           func(r *webhook.Receiver) { r.Registry = "https://registry.example.com" },
		"alias":              func(r *webhook.Receiver) { r.Aliases = []string{""} },
		"pattern":            func(r *webhook.Receiver) { r.Repositories = []string{"team/[a"} },
		"empty segment":      func(r *webhook.Receiver) { r.Repositories = []string{"team//a"} },
		"half a rest":        func(r *webhook.Receiver) { r.Repositories = []string{"team/a**"} },
	} {
		f, r := &fixture{}, receiver()
		change(&r)
		if _, err := webhook.New(f.config(r)); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	f := &fixture{}
	c := f.config(receiver())
	c.Receivers = append(c.Receivers, receiver())
	if _, err := webhook.New(c); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("the same name twice: got %v", err)
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
				r.Repositories = []string{c.pattern}
			}
		})
		status, _, _ := f.send(t, strings.NewReader(changed(t, `"repository":"team/app"`, `"repository":"`+c.repository+`"`)), nil)
		if got := status == http.StatusAccepted; got != c.want {
			t.Errorf("%q takes %q: %v, want %v", c.pattern, c.repository, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file(f, "push.json")))
	f.Add([]byte(file(f, "delete.json")))
	f.Add([]byte(`{"events":[{}]}`))
	f.Add([]byte(`{"events":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, name := range webhook.Formats() {
			all, err := webhook.Parse(name, http.Header{}, body)
			if err != nil && all != nil {
				t.Error("notifications beside an error")
			}
			if len(all) > len(body) {
				t.Errorf("%d notifications from %d bytes", len(all), len(body))
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := []byte(file(b, "push.json"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := webhook.Parse("distribution", nil, body); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Publish(context.Context, pratique.Event) error { return nil }

func BenchmarkHandler(b *testing.B) {
	h, err := webhook.New(webhook.Config{Receivers: []webhook.Receiver{receiver()}, Publisher: discard{}})
	if err != nil {
		b.Fatal(err)
	}
	body := file(b, "push.json")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/webhooks/main", strings.NewReader(body))
		r.SetPathValue("name", "main")
		r.Header.Set("Authorization", secret)
		r.Header.Set("Content-Type", eventsType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code)
		}
	}
}
