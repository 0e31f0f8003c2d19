package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/api/client"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/ports"
	"github.com/pratique-dev/pratique/internal/testenv/registry"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
)

// line is the whole line with real servers around it: a registry that notifies, a Git server, a
// vulnerability database, and a configuration for the service.
type line struct {
	t          testing.TB
	dir        string
	registry   *registry.Server
	git        *gitserver.Server
	configFile string
	baseURL    string
	token      string
	client     *client.Client
	edges      edgeLog
	env        []string // further environment of the processes that start makes
	log        heard    // of the service that serve runs
}

// lineOptions change what newLine sets up.
type lineOptions struct {
	wrap     func(http.Handler) http.Handler // around the registry
	database *vulndb.Database                // nil: the excerpt, fresh
	noDB     bool                            // no database yet
	policy   string                          // YAML below policy:
	extra    string                          // YAML at the top level
	inspect  string                          // keys of inspect
	files    func(host string) fileSet       // further files of the config repository
	onDisk   bool                            // the registry stores on disk, as real ones do
	config   *template.Template              // another configuration than lineConfig
}

type fileSet = map[string]string

// edgeLog collects the crash points that were passed.
type edgeLog struct {
	mu  sync.Mutex
	all []string
}

func (e *edgeLog) add(point string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, point)
}

var lineConfig = template.Must(template.New("").Parse(lineText))

const lineText = `
dataDir: {{.Dir}}/data
listen: {{.Listen}}
log: {level: debug}
registries:
  - host: {{.Registry}}
receivers:
  - name: main
    registry: {{.Registry}}
    repositories: ["team/**"]
    secrets: ["file:{{.Dir}}/webhook"]
workers: {inspect: 1}
inspect: { {{.Inspect}} }
database: {dir: "{{.Dir}}/db"}
policy:
  maxDatabaseAge: 72h
{{.Policy}}
deploy:
  targets:
    - name: production
      repository: {{.Git}}
      path: clusters/production
      images: ["{{.Registry}}/team/**"]
api:
  tokens:
    - {name: test, token: "file:{{.Dir}}/token", operate: true, submit: true}
# The tests kill processes, not machines.
queue: {noSync: true}
{{.Extra}}
`

func newLine(t testing.TB, o lineOptions) *line {
	t.Helper()
	l := &line{t: t, dir: t.TempDir(), token: rand.Text()}
	listen, _ := ports.Free(t)
	l.baseURL = "http://" + listen
	secret := "Bearer " + rand.Text()
	var err error
	conf := registry.Config{NotifyURL: l.baseURL + "/webhooks/main", Authorization: secret, Wrap: o.wrap}
	if o.onDisk {
		conf.Dir = filepath.Join(l.dir, "registry")
	}
	if l.registry, err = registry.Start(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.registry.Close() })
	if l.git, err = gitserver.Start(t.Context(), filepath.Join(l.dir, "git")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.git.Close() })
	app := l.registry.Host() + "/team/app"
	files := fileSet{
		"clusters/production/kustomization.yaml": "images:\n  - name: " + app + "\n    newTag: \"0\"\n",
		"clusters/production/marked.yaml": "image: " + app + ":0 # {\"$pratique\": \"" +
			app + "\"}\n",
		"clusters/staging/kustomization.yaml": "images:\n  - name: " + app + "\n    newTag: \"0\"\n",
	}
	if o.files != nil {
		maps.Copy(files, o.files(l.registry.Host()))
	}
	gitURL, err := l.git.Create(t.Context(), "config", files)
	if err != nil {
		t.Fatal(err)
	}
	if !o.noDB {
		l.writeDatabase(o.database)
	} else if err := os.MkdirAll(filepath.Join(l.dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.configure(o, map[string]string{
		"Dir": l.dir, "Listen": listen, "Registry": l.registry.Host(), "Git": gitURL,
		"Policy": o.policy, "Extra": o.extra, "Inspect": o.inspect,
	})
	l.write("webhook", secret)
	l.write("token", l.token)
	if l.client, err = client.New(client.Config{URL: l.baseURL, Token: l.token}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *line) configure(o lineOptions, values map[string]string) {
	l.t.Helper()
	config := lineConfig
	if o.config != nil {
		config = o.config
	}
	var out bytes.Buffer
	if err := config.Execute(&out, values); err != nil {
		l.t.Fatal(err)
	}
	l.configFile = l.write("pratique.yaml", out.String())
}

func (l *line) write(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// writeDatabase makes the database; nil is the excerpt, as if it had been published just now.
func (l *line) writeDatabase(d *vulndb.Database) {
	l.t.Helper()
	if d == nil {
		excerpt, err := vulndb.Excerpt()
		if err != nil {
			l.t.Fatal(err)
		}
		excerpt.UpdatedAt = time.Now().Add(-time.Hour).UTC()
		d = &excerpt
	}
	databaseMutex.Lock() // Trivy's library has one handle in a process
	defer databaseMutex.Unlock()
	if err := d.Write(filepath.Join(l.dir, "db")); err != nil {
		l.t.Fatal(err)
	}
}

var databaseMutex sync.Mutex

// serve runs the service inside the test until stop is called, or the test ends.
func (l *line) serve() (stop func()) {
	l.t.Helper()
	_, stop = l.serveWith(service.Options{Edge: l.edges.add, Queue: quick})
	return stop
}

// serveWith is serve with these options, for tests that reach into the service.
func (l *line) serveWith(o service.Options) (s *service.Service, stop func()) {
	l.t.Helper()
	conf, err := config.Load(l.configFile)
	if err != nil {
		l.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(testWriter{l.t}, &l.log), nil))
	ctx, cancel := context.WithCancel(context.Background())
	if s, err = service.New(ctx, conf, log, o); err != nil {
		cancel()
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("the service ended with: %v", err)
		}
		if err := s.Close(); err != nil {
			l.t.Errorf("closing the service: %v", err)
		}
	})
	l.t.Cleanup(stop)
	return s, stop
}

