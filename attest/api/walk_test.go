package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

func TestListFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	w.facts(seen("e1", "1.0", subject("a")), evaluated("e1", subject("a"), pratique.Deny),
		settled("e1", subject("a"), pratique.StateDenied),
		seen("e2", "2.0", subject("b")), evaluated("e2", subject("b"), pratique.Allow),
		evaluated("", pratique.Subject{Repository: other, Digest: digest("c")}, pratique.Allow),
		seen("e3", "2", subject("database")), settled("e3", subject("database"), pratique.StateIgnored))
	for query, want := range map[string][]string{
		"": {"c", "b", "a"},
		"?repository=" + url.QueryEscape(repo.String()): {"b", "a"},
		"?outcome=allow":                   {"c", "b"},
		"?state=denied":                    {"a"},
		"?state=evaluated&outcome=allow":   {"c", "b"},
		"?state=failed":                    {},
		"?state=ignored":                   {"database"},
		"?repository=registry.example/non": {},
	} {
		var page api.ImagePage
		w.get("/api/v1/images"+query, &page)
		var got []pratique.Digest
		for _, item := range page.Items {
			got = append(got, item.Digest)
		}
		same := len(got) == len(want)
		for i := range want {
			same = same && got[i] == digest(want[i])
		}
		if !same || page.NextCursor != "" {
			t.Errorf("%s: %d items, want %v", query, len(got), want)
		}
	}
	var page api.ImagePage
	w.get("/api/v1/images?limit=1", &page)
	w.wantProblem(422, "other filters", "GET", "/api/v1/images?outcome=deny&cursor="+
		page.NextCursor, readToken, "")
}

func TestCursorWalkIsCompleteUnderWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	const before = 40
	for i := range before {
		w.facts(evaluated("", subject(fmt.Sprint(i)), pratique.Allow))
	}
	stop, writer := make(chan struct{}), sync.WaitGroup{}
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default: // every other image is changed, or is new
				w.facts(evaluated("", subject(fmt.Sprint(i*7%(2*before))), pratique.Deny))
			}
		}
	})
	for range 3 {
		met := map[pratique.Digest]int{}
		for cursor := ""; ; {
			var page api.ImagePage
			w.get("/api/v1/images?limit=7&cursor="+cursor, &page)
			for _, item := range page.Items {
				met[item.Digest]++
			}
			if cursor = page.NextCursor; cursor == "" {
				break
			}
		}
		for i := range before {
			if n := met[digest(fmt.Sprint(i))]; n != 1 {
				t.Errorf("image %d was met %d times", i, n)
			}
		}
	}
	close(stop)
	writer.Wait()
}

func TestSubmission(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	res, raw := w.ask("POST", "/api/v1/submissions", submitToken,
		`{"image":"registry.example/team/app:1.0"}`)
	var s api.Submission
	if err := json.Unmarshal(raw, &s); err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatal(res.StatusCode, string(raw), err)
	}
	if len(w.events) != 1 {
		t.Fatalf("%d events", len(w.events))
	}
	e := w.events[0]
	if e.ID != s.ID || e.Actor != "ci" || e.Source != pratique.SourceSubmission ||
		e.Priority != pratique.PriorityManual || !e.ReceivedAt.Equal(now) || e.Ref.String() != s.Ref {
		t.Errorf("event %+v", e)
	}
	path := res.Header.Get("Location")
	if path != "/api/v1/submissions/"+s.ID || s.State != "received" || s.Done {
		t.Errorf("%s %+v", path, s)
	}
	w.wantProblem(404, "not-found", "GET", path, readToken, "")
	image := subject("a")
	w.facts(seen(e.ID, "1.0", image), evaluated(e.ID, image, pratique.Deny))
	w.get(path, &s)
	if s.State != "evaluated" || s.Done || s.Outcome != pratique.Deny ||
		s.Reasons[0].Finding != "CVE-1" || s.Image != image.String() {
		t.Errorf("%+v", s)
	}
	var i api.Image
	w.get(s.Links.Image, &i)
	w.facts(settled(e.ID, image, pratique.StateDenied))
	w.get(path+"?wait=60", &s) // answers at once
	if s.State != "denied" || !s.Done || s.Detail == "" || s.Verdict != digest("verdict") {
		t.Errorf("%+v", s)
	}
	w.facts(evaluated("", image, pratique.Allow)) // a new policy is no other end of this submission
	w.get(path, &s)
	if s.State != "denied" || s.Outcome != pratique.Deny || len(s.Reasons) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSubmissionWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for { // what the pipeline would do with the event
			w.mu.Lock()
			events := len(w.events)
			w.mu.Unlock()
			if events == 1 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		id := w.events[0].ID
		w.facts(seen(id, "1.0", subject("a")), evaluated(id, subject("a"), pratique.Allow),
			settled(id, subject("a"), pratique.StateAllowed))
	}()
	res, raw := w.ask("POST", "/api/v1/submissions", submitToken,
		`{"image":"registry.example/team/app:1.0","wait":30}`)
	<-done
	var s api.Submission
	if err := json.Unmarshal(raw, &s); err != nil || res.StatusCode != 200 ||
		s.State != "allowed" || s.Outcome != pratique.Allow {
		t.Errorf("%d %s %v", res.StatusCode, raw, err)
	}
	started := time.Now()
	res, raw = w.ask("POST", "/api/v1/submissions", submitToken,
		`{"image":"registry.example/team/app:2.0","wait":1}`)
	if took := time.Since(started); res.StatusCode != 202 || took < time.Second || took > 5*time.Second {
		t.Errorf("%d %s after %s", res.StatusCode, raw, took)
	}
}

func TestSubmissionIsIdempotentWithAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	ids := map[string]bool{}
	post := func(image, key string) {
		t.Helper()
		header := []string{}
		if key != "" {
			header = []string{"Idempotency-Key", key}
		}
		res, raw := w.ask("POST", "/api/v1/submissions", submitToken, `{"image":"`+image+`"}`, header...)
		var s api.Submission
		if err := json.Unmarshal(raw, &s); err != nil || res.StatusCode != 202 {
			t.Fatal(res.StatusCode, string(raw), err)
		}
		ids[s.ID] = true
	}
	post("registry.example/a:1", "k")
	post("registry.example/a:1", "k")
	if len(ids) != 1 {
		t.Errorf("one key gave %d submissions", len(ids))
	}
	post("registry.example/a:2", "k")
	post("registry.example/a:1", "l")
	post("registry.example/a:1", "")
	post("registry.example/a:1", "")
	if len(ids) != 5 {
		t.Errorf("%d submissions, want 5", len(ids))
	}
}

func TestSubmissionProblems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	for _, tt := range []struct {
		status     int
		want, body string
	}{
		{422, "image", `{}`},
		{422, "registry too", `{"image":"alpine"}`},
		{422, "image", `{"image":"registry.example/UPPER:1"}`},
		{422, "unexpected property", `{"image":"registry.example/a:1","force":true}`},
		{422, "wait", `{"image":"registry.example/a:1","wait":61}`},
		{422, "wait", `{"image":"registry.example/a:1","wait":-1}`},
		{422, "image", `{"image":7}`},
		{413, "16 KiB", `{"image":"` + strings.Repeat("x", 20<<10) + `"}`},
		{400, "", `not json`},
		{400, "", ``},
	} {
		res, raw := w.ask("POST", "/api/v1/submissions", submitToken, tt.body)
		if res.StatusCode != tt.status ||
			res.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(string(raw), tt.want) {
			t.Errorf("%.40s: %d %s, want %d with %q", tt.body, res.StatusCode, raw, tt.status, tt.want)
		}
	}
	w.wantProblem(415, "", "POST", "/api/v1/submissions", submitToken, `<image/>`, "Content-Type",
		"text/xml")
	for kind, want := range map[pratique.Kind]int{pratique.Denied: 403, pratique.Invalid: 422,
		pratique.Unavailable: 503, pratique.Internal: 500} {
		w.refuse = pratique.Errorf(kind, "submit", "not allowed here")
		w.wantProblem(want, "", "POST", "/api/v1/submissions", submitToken,
			`{"image":"registry.example/a:1"}`)
	}
	if len(w.events) != 0 {
		t.Errorf("%d events were accepted", len(w.events))
	}
}

// A server that stops ends the context of its requests. Then those who wait hear what is known, and
// what was let in is finished.
func TestWaitingEndsWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	w.facts(seen("e1", "1.0", subject("a")))
	ctx, stop := context.WithCancel(t.Context())
	stopping := httptest.NewUnstartedServer(w.server.Config.Handler)
	stopping.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	stopping.Start()
	t.Cleanup(stopping.Close)
	w.server = stopping
	begin := time.Now()
	time.AfterFunc(200*time.Millisecond, stop)
	var s api.Submission
	w.get("/api/v1/submissions/e1?wait=60", &s)
	if took := time.Since(begin); s.State != "resolved" || s.Done || took < 200*time.Millisecond ||
		took > 10*time.Second {
		t.Errorf("%+v after %s", s, took)
	}
	w.wantProblem(404, "not-found", "GET", "/api/v1/submissions/unknown?wait=60", readToken, "")
	res, raw := w.ask("POST", "/api/v1/submissions", submitToken,
		`{"image":"registry.example/team/app:1.0","wait":60}`)
	if res.StatusCode != http.StatusAccepted || len(w.events) != 1 {
		t.Errorf("%d %s, %d events", res.StatusCode, raw, len(w.events))
	}
	if took := time.Since(begin); took > 10*time.Second || len(w.errors) > 0 {
		t.Errorf("%s, %v", took, w.errors)
	}
}

// The limits of the server are meant for clients that are slow, not for answers that are waited for.
func TestWaitingOutlastsTheServersTimeouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	impatient := httptest.NewUnstartedServer(w.server.Config.Handler)
	impatient.Config.ReadTimeout, impatient.Config.WriteTimeout = 300*time.Millisecond,
		300*time.Millisecond
	impatient.Start()
	t.Cleanup(impatient.Close)
	w.server = impatient
	w.facts(seen("e1", "1.0", subject("a")))
	var s api.Submission
	w.get("/api/v1/submissions/e1?wait=1", &s)
	if s.State != "resolved" || s.Done {
		t.Errorf("%+v", s)
	}
	res, raw := w.ask("POST", "/api/v1/submissions", submitToken,
		`{"image":"registry.example/team/app:1.0","wait":1}`)
	if res.StatusCode != http.StatusAccepted || len(w.errors) > 0 {
		t.Errorf("%d %s %v", res.StatusCode, raw, w.errors)
	}
}
