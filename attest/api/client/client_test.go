package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/attest/index"
)

const secret = "submit-secret-0123456789"

var subject = pratique.Subject{
	Repository: pratique.Repository{Registry: "registry.example", Path: "team/app"},
	Digest:     pratique.DigestOf([]byte("a")),
}

// serve starts the real API over a real index; submitted gets each event.
func serve(t *testing.T, submitted func(*index.Index, pratique.Event) error) *httptest.Server {
	t.Helper()
	ix, err := index.Open(filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api.New(api.Config{
		Images: ix, Events: ix,
		Submit:   func(_ context.Context, e pratique.Event) error { return submitted(ix, e) },
		Describe: func(context.Context) (api.Service, error) { return api.Service{}, nil },
		Auth: api.Auth{Tokens: []api.Token{{Name: "ci", Secret: secret, Submit: true},
			{Name: "auditor", Secret: "reader-secret-0123456789"}}},
	}))
	t.Cleanup(func() {
		server.Close()
		_ = ix.Close()
	})
	return server
}

func connect(t *testing.T, url, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// life is what the pipeline records about an event, the end last.
func life(e pratique.Event) []pratique.Fact {
	fact := func(body pratique.Body) pratique.Fact {
		return pratique.Fact{Subject: subject, Event: e.ID, At: e.ReceivedAt, By: "test@host", Body: body}
	}
	verdict := pratique.DigestOf([]byte("verdict"))
	return []pratique.Fact{
		fact(&pratique.Resolved{Event: e, Manifest: pratique.Manifest{Subject: subject}}),
		fact(&pratique.Evaluated{Digest: verdict, Verdict: pratique.Verdict{
			Subject: subject, Outcome: pratique.Deny,
			Reasons: []pratique.Reason{{Rule: "severity", Message: "HIGH CVE-1"}},
		}}),
		fact(&pratique.Completed{State: pratique.StateDenied, Ref: e.Ref, Outcome: pratique.Deny,
			Verdict: verdict}),
	}
}

func TestSubmitAndWait(t *testing.T) {
	t.Parallel()
	events := make(chan struct {
		ix *index.Index
		e  pratique.Event
	}, 1)
	server := serve(t, func(ix *index.Index, e pratique.Event) error {
		events <- struct {
			ix *index.Index
			e  pratique.Event
		}{ix, e}
		return nil
	})
	c := connect(t, server.URL, secret)
	s, err := c.Submit(t.Context(), "registry.example/team/app:1.0", "", 0)
	if err != nil || s.State != "received" || s.ID == "" {
		t.Fatal(s, err)
	}
	accepted := <-events
	var states []string
	next := make(chan struct{}, 8)
	done := make(chan struct{})
	go func() { // each step only after the client has seen the one before
		defer close(done)
		for i, f := range life(accepted.e) {
			if i > 0 {
				<-next
			}
			if err := accepted.ix.Apply(t.Context(),
				[]pratique.Entry{{Seq: uint64(i + 1), Fact: f}}); err != nil {
				t.Error(err)
			}
		}
	}()
	end, err := c.Wait(t.Context(), s.ID, func(s api.Submission) {
		states = append(states, string(s.State))
		next <- struct{}{}
	})
	<-done
	if err != nil || !end.Done || end.Outcome != pratique.Deny ||
		end.Reasons[0].Message != "HIGH CVE-1" || end.Verdict != pratique.DigestOf([]byte("verdict")) {
		t.Errorf("%+v %v", end, err)
	}
	if !slices.Equal(states, []string{"resolved", "evaluated", "denied"}) {
		t.Errorf("progress %v", states)
	}
	for _, name := range []string{subject.Digest.String(), subject.String(),
		"registry.example/team/app:1.0"} {
		if i, err := c.Image(t.Context(), name); err != nil || i.Image != subject.String() ||
			i.Outcome != pratique.Deny {
			t.Errorf("%s: %+v %v", name, i, err)
		}
	}
}

func TestProblemsBecomeKinds(t *testing.T) {
	t.Parallel()
	refuse := pratique.Errorf(pratique.RateLimited, "submit", "too many")
	server := serve(t, func(*index.Index, pratique.Event) error { return refuse })
	c := connect(t, server.URL, secret)
	ask := map[string]struct {
		err  func() error
		kind pratique.Kind
		text string
	}{
		"unknown digest": {func() error {
			_, err := c.Image(t.Context(), subject.Digest.String())
			return err
		}, pratique.NotFound, "nothing is known"},
		"unknown tag": {func() error {
			_, err := c.Image(t.Context(), "registry.example/a:b")
			return err
		}, pratique.NotFound, "(404)"},
		"not an image": {func() error {
			_, err := c.Image(t.Context(), "alpine")
			return err
		}, pratique.Invalid, "registry too"},
		"bad submission": {func() error {
			_, err := c.Submit(t.Context(), "alpine", "", 0)
			return err
		}, pratique.Invalid, "registry too"},
		"empty": {func() error {
			_, err := c.Submit(t.Context(), "", "", 0)
			return err
		}, pratique.Invalid, "body.image"},
		"rate limited": {func() error {
			_, err := c.Submit(t.Context(), "registry.example/a:b", "", 0)
			return err
		}, pratique.RateLimited, "(429)"},
		"no submission": {func() error {
			_, err := c.Submission(t.Context(), "no", 0)
			return err
		}, pratique.NotFound, ""},
		"no token": {func() error {
			_, err := connect(t, server.URL, "").Image(t.Context(), subject.String())
			return err
		}, pratique.Denied, "token"},
		"reader's token": {func() error {
			_, err := connect(t, server.URL, "reader-secret-0123456789").Submit(t.Context(),
				"registry.example/a:b", "", 0)
			return err
		}, pratique.Denied, "(403)"},
		"nobody there": {func() error {
			_, err := connect(t, "http://127.0.0.1:1", "").Image(t.Context(), subject.String())
			return err
		}, pratique.Unavailable, ""},
		"base path": {func() error {
			_, err := connect(t, server.URL+"/sub/", secret).Image(t.Context(), subject.String())
			return err
		}, pratique.NotFound, "nothing at this path"},
	}
	for name, tt := range ask {
		if err := tt.err(); pratique.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v (%v), want %v", name, err, pratique.KindOf(err), tt.kind)
		}
	}
}

