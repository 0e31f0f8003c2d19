package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

func TestDropped(t *testing.T) {
	t.Parallel()
	repository := `"repository":"team/app"`
	for name, c := range map[string]struct{ body, reason string }{
		"not JSON":    {`{"events":[`, "unreadable"},
		"empty":       {``, "unreadable"},
		"no events":   {`{}`, "unreadable"},
		"null events": {`{"events":null}`, "unreadable"},
		"wrong type":  {`{"events":[{"id":7}]}`, "unreadable"},
		"two values":  {`{"events":[]}{"events":[]}`, "unreadable"},
		"duplicate key": {changed(t, `"action":"push"`, `"action":"pull","action":"push"`),
			"unreadable"},
		"not UTF-8": {changed(t, `"ci"`, "\"\xff\""), "unreadable"},
		"deep": {`{"events":[],"x":` + strings.Repeat("[", 100_000) +
			strings.Repeat("]", 100_000) + `}`, "unreadable"},
		"10,000 events": {`{"events":[` + strings.Repeat(`{},`, 9_999) + `{}]}`, "too-many-events"},
		"too large":     {`{"events":[]}` + strings.Repeat(" ", 3<<20), "body-too-large"},
		"forged host": {changed(t, `"host":"registry.example.com"`,
			`"host":"169.254.169.254"`), "host"},
		"longer host": {changed(t, `"host":"registry.example.com"`,
			`"host":"registry.example.com.evil.org"`), "host"},
		"host with port": {changed(t, `"host":"registry.example.com"`,
			`"host":"registry.example.com:444"`), "host"},
		"no host":           {changed(t, `"host":"registry.example.com"`, `"host":""`), "host"},
		"other repository":  {changed(t, repository, `"repository":"other/app"`), "repository"},
		"deeper repository": {changed(t, repository, `"repository":"team/app/sub"`), "repository"},
		"prefix repository": {changed(t, repository, `"repository":"team-evil/app"`), "repository"},
		"escaping path":     {changed(t, repository, `"repository":"team/../../etc"`), "reference"},
		"option as tag":     {changed(t, "1.4.2", "--upload-pack=x"), "reference"},
		"newline in tag":    {changed(t, "1.4.2", `1.4.2\nSigned-off-by: x`), "reference"},
		"bad digest":        {changed(t, "sha256:fea", "sha256:FEA"), "reference"},
		"sha512":            {changed(t, "sha256:fea", "sha512:fea"), "reference"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			status, _, out := f.send(t, strings.NewReader(c.body), nil)
			if status != http.StatusOK || out.Accepted != 0 || len(f.events) > 0 {
				t.Fatalf("status %d, %+v, events %v", status, out, f.events)
			}
			if len(f.drops) != 1 || f.drops[0].Reason != c.reason || f.drops[0].Detail == "" {
				t.Errorf("drops %+v, want one for %s", f.drops, c.reason)
			}
			if len(out.Dropped) != 1 || out.Dropped[0].Reason != c.reason ||
				f.counts["dropped:"+c.reason] != 1 {
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
			if c.reason != "" && (len(f.drops) != 1 || f.drops[0].Reason != c.reason) ||
				c.reason == "" && len(f.drops) > 0 {
				t.Errorf("%s, chunked %v: drops %v", name, chunked, f.drops)
			}
			f.mu.Unlock()
		}
	}
}

type zeros struct{}

type counting struct {
	r  io.Reader
	mu sync.Mutex
	n  int
}

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
		"bare secret": {func(r *http.Request) {
			r.Header.Set("Authorization", strings.TrimPrefix(secret, "Bearer "))
		}, 401},
		"two of them": {func(r *http.Request) { r.Header.Add("Authorization", secret) }, 401},
		"other header": {func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("X-Token", secret)
		}, 401},
		"get":  {func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"gzip": {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415},
		"form": {func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}, 415},
		"no type":      {func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"no such hook": {func(r *http.Request) { r.URL.Path = "/webhooks/other" }, 404},
		"rotated":      {func(r *http.Request) { r.Header.Set("Authorization", nextSecret) }, 202},
		"old type": {func(r *http.Request) {
			r.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v1+json")
		}, 202},
		"type and more": {func(r *http.Request) {
			r.Header.Set("Content-Type", "Application/JSON; charset=utf-8")
		}, 202},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, nil)
			status, header, out := f.send(t, strings.NewReader(file(t, "push.json")), c.change)
			if status != c.want {
				t.Fatalf("status %d, want %d", status, c.want)
			}
			if status >= 400 && (header.Get("Content-Type") != "application/problem+json" ||
				out.Detail == "" || len(f.events) > 0) {
				t.Errorf("header %v, %+v, events %v", header, out, f.events)
			}
		})
	}
}

