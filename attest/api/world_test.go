package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
)

const (
	readToken   = "reader-secret-0123456789"
	submitToken = "submit-secret-0123456789"
)

var (
	now      = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	repo     = pratique.Repository{Registry: "registry.example", Path: "team/app"}
	other    = pratique.Repository{Registry: "registry.example", Path: "team/other"}
	spdx     = []byte("{\n  \"spdxVersion\": \"SPDX-2.3\"\n}\n") // not how Go would write it
	reported = []byte(`{"findings":[]}`)
	beside   = []byte(`{"scanned":["secrets"]}`)
	database = pratique.Database{Digest: digest("db"), Version: 2, UpdatedAt: now.Add(-2 * time.Hour)}
)

func digest(name string) pratique.Digest { return pratique.DigestOf([]byte(name)) }

func subject(name string) pratique.Subject {
	return pratique.Subject{Repository: repo, Digest: digest(name)}
}

// blobs is evidence in a map.
type blobs struct {
	mu  sync.Mutex
	all map[pratique.Digest][]byte
}

func (b *blobs) Get(_ context.Context, d pratique.Digest) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if content, ok := b.all[d]; ok {
		return content, nil
	}
	return nil, pratique.Errorf(pratique.NotFound, "get blob", "/var/lib/secret/path is not there")
}

func (b *blobs) put(content []byte) pratique.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := pratique.DigestOf(content)
	b.all[d] = content
	return d
}

var queues = []pratique.QueueStats{
	{Stage: "inspect", Priority: pratique.PriorityPush, Total: 3, Running: 1, Waiting: 2,
		Oldest: now.Add(-90 * time.Second)},
	{Stage: "deploy", Priority: pratique.PriorityRescan},
}

// world is a served API over a real index.
type world struct {
	t        *testing.T
	ix       *index.Index
	blobs    *blobs
	server   *httptest.Server
	mu       sync.Mutex
	seq      uint64
	events   []pratique.Event
	errors   []error
	database *pratique.Database // that is loaded; nil for none
	notReady string             // what the service waits for
	// refuse, if set, is what Submit answers; describe likewise.
	refuse, describe error
	// queued is what the queues hold; meanwhile, if set, is recorded just before a cancellation.
	queued    []api.Job
	meanwhile []pratique.Fact
	// requeued is the last event that was requeued, and who asked; tags are what the registry
	// says.
	requeued   pratique.Event
	requeuedBy string
	tags       map[string]pratique.Digest
}

// sweeps is a reconciler of two repositories.
type sweeps struct {
	mu    sync.Mutex
	asked [][]pratique.Repository
	state []pratique.Sweep
}

func (s *sweeps) Request(repos []pratique.Repository) ([]pratique.Repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted := repos
	if len(repos) == 0 {
		accepted = []pratique.Repository{repo, other}
	}
	for i, r := range accepted {
		if r != repo && r != other {
			return nil, pratique.Errorf(pratique.Invalid, "request reconciliation",
				"%s is not configured to be reconciled", accepted[i])
		}
	}
	s.asked = append(s.asked, repos)
	for i := range s.state { // sweeps that are over at once
		s.state[i].Finished = now.Add(time.Second)
	}
	return accepted, nil
}

func (s *sweeps) Status() []pratique.Sweep {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.state)
}

func newWorld(t *testing.T, auth api.Auth) *world { return newSweepingWorld(t, auth, nil) }

// newSweepingWorld is newWorld with a reconciler, unless that is nil.
func newSweepingWorld(t *testing.T, auth api.Auth, reconciler *sweeps) *world {
	t.Helper()
	ix, err := index.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ix: ix, database: &database, blobs: &blobs{all: map[pratique.Digest][]byte{}}}
	config := api.Config{
		Images: ix, Events: ix, Documents: w.blobs, Deployments: ix.Deployments,
		Report: func(ctx context.Context, of pratique.Scanned) ([]byte, error) {
			return w.blobs.Get(ctx, of.Report)
		}, Submit: w.submit, Digest: w.digestOf, Auth: auth, Now: func() time.Time { return now },
		Describe: func(context.Context) (api.Service, error) {
			return api.Service{
				Version:  "v1.2.3",
				Profiles: []pratique.Profile{{Name: "default", Digest: digest("policy")}},
				Database: w.database, Queues: queues,
			}, w.describe
		},
		NotReady: func(context.Context) string { return w.notReady },
		NextAttempt: func(stage, event string) time.Time {
			if stage == "attest" && event == "waits" {
				return now.Add(time.Minute)
			}
			return time.Time{}
		},
		OnError: func(r *http.Request, err error) {
			if r == nil {
				t.Error("the error came without its request")
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errors = append(w.errors, err)
		},
	}
	config.Operate, config.Places = operator{w}, w.places
	if reconciler != nil {
		config.Reconcile = reconciler
	}
	w.server = httptest.NewServer(api.New(config))
	t.Cleanup(func() {
		w.server.Close()
		_ = ix.Close()
	})
	return w
}

