package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/natsserver"
)

const hubSecret = "0123456789abcdefghij"

// sendersConfig has receivers of several kinds for one registry, whose own notifications are about
// no repository that is allowed.
const sendersConfig = `
dataDir: {{.Dir}}/data
listen: {{.Listen}}
log: {level: info}
registries:
  - host: {{.Registry}}
receivers:
  - name: main
    registry: {{.Registry}}
    repositories: ["nobody/**"]
    secrets: ["file:{{.Dir}}/webhook"]
  - name: hub
    format: dockerhub
    registry: {{.Registry}}
    secrets: ["file:{{.Dir}}/hub"]
  - name: nexus
    format: nexus
    registry: {{.Registry}}
    insecure: true
{{.Extra}}
workers: {inspect: 1}
database: {dir: "{{.Dir}}/db"}
api:
  anonymousRead: true
  tokens:
    - {name: test, token: "file:{{.Dir}}/token", submit: true}
queue: {noSync: true}
`

func newSendersLine(t *testing.T, extra string) *line {
	t.Helper()
	l := newLine(t, lineOptions{config: template.Must(template.New("").Parse(sendersConfig)),
		extra: extra})
	l.write("hub", hubSecret)
	return l
}

// send posts a body to a path of the service, and returns the status.
func (l *line) send(path, body string) int {
	l.t.Helper()
	response, err := http.Post(l.baseURL+path, "application/json", strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (l *line) awaitServing() {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(l.baseURL + "/healthz")
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatal("the service does not answer")
		}
	}
}

// TestManyReportsOfOnePush: senders that tell no digest, and tell the same push many times. Each
// push is evaluated once, and a tag that goes back to an earlier image is a push of its own.
func TestManyReportsOfOnePush(t *testing.T) {
	t.Parallel()
	l := newSendersLine(t, "")
	l.serve()
	l.awaitServing()
	one, other := images.Clean(), images.Clean()
	one.Text, other.Text = "one", "other"
	a, b := l.build(one), l.build(other)
	for i, step := range []struct {
		image remote.Taggable
		ends  int // of the image's digest, so far
	}{{a, 1}, {b, 1}, {a, 2}} {
		digest := l.push("team/app:1.0", step.image)
		for range 6 { // as Docker Hub does for an image of several platforms
			if status := l.send("/webhooks/hub/"+hubSecret,
				`{"push_data":{"pushed_at":1417566161,"pusher":"ci","tag":"1.0","images":[]},"repository":{"repo_name":"team/app"}}`); status != http.StatusAccepted && status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
		}
		for range 20 {
			if status := l.send("/webhooks/nexus",
				`{"timestamp":"2026-04-06T23:35:21.606+0000","initiator":"ci/10.1.2.3","repositoryName":"docker-hosted","action":"UPDATED","component":{"id":"1","format":"docker","name":"team/app","group":null,"version":"1.0"}}`); status != http.StatusAccepted && status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
		}
		l.await(digest, fmt.Sprintf("end %d of step %d", step.ends, i), func(i api.Image) bool {
			return count(i, pratique.FactCompleted) == step.ends
		})
	}
	l.awaitIdle()
	for _, image := range []struct {
		digest pratique.Digest
		ends   int
	}{{l.push("team/app:a", a), 2}, {l.push("team/app:b", b), 1}} {
		if got := l.await(image.digest, "", func(api.Image) bool {
			return true
		}); count(got, pratique.FactCompleted) != image.ends {
			t.Errorf("%s has %d ends, want %d: %+v", image.digest,
				count(got, pratique.FactCompleted), image.ends, got.Facts)
		}
	}
	if status := l.send("/webhooks/hub/"+strings.Repeat("x", len(hubSecret)),
		`{}`); status != http.StatusNotFound {
		t.Errorf("a wrong secret in the URL: status %d", status)
	}
}

// TestTheRegistryKeepsItsQueue: CNCF Distribution tries for ever, one notification after the other.
// The service is not there, is there, is stopped and comes back; every push arrives once, and the
// newest is what is deployed.
func TestTheRegistryKeepsItsQueue(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	var digests []pratique.Digest
	push := func(n int) {
		spec := images.Clean()
		spec.Text = fmt.Sprint(n)
		digests = append(digests, l.push("team/app:1.0", l.build(spec)))
	}
	push(0)
	push(1)
	stop := l.serve()
	l.awaitState(digests[1], pratique.StateDeployed)
	stop()
	push(2)
	push(3)
	l.serve()
	l.awaitState(digests[3], pratique.StateDeployed)
	l.awaitState(digests[2], pratique.StateSuperseded)
	for i, d := range digests {
		image := l.await(d, "the end of its event", func(i api.Image) bool {
			return count(i, pratique.FactCompleted) > 0
		})
		if count(image, pratique.FactCompleted) != 1 {
			t.Errorf("push %d: %+v", i, image.Facts)
		}
	}
	l.checkFiles(digests[3], "1.0")
}