// People who set up a registry see the answer, operators the count. Neither learns the secret.
func TestWrongCredentialsAreExplainedAndCounted(t *testing.T) {
	t.Parallel()
	f := &fixture{}
	c := f.config(receiver())
	counted := map[string]int{}
	c.Count = func(receiver, outcome string, n int) { counted[receiver+" "+outcome] += n }
	h, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/webhooks/main", strings.NewReader(file(t, "push.json")))
	r.SetPathValue("name", "main")
	r.Header.Set("Authorization", strings.TrimPrefix(secret, "Bearer "))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body := w.Body.String()
	if w.Code != http.StatusUnauthorized || !strings.Contains(body, "header Authorization") ||
		!strings.Contains(body, `whole configured value, for example \"Bearer …\"`) {
		t.Errorf("%d %s", w.Code, body)
	}
	if strings.Contains(body, "0123456789") {
		t.Errorf("the answer repeats the secret: %s", body)
	}
	if len(counted) != 1 || counted["main refused:401"] != 1 {
		t.Errorf("counted %v", counted)
	}
}

func TestOtherHeader(t *testing.T) {
	t.Parallel()
	f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Auth = webhook.Auth{Header: "x-registry-token", Secrets: []string{"0123456789abcdef"}}
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

// A server that stops ends the context of its requests; what has arrived is stored all the same.
func TestStopLosesNothingThatArrived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		status int
	}{"event": {file(t, "push.json"), 202}, "unreadable": {"{", 200}} {
		f := &fixture{}
		h, err := webhook.New(f.config(receiver()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/webhooks/main",
			strings.NewReader(c.body))
		r.SetPathValue("name", "main")
		r.Header.Set("Authorization", secret)
		r.Header.Set("Content-Type", eventsType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || len(f.events)+len(f.drops) != 1 {
			t.Errorf("%s: %d %s, events %v, drops %v", name, w.Code, w.Body, f.events, f.drops)
		}
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Read = 200 * time.Millisecond })
	conn := sendPartOfBody(t, f)
	answer, err := io.ReadAll(conn) // ends when the server hangs up, or at the deadline of the connection
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408") {
		t.Errorf("%v, %q", err, answer)
	}
}

func TestOverloadIs503(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Concurrent = 1 })
	f.hold = make(chan struct{})
	first := make(chan int)
	go func() {
		status := http.StatusServiceUnavailable
		for status == http.StatusServiceUnavailable { // it may meet one of the empty ones
			r, _ := http.NewRequest(http.MethodPost, f.url, strings.NewReader(file(t, "push.json")))
			r.Header.Set("Authorization", secret)
			r.Header.Set("Content-Type", eventsType)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				status = 0
				break
			}
			resp.Body.Close()
			status = resp.StatusCode
		}
		first <- status
	}()
	empty := func() int {
		status, _, _ := f.send(t, strings.NewReader(`{"events":[]}`), nil)
		return status
	}
	for deadline := time.Now().Add(8 * time.Second); empty() != http.StatusServiceUnavailable; {
		if time.Now().After(deadline) {
			t.Fatal("a second request was never refused")
		}
	}
	close(f.hold)
	if status := <-first; status != http.StatusAccepted {
		t.Errorf("the first request: status %d", status)
	}
	if status := empty(); status != http.StatusOK {
		t.Errorf("after the load: status %d", status)
	}
}

// Bodies that arrive slowly hold next to nothing: others get through.
func TestSlowSendersDoNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Concurrent, l.Memory = 1, 1<<20 })
	for range 100 {
		sendPartOfBody(t, f)
	}
	if status, _, _ := f.send(t, strings.NewReader(file(t, "push.json")),
		nil); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}

// Strangers may fill the room for bodies that are to be signed; a sender that has shown who it is
// gets through.
func TestStrangersDoNotKeepSendersOut(t *testing.T) {
	t.Parallel()
	f := &fixture{}
	signed := webhook.Receiver{Name: "signed", Format: "ghcr", Registry: "ghcr.io",
		Auth: webhook.Auth{Secrets: []string{"0123456789abcdef"}}}
	c := f.config(receiver())
	c.Receivers, c.Limits.Memory = append(c.Receivers, signed), 256<<10
	s := httptest.NewServer(mount(t, c))
	t.Cleanup(s.Close)
	f.url = s.URL + "/webhooks/main"
	for range 4 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn,
			"POST /webhooks/signed HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=%064d\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n%s",
			0, strings.Repeat(" ", 100_000))
	}
	full := func() bool { // of what strangers sent
		r, _ := http.NewRequest(http.MethodPost, s.URL+"/webhooks/signed", strings.NewReader("{}"))
		r.Header.Set("X-Hub-Signature-256", fmt.Sprintf("sha256=%064d", 0))
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	}
	for deadline := time.Now().Add(8 * time.Second); !full(); {
		if time.Now().After(deadline) {
			t.Fatal("strangers do not fill their budget")
		}
	}
	for range 20 {
		if status, _, _ := f.send(t, strings.NewReader(file(t, "push.json")), nil); status >= 300 {
			t.Fatalf("status %d", status)
		}
	}
}