// awaitLog waits until the service has logged a text.
func (l *line) awaitLog(text string) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(l.log.String(),
		text); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("the log does not say %q", text)
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// push pushes an image, or an index, and returns its digest.
func (l *line) push(ref string, what remote.Taggable) pratique.Digest {
	l.t.Helper()
	target, err := name.ParseReference(l.registry.Host() + "/" + ref)
	if err != nil {
		l.t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(target, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(target, what)
	default:
		err = fmt.Errorf("cannot push a %T", what)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := what.RawManifest()
	if err != nil {
		l.t.Fatal(err)
	}
	return pratique.DigestOf(raw)
}

func (l *line) build(spec images.Spec) v1.Image {
	l.t.Helper()
	image, err := images.Build(spec)
	if err != nil {
		l.t.Fatal(err)
	}
	return image
}

// await polls the API until the image is as wanted.
func (l *line) await(d pratique.Digest, what string, done func(api.Image) bool) api.Image {
	l.t.Helper()
	var last api.Image
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		image, err := l.client.Image(l.t.Context(), d.String())
		if err == nil {
			if last = image; done(image) {
				return image
			}
		}
	}
	l.t.Fatalf("%s of %s did not come in %s; last state %q, failure %+v", what, d, patience,
		last.State, last.Failure)
	return last
}

func (l *line) awaitState(d pratique.Digest, want pratique.State) api.Image {
	l.t.Helper()
	return l.await(d, "state "+string(want), func(i api.Image) bool {
		return i.State == want && (want != pratique.StateDeployed || isEnded(i))
	})
}

// isEnded reports whether no event of the image is in work. An image is deployed before its event
// ends.
func isEnded(i api.Image) bool {
	for _, f := range slices.Backward(i.Facts) {
		if f.Kind == pratique.FactCompleted || f.Kind == pratique.FactResolved {
			return f.Kind == pratique.FactCompleted
		}
	}
	return true
}

// commits returns the number of commits of the config repository.
func (l *line) commits() int {
	l.t.Helper()
	var n int
	if _, err := fmt.Sscan(l.gitOutput("rev-list", "--count", "main"), &n); err != nil {
		l.t.Fatal(err)
	}
	return n
}

func (l *line) gitOutput(args ...string) string {
	l.t.Helper()
	out, err := l.git.Git(l.t.Context(), "config", nil, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// get returns the answer of the service to somebody with the token.
func (l *line) get(path string) []byte {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.baseURL+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+l.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		l.t.Fatalf("%s: %s, %v, %.300s", path, response.Status, err, body)
	}
	return body
}

// post sends a notification as the registry would, and returns the status.
func (l *line) post(body io.Reader, header map[string]string) int {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.baseURL+
		"/webhooks/main", body)
	if err != nil {
		l.t.Fatal(err)
	}
	secret, err := os.ReadFile(filepath.Join(l.dir, "webhook"))
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v2+json")
	request.Header.Set("Authorization", string(secret))
	for key, value := range header {
		request.Header.Set(key, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Logf("the server hung up: %v", err)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func writeExecutable(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