func TestForeignServers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		kind   pratique.Kind
	}{
		"not JSON":        {200, "<html>", pratique.Corrupt},
		"gateway":         {502, "<html>", pratique.Unavailable},
		"broken problem":  {404, "{", pratique.NotFound},
		"server's error":  {500, "", pratique.Unknown},
		"endless answer":  {200, strings.Repeat(" ", 17<<20), pratique.Exhausted},
		"endless problem": {503, strings.Repeat(" ", 17<<20), pratique.Unavailable},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body)) // the client may have hung up
		}))
		if _, err := connect(t, server.URL, "").Image(t.Context(),
			subject.String()); pratique.KindOf(err) != tt.kind || err == nil {
			t.Errorf("%s: %v (%v)", name, err, pratique.KindOf(err))
		}
		server.Close()
	}
	for _, url := range []string{"", "pratique.example", "ftp://pratique.example",
		"https://user:pw@pratique.example", "https://pratique.example?x=1", "http://%"} {
		if _, err := client.New(client.Config{URL: url}); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestWaitGoesOnThroughAnOutage(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"id":"e","ref":"","state":"allowed","done":true,"outcome":"allow","links":{"self":""}}`))
	}))
	t.Cleanup(server.Close)
	if s, err := connect(t, server.URL, "").Wait(t.Context(), "e", nil); err != nil || !s.Done {
		t.Error(s, err)
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(denied.Close)
	if _, err := connect(t, denied.URL, "").Wait(t.Context(), "e",
		nil); pratique.KindOf(err) != pratique.Denied {
		t.Errorf("denied: %v", err)
	}
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(down.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := connect(t, down.URL, "").Wait(ctx, "e",
		nil); pratique.KindOf(err) != pratique.Unavailable || !strings.Contains(err.Error(), "503") {
		t.Errorf("down: %v", err)
	}
}

// An ingress whose backends are gone answers 404 to everything, in its own words. That says nothing
// about a submission that the service knew a moment ago; its own 404 does once it has stood for a
// while.
func TestWaitGoesOnThroughForeignAnswers(t *testing.T) {
	t.Parallel()
	const working = `{"id":"e","ref":"","state":"resolved","done":false,"links":{"self":""}}`
	answers := []struct {
		status          int
		mediaType, body string
	}{
		{200, "application/json", working},
		{404, "text/html", "<html>default backend - 404"},
		{404, "application/problem+json", `{"title":"Not Found","status":404}`},
		{200, "text/html", "<html>we are working on it"},
		{404, "application/problem+json",
			`{"type":"urn:pratique:error:not-found","status":404,"detail":"nothing is known about it"}`},
		{200, "application/json", strings.Replace(working, "false", "true", 1)},
	}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := answers[min(int(asked.Add(1)), len(answers))-1]
		w.Header().Set("Content-Type", a.mediaType)
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body)) // the client may have hung up
	}))
	t.Cleanup(server.Close)
	s, err := connect(t, server.URL, "").Wait(t.Context(), "e", nil)
	if err != nil || !s.Done || int(asked.Load()) != len(answers) {
		t.Errorf("%+v %v after %d answers, want %d", s, err, asked.Load(), len(answers))
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1)%2 == 1 {
			_, _ = w.Write([]byte(working))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"type":"urn:pratique:error:invalid","status":422,"detail":"no such wait"}`))
	}))
	t.Cleanup(refusing.Close)
	asked.Store(0)
	if _, err := connect(t, refusing.URL, "").Wait(t.Context(), "e",
		nil); pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("the service's own refusal: %v", err)
	}
}