// TestSecretsRotate: the registry sends what the service does not know yet, and keeps its queue;
// then the file of the secrets gets a second line, and everything arrives, without a restart of
// either.
func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	right, err := os.ReadFile(filepath.Join(l.dir, "webhook"))
	if err != nil {
		t.Fatal(err)
	}
	l.write("webhook", "Bearer another-secret-that-is-long\n")
	l.serve()
	l.awaitServing()
	first, second := images.Clean(), images.Clean()
	second.Text = "second"
	digest := l.push("team/app:1.0", l.build(first))
	later := l.push("team/app:1.1", l.build(second))
	for deadline := time.Now().Add(patience); !strings.Contains(l.metrics(),
		`pratique_webhook_events_total{outcome="refused:401",receiver="main"}`) ||
		strings.Contains(l.metrics(),
			`pratique_webhook_events_total{outcome="refused:401",receiver="main"} 0`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no notification was refused:\n%s", l.metrics())
		}
	}
	l.write("webhook", "Bearer another-secret-that-is-long\n"+string(right)+"\n")
	l.awaitState(digest, pratique.StateDeployed)
	l.awaitState(later, pratique.StateDeployed)
	// What can be no secret changes nothing.
	l.write("webhook", "short\n")
	l.awaitLog("secrets not changed")
	l.write("webhook", string(right)) // post reads it
	if status := l.post(strings.NewReader(notification(l.registry.Host(), "team/app", "1.1",
		later)), nil); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

func (l *line) metrics() string {
	l.t.Helper()
	return string(l.get("/metrics"))
}

func TestMetricsNeedAToken(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	l.awaitServing()
	response, err := http.Get(l.baseURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", response.StatusCode)
	}
	text := l.metrics()
	for _, want := range []string{
		"pratique_outbox_waiting_events ", "pratique_outbox_limit_bytes ",
		`pratique_queue_messages{priority="push",stage="inspect",state="waiting"}`,
		"pratique_database_age_seconds ",
		`pratique_webhook_events_total{outcome="accepted",receiver="main"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// TestEventsOverNATS: zot publishes on a NATS server of its own.
func TestEventsOverNATS(t *testing.T) {
	t.Parallel()
	s := natsserver.Start(t, server.Options{})
	l := newSendersLine(t,
		"  - name: zot\n    format: zot\n    registry: {{REGISTRY}}\n    insecure: true\n    nats: {url: '"+s.ClientURL()+"', subject: zot.events}\n")
	l.replaceInConfig("{{REGISTRY}}", l.registry.Host())
	l.serve()
	for deadline := time.Now().Add(patience); s.GlobalAccount().Interest("zot.events") == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody listens")
		}
	}
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	event := fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"zotregistry.dev","type":"zotregistry.image.updated","datacontenttype":"application/json",
"data":{"name":"team/app","reference":"1.0","digest":%q,"mediaType":"application/vnd.oci.image.manifest.v1+json","actor":{"name":"ci"}}}`, digest)
	if err := conn.Publish("zot.events", []byte(event)); err != nil {
		t.Fatal(err)
	}
	l.awaitState(digest, pratique.StateAllowed)
	if status := l.send("/webhooks/zot", event); status != http.StatusNotFound {
		t.Errorf("over HTTP: status %d", status)
	}
}

func (l *line) replaceInConfig(old, with string) {
	l.t.Helper()
	content, err := os.ReadFile(l.configFile)
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(filepath.Base(l.configFile), strings.ReplaceAll(string(content), old, with))
}

// TestReconcile: a push that nobody was told of is found by pratique reconcile, once.
func TestReconcile(t *testing.T) {
	t.Parallel()
	l := newSendersLine(t,
		"reconcile:\n  interval: 10h\n  requestsPerMinute: 6000\n  repositories:\n    - {repository: '{{REGISTRY}}/team/app', tags: ['v*']}\n")
	l.replaceInConfig("{{REGISTRY}}", l.registry.Host())
	l.serve()
	l.awaitServing()
	env := program{env: []string{"PRATIQUE_URL=" + l.baseURL, "PRATIQUE_TOKEN=" + l.token}}
	// The first sweep, at the start, meets a repository that is not there.
	env.run(t, "reconcile").want(t, 2, "2>not every sweep ended well")
	digest := l.push("team/app:v1", l.build(images.Clean()))
	l.push("team/app:nightly", l.build(images.Clean()))
	env.run(t, "reconcile", l.registry.Host()+"/team/app").want(t, 0, "1 new", "1 filter")
	l.awaitState(digest, pratique.StateAllowed)
	env.run(t, "reconcile").want(t, 0, "0 new, 1 unchanged", "2 signature-tag")
	l.awaitIdle()
	if image := l.await(digest, "", func(api.Image) bool {
		return true
	}); count(image, pratique.FactCompleted) != 1 {
		t.Errorf("%+v", image.Facts)
	}
	env.run(t, "reconcile", l.registry.Host()+"/team/other").want(t, 2, "2>is not configured")
	program{env: env.env[:1]}.run(t, "reconcile").want(t, 2, "2>PRATIQUE_TOKEN")
	if _, err := remote.Head(mustRef(t, l.registry.Host()+"/team/app:v1"),
		remote.WithContext(context.Background())); err != nil {
		t.Error(err)
	}
}