// places is what Git holds.
func (w *world) places(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error) {
	if _, bounded := ctx.Deadline(); !bounded || len(of) != 1 {
		w.t.Errorf("asked without a limit in time, or about %v", of)
	}
	return []pratique.TargetPlaces{
		{
			Target: "prod", Remote: "https://git.example/config.git", Branch: "main",
			Repository: of[0], Tip: "c0ffee", ObservedAt: now, Count: 2,
			Places: []pratique.Place{{Path: "a.yaml", Line: 3, Tag: "1.0", Digest: digest("app")},
				{Path: "b.yaml", Line: 4, Digest: digest("newer")}},
		},
		{Target: "test", Remote: "https://git.example/config.git", Branch: "main",
			Repository: of[0], Failure: "could not look: it is away"},
	}, nil
}

func tokens() api.Auth {
	return api.Auth{Tokens: []api.Token{{Name: "auditor", Secret: readToken},
		{Name: "ci", Secret: submitToken, Submit: true}}}
}

func (w *world) submit(ctx context.Context, e pratique.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.refuse != nil {
		return w.refuse
	}
	w.events = append(w.events, e)
	return nil
}

func (w *world) facts(facts ...pratique.Fact) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range facts {
		w.seq++
		if f.At.IsZero() {
			f.At = now.Add(time.Duration(w.seq) * time.Second)
		}
		f.By = "test@host-1"
		if err := w.ix.Apply(context.Background(), []pratique.Entry{{Seq: w.seq, Fact: f}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func seen(event, tag string, s pratique.Subject, children ...pratique.Child) pratique.Fact {
	e := pratique.Event{ID: event, Ref: pratique.ImageRef{Repository: s.Repository, Tag: tag},
		Source: "distribution", Priority: pratique.PriorityPush, ReceivedAt: now}
	return pratique.Fact{Subject: s, Event: event, Body: &pratique.Resolved{Event: e,
		Manifest: pratique.Manifest{
			Subject: s, Platform: "linux/amd64", Children: children,
		}}}
}

func evaluated(event string, s pratique.Subject, o pratique.Outcome) pratique.Fact {
	v := pratique.Verdict{Subject: s, Outcome: o, Profile: pratique.Profile{Name: "default",
		Digest: digest("policy")}, EvaluatedAt: now}
	if o == pratique.Deny {
		v.Reasons = []pratique.Reason{{Rule: "severity", Message: "HIGH CVE-1 in openssl",
			Finding: "CVE-1", Package: "openssl"}}
	}
	return pratique.Fact{Subject: s, Event: event, Body: &pratique.Evaluated{Verdict: v,
		Digest: digest("verdict")}}
}

func settled(event string, s pratique.Subject, state pratique.State) pratique.Fact {
	return pratique.Fact{Subject: s, Event: event, Body: &pratique.Completed{State: state,
		Detail: "that is the end"}}
}

// inspected stores the documents too.
func (w *world) inspected(s pratique.Subject) []pratique.Fact {
	image := pratique.ImageConfig{Digest: digest("config"), Platform: "linux/amd64", User: "1000"}
	return []pratique.Fact{
		{Subject: s, Body: &pratique.Inspected{
			Image: image, Inventory: digest("inventory"), SPDX: w.blobs.put(spdx),
			CycloneDX: w.blobs.put([]byte(`{"bomFormat":"CycloneDX"}`)), Packages: 12,
			ExtraKinds: []pratique.ExtraKind{pratique.ExtraSecrets}, Extras: w.blobs.put(beside),
			ExtraCounts: pratique.ExtraCounts{Secrets: 3},
		}},
		{Subject: s, Body: &pratique.Scanned{
			Report: w.blobs.put(reported), Inventory: digest("inventory"), Database: database,
			Counts: pratique.Counts{pratique.SeverityHigh: 2}, Fixable: 1,
		}},
	}
}

// ask sends a request with a token, and returns the answer with its body read.
func (w *world) ask(method, path, token, body string, header ...string) (*http.Response, []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path,
		strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, raw
}

// get wants a 200 and decodes it strictly.
func (w *world) get(path string, into any) *http.Response {
	w.t.Helper()
	res, raw := w.ask("GET", path, readToken, "")
	if res.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, res.StatusCode, raw)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		w.t.Fatalf("GET %s: %v in %s", path, err, raw)
	}
	return res
}

type problem struct {
	Type, Title, Detail string
	Status              int
	Errors              []struct{ Message, Location string }
}

// wantProblem checks that an answer is a problem document of that status, whose text holds want.
func (w *world) wantProblem(status int, want, method, path, token, body string,
	header ...string) (*http.Response, problem) {
	w.t.Helper()
	res, raw := w.ask(method, path, token, body, header...)
	var p problem
	if err := json.Unmarshal(raw, &p); err != nil && method != "HEAD" {
		w.t.Errorf("%s %s: not a problem: %s", method, path, raw)
	}
	if res.StatusCode != status || res.Header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(string(raw), want) {
		w.t.Errorf("%s %s: %d %s %s, want %d with %q", method, path, res.StatusCode,
			res.Header.Get("Content-Type"), raw, status, want)
	}
	if method != "HEAD" && p.Status != status {
		w.t.Errorf("%s %s: the document says %d, the answer %d", method, path, p.Status, res.StatusCode)
	}
	if strings.Contains(string(raw), "secret/path") {
		w.t.Errorf("%s %s tells of the inside: %s", method, path, raw)
	}
	return res, p
}