// reconciler knows one repository.
type reconciler struct{ asked [][]pratique.Repository }

func (r *reconciler) Request(repos []pratique.Repository) ([]pratique.Repository, error) {
	if len(repos) > 0 && repos[0] != subject.Repository {
		return nil, pratique.Errorf(pratique.Invalid, "request reconciliation",
			"%s is not configured", repos[0])
	}
	r.asked = append(r.asked, repos)
	return []pratique.Repository{subject.Repository}, nil
}

func (r *reconciler) Status() []pratique.Sweep {
	return []pratique.Sweep{{Repository: subject.Repository.String(), State: "waiting",
		SweepTally: pratique.SweepTally{News: len(r.asked)}}}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	sweeps := &reconciler{}
	server := httptest.NewServer(api.New(api.Config{
		Reconcile: sweeps,
		Auth:      api.Auth{Tokens: []api.Token{{Name: "ci", Secret: secret, Submit: true}}},
	}))
	t.Cleanup(server.Close)
	c := connect(t, server.URL, secret)
	for i, names := range [][]string{nil, {}, {subject.Repository.String()}} {
		got, err := c.Reconcile(t.Context(), names)
		if err != nil || len(got) != 1 || got[0].Repository != subject.Repository.String() ||
			got[0].State != "waiting" || got[0].News != i || len(sweeps.asked[i]) != len(names) {
			t.Errorf("%v: %+v %v, asked for %v", names, got, err, sweeps.asked)
		}
	}
	if got, err := c.Reconciliations(t.Context()); err != nil || len(got) != 1 || got[0].News != 3 {
		t.Errorf("%+v %v", got, err)
	}
	for name, kind := range map[string]pratique.Kind{"registry.example/unknown": pratique.Invalid,
		"alpine": pratique.Invalid} {
		if _, err := c.Reconcile(t.Context(), []string{name}); pratique.KindOf(err) != kind ||
			!strings.Contains(err.Error(), "(422)") {
			t.Errorf("%s: %v", name, err)
		}
	}
	without := serve(t, nil)
	_, err := connect(t, without.URL, secret).Reconcile(t.Context(), nil)
	if pratique.KindOf(err) != pratique.NotFound ||
		!strings.Contains(err.Error(), "no repositories are configured") {
		t.Error(err)
	}
	if _, err := connect(t, server.URL,
		"").Reconciliations(t.Context()); pratique.KindOf(err) != pratique.Denied {
		t.Error(err)
	}
}