func mount(t *testing.T, c webhook.Config) http.Handler {
	t.Helper()
	h, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", h)
	return mux
}

// A parser with a fault must neither end the process nor have the sender repeat the body for ever.
func TestPanicOfAParserIsADrop(t *testing.T) {
	t.Parallel()
	f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
		r.Format = "generic"
		r.Auth = webhook.Auth{Insecure: true}
		r.Parse = func(http.Header, []byte) ([]webhook.Notification, error) { panic("as told") }
	})
	status, _, out := f.send(t, strings.NewReader(`{}`), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
	})
	if status != http.StatusBadRequest || len(out.Dropped) != 1 ||
		out.Dropped[0].Reason != "unreadable" || string(f.bodies[0]) != "{}" {
		t.Errorf("status %d, %+v", status, out)
	}
}

// What went wrong inside is for the log: senders keep our answers in theirs.
func TestAnswersKeepInternalsToThemselves(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	f.fail = pratique.Errorf(pratique.Unavailable, "publish",
		"write /var/lib/pratique/outbox.db: no space left on device")
	status, _, out := f.send(t, strings.NewReader(file(t, "push.json")), nil)
	if status != http.StatusServiceUnavailable || strings.Contains(out.Detail, "/var/lib") {
		t.Errorf("status %d, %q", status, out.Detail)
	}
	if len(f.errors) != 1 || !strings.Contains(f.errors[0].Error(), "no space left") {
		t.Errorf("told %v", f.errors)
	}
}

func TestBodiesInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	f := serve(t, func(_ *webhook.Receiver, l *webhook.Limits) { l.Memory = 64 << 10 })
	large := `{"events":[]}` + strings.Repeat(" ", 200<<10)
	status, header, _ := f.send(t, strings.NewReader(large), nil)
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("status %d", status)
	}
	if status, _, _ := f.send(t, strings.NewReader(file(t, "push.json")),
		nil); status != http.StatusAccepted {
		t.Errorf("after it: status %d", status)
	}
}

// sendPartOfBody sends a request with the first byte of its body.
func sendPartOfBody(t *testing.T, f *fixture) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(f.url, "http://"),
		"/webhooks/main"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn,
		"POST /webhooks/main HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n{",
		secret, eventsType, 1001)
	return conn
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*webhook.Receiver){
		"no secret":    func(r *webhook.Receiver) { r.Auth.Secrets = nil },
		"empty secret": func(r *webhook.Receiver) { r.Auth.Secrets = []string{""} },
		"short secret": func(r *webhook.Receiver) { r.Auth.Secrets = []string{"Bearer 0123456789abcde"} },
		"basic, no password": func(r *webhook.Receiver) {
			r.Auth = webhook.Auth{Method: webhook.MethodBasic,
				Secrets: []string{"pratique-webhook-user:"}}
		},
		"basic, no colon": func(r *webhook.Receiver) {
			r.Auth = webhook.Auth{Method: webhook.MethodBasic, Secrets: []string{"0123456789abcdefghij"}}
		},
		"secret and newline": func(r *webhook.Receiver) { r.Auth.Secrets = []string{secret + "\n"} },
		"secret, insecure":   func(r *webhook.Receiver) { r.Auth.Insecure = true },
		"name":               func(r *webhook.Receiver) { r.Name = "a/b" },
		"no name":            func(r *webhook.Receiver) { r.Name = "" },
		"format":             func(r *webhook.Receiver) { r.Format = "x" },
		"registry":           func(r *webhook.Receiver) { r.Registry = "https://registry.example.com" },
		"alias":              func(r *webhook.Receiver) { r.Aliases = []string{""} },
		"pattern":            func(r *webhook.Receiver) { r.Repositories = []pratique.Glob{"team/[a"} },
		"empty segment":      func(r *webhook.Receiver) { r.Repositories = []pratique.Glob{"team//a"} },
		"half a rest":        func(r *webhook.Receiver) { r.Repositories = []pratique.Glob{"team/a**"} },
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

// slow takes its time, and notices when the request is canceled.
type slow time.Duration

func (s slow) Publish(ctx context.Context, events []pratique.Event) (int, error) {
	select {
	case <-time.After(time.Duration(s)):
		return len(events), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestTimeToReadIsNotTimeToPublish(t *testing.T) {
	t.Parallel()
	f := &fixture{}
	c := f.config(receiver())
	c.Publisher, c.Limits = slow(400*time.Millisecond), webhook.Limits{Read: 300 * time.Millisecond}
	h, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", h)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	f.url = s.URL + "/webhooks/main"
	for range 2 { // the second uses the connection again
		if status, _, _ := f.send(t, strings.NewReader(file(t, "push.json")),
			nil); status != http.StatusAccepted {
			t.Errorf("status %d", status)
		}
	}
}