func mustRef(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWebhookTest(t *testing.T) {
	t.Parallel()
	file := writerIn(t, t.TempDir())
	hub := file("hub.json",
		`{"push_data":{"pushed_at":1417566161,"pusher":"ci-bot","tag":"1.4.2"},"repository":{"repo_name":"acme/app"}}`)
	program{}.run(t, "webhook", "test", "--format", "dockerhub", hub).want(t, 0,
		"push     acme/app:1.4.2", "names no registry", "by ci-bot", "does not tell the digest",
		"at 2014-12-03")
	push := notification("registry.example.com", "team/app", "1.0", pratique.DigestOf([]byte("x")))
	program{}.run(t, "webhook", "test", "-f", "distribution", file("push.json", push)).want(t, 0,
		"registry.example.com/team/app:1.0@sha256:", "id team/app-1.0-")
	pull := strings.Replace(push, `"push"`, `"pull"`, 1)
	program{}.run(t, "webhook", "test", "-f", "distribution", file("pull.json", pull)).want(t, 1,
		"ignored  pull: team/app:1.0@sha256:")
	program{}.run(t, "webhook", "test", "-f", "distribution",
		file("none.json", `{"events":[]}`)).want(t, 1, "reports nothing")
	program{}.run(t, "webhook", "test", "-f", "distribution",
		file("half.json", `{"events":[`)).want(t, 2, "2>read notification")
	program{}.run(t, "webhook", "test", "-f", "gitlab",
		file("path.json", strings.Replace(push, `"repository":"team/app"`,
			`"repository":"team/../app"`, 1))).
		want(t, 1, "refused  reference:")
	captured := "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: ping\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	program{}.run(t, "webhook", "test", "-f", "ghcr", file("ping.http", captured)).want(t, 1, "ping")
	mixed := strings.Replace(push, `{"events":[`, `{"events":[{"id":7},`, 1)
	program{}.run(t, "webhook", "test", "-f", "distribution", file("mixed.json", mixed)).want(t, 0,
		"refused  unreadable: event 1: ", "push     registry.example.com/team/app:1.0@sha256:")
	program{}.run(t, "webhook", "test", "-f", "distribution", "-H", "Content-Type: text/html",
		file("html.json", push)).want(t, 1, "refused  415: the content type is not one of distribution")
	large := file("large.json", push+strings.Repeat(" ", 2<<20))
	program{}.run(t, "webhook", "test", "-f", "distribution", large).want(t, 1,
		"refused  body-too-large: more than 2097152 bytes")
	many := file("many.json", `{"events":[`+strings.Repeat(`{},`, 1000)+`{}]}`)
	program{}.run(t, "webhook", "test", "-f", "distribution", many).want(t, 1,
		"refused  too-many-events: 1001 events, at most 1000")
	huge := file("huge.json", push+strings.Repeat(" ", 16<<20))
	program{}.run(t, "webhook", "test", "-f", "distribution", huge).want(t, 2, "2>larger than 16 MiB")
	options := file("options.http",
		"OPTIONS /webhooks/grid HTTP/1.1\r\nHost: x\r\nWebHook-Request-Origin: eventgrid.azure.net\r\n\r\n")
	program{}.run(t, "webhook", "test", "-f", "eventgrid", options).want(t, 1, "a handshake")
	program{}.run(t, "webhook", "test", "-f", "harbor", options).want(t, 1, "refused  405: use POST")
	program{}.run(t, "webhook", "test", hub).want(t, 2, "2>--format")
	program{}.run(t, "webhook", "test", "-f", "smoke", hub).want(t, 2, "2>want one of acr")
	program{}.run(t, "webhook", "test", "-f", "generic", hub).want(t, 2, "2>generic")
	program{}.run(t, "webhook", "formats").want(t, 0, "quay", "hmac-sha256", "asked for", "429")

	conf := file("pratique.yaml", `
registries: [{host: registry.example.com}]
receivers:
  - name: ci
    format: generic
    registry: registry.example.com
    repositories: ["team/*"]
    auth: bearer
    secrets: [file:`+file("secret", "0123456789abcdef")+`]
    generic:
      events: body.images
      when: item.kind == "pushed"
      repository: item.name
      tag: item.tag
`)
	body := file("ci.json",
		`{"images":[{"kind":"pushed","name":"team/app","tag":"7"},{"kind":"pulled"},{"kind":"pushed","name":"other/app","tag":"7"}]}`)
	program{}.run(t, "webhook", "test", "--config", conf, "--receiver", "ci", body).
		want(t, 0, "push     registry.example.com/team/app:7", "ignored  action",
			`refused  repository: repository "other/app"`)
	program{}.run(t, "webhook", "test", "--config", conf, "--receiver", "nobody", body).want(t, 2,
		`2>no receiver "nobody"`)
	program{}.run(t, "webhook", "test", "--config", conf, body).want(t, 2, "2>go together")
}
