package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

// TestHostOfAnonymousReaders: a page in a browser may reach a server under a name that leads to the
// server's address, and then has the browser's rights. It has no token.
func TestHostOfAnonymousReaders(t *testing.T) {
	auth := tokens()
	auth.AnonymousRead, auth.Hosts = true, []string{"pratique.example.com"}
	w := newWorld(t, auth)
	ask := func(host, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+
			"/api/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := w.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200, "10.1.2.3": 200,
		"localhost:8080": 200, "LOCALHOST": 200,
		"pratique.example.com": 200, "Pratique.Example.com:443": 200, "pratique.example.com.": 200,
		"evil.example": 421, "evil.example:8080": 421, "127.0.0.1.evil.example": 421,
		"localhost.evil.example:8080":       421,
		"pratique.example.com.evil.example": 421, "xpratique.example.com": 421,
	} {
		if got := ask(host, ""); got != want {
			t.Errorf("anonymous reader, host %s: %d, want %d", host, got, want)
		}
		if got := ask(host, readToken); got != 200 {
			t.Errorf("reader with a token, host %s: %d", host, got)
		}
	}
	metrics := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://evil.example/metrics", nil)
	api.Guard(auth, http.NotFoundHandler()).ServeHTTP(metrics, r)
	if metrics.Code != http.StatusMisdirectedRequest {
		t.Errorf("metrics for another host: %d", metrics.Code)
	}
}

// TestBodiesReadAlikeByEverybody: where two readers could see two values in one body, none is taken.
func TestBodiesReadAlikeByEverybody(t *testing.T) {
	w := newWorld(t, tokens())
	post := func(body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+
			"/api/v1/submissions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+submitToken)
		r.Header.Set("Content-Type", "application/json")
		resp, err := w.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := post(`{"image":"registry.example/team/app:1.0"}`); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, text)
	}
	for _, body := range []string{
		`{"image":"registry.example/team/app:1.0","image":"registry.example/team/app:2.0"}`,
		`{"image":"registry.example/team/app:1.0","IMAGE":"registry.example/team/app:2.0"}`,
		`{"IMAGE":"registry.example/team/app:1.0"}`,
		`{"image":"registry.example/team/app:1.0","\u0069mage":"registry.example/team/app:2.0"}`,
		"{\"image\":\"registry.example/team/app:1.0\",\"x\xff\":1}",
		`{"image":"registry.example/team/app:1.0"} {"image":"registry.example/team/app:2.0"}`,
	} {
		if status, text := post(body); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) != 1 {
		t.Errorf("%d submissions were taken, want 1", len(w.events))
	}
}

// TestAnswersSpeakToNoTerminal: answers are read with curl, too.
func TestAnswersSpeakToNoTerminal(t *testing.T) {
	auth := tokens()
	auth.AnonymousRead = true
	w := newWorld(t, auth)
	const rule = "a\u009b31m\u202e##[group]\x1b[2J"
	f := evaluated("e1", subject("app"), pratique.Deny)
	pratique.As[pratique.Evaluated](f).Verdict.Reasons[0].Message = rule
	w.facts(seen("e1", "1.0", subject("app")), f)
	for path, there := range map[string]bool{
		"/api/v1/images/" + subject("app").Digest.String():     true,
		"/api/v1/images/%C2%9B31m%E2%80%AE%23%23%5Bgroup%5D":   false,
		"/api/v1/images?state=%C2%9B31m%E2%80%AE%23%23%5Bx%5D": false,
	} {
		resp, err := w.server.Client().Get(w.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(string(raw), "\u009b\u202e\x1b") || strings.Contains(string(raw), "##[") {
			t.Errorf("%s: %q", path, raw)
		}
		if !there {
			continue
		}
		var image struct {
			Verdict struct{ Reasons []pratique.Reason }
		}
		if err := json.Unmarshal(raw, &image); err != nil {
			t.Fatal(err)
		}
		if len(image.Verdict.Reasons) != 1 || image.Verdict.Reasons[0].Message != rule {
			t.Errorf("the reason is %+v", image.Verdict.Reasons)
		}
	}
}
