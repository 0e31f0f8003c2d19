// Package demo runs everything on one machine: a registry that sends real notifications, a Git
// server with a config repository, and the service as a child process. It pushes a clean and a
// vulnerable image, follows them, and checks the outcome.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
	"github.com/pratique-dev/pratique/internal/testenv/registry"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
	"github.com/pratique-dev/pratique/signer/key"
)

// environment is everything that the demo starts.
type environment struct {
	dir      string
	registry *registry.Server
	git      *gitserver.Server
	gitURL   string
	baseURL  string
	keyFile  string
	service  *exec.Cmd
	exited   chan struct{}
	log      bytes.Buffer
	closers  []func() error
}

// The config repository as it is before the first push.
func configRepository(host string) map[string]string {
	return map[string]string{
		"README.md": "The configuration of a cluster. Pratique commits approved digests below clusters/production.\n",
		"clusters/production/clean/kustomization.yaml": `# The digest is written by Pratique.
resources:
  - deployment.yaml
images:
  - name: ` + host + `/team/clean
    newTag: 0.9.0
`,
		"clusters/production/clean/deployment.yaml": deployment("clean", host+"/team/clean"),
		"clusters/production/vulnerable/deployment.yaml": deployment("vulnerable",
			host+"/team/vulnerable:0.9.0 # {\"$pratique\": \""+host+"/team/vulnerable\"}"),
	}
}

func deployment(name, image string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: ` + name + `
spec:
  selector:
    matchLabels: {app: ` + name + `}
  template:
    metadata:
      labels: {app: ` + name + `}
    spec:
      containers:
        - name: app
          image: ` + image + "\n"
}

var configuration = template.Must(template.New("pratique.yaml").Parse(`# Written by pratique demo.
dataDir: {{.Dir}}/data
listen: {{.Listen}}
registries:
  - host: {{.Registry}}
receivers:
  - name: demo
    registry: {{.Registry}}
    secrets: ["file:{{.Dir}}/webhook-secret"]
database:
  sources: ["{{.Registry}}/pratique/trivy-db:2"]
policy:
  # The excerpt of advisories that travels with the demo does not get younger.
  maxDatabaseAge: 36500d
signing:
  key: file:{{.Dir}}/cosign.key
  passphrase: file:{{.Dir}}/passphrase
  publicKeys: ["file:{{.Dir}}/cosign.pub"]
deploy:
  targets:
    - name: production
      repository: {{.Git}}
      path: clusters/production
      images: ["{{.Registry}}/team/**"]
      authorName: Pratique demo
      authorEmail: pratique@localhost
api:
  anonymousRead: true
  tokens:
    - name: demo
      token: file:{{.Dir}}/token
      submit: true
queue:
  noSync: false
`))

// start starts everything below dir. The caller closes the environment in any case.
func (e *environment) start(ctx context.Context, binary string, step func(string)) error {
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	e.baseURL = "http://" + listen
	secret := "Bearer " + rand.Text()
	step("an OCI registry that sends notifications (CNCF Distribution)")
	e.registry, err = registry.Start(ctx, registry.Config{NotifyURL: e.baseURL + "/webhooks/demo",
		Authorization: secret})
	if err != nil {
		return err
	}
	e.closers = append(e.closers, e.registry.Close)
	step("a Git server with the config repository")
	if e.git, err = gitserver.Start(ctx, filepath.Join(e.dir, "git")); err != nil {
		return err
	}
	e.closers = append(e.closers, e.git.Close)
	if e.gitURL, err = e.git.Create(ctx, "config", configRepository(e.registry.Host())); err != nil {
		return err
	}
	step("a small vulnerability database of real advisories, in Trivy's format")
	if err := e.publishDatabase(ctx); err != nil {
		return err
	}
	if err := e.writeFiles(listen, secret); err != nil {
		return err
	}
	step("the service: pratique serve")
	return e.serve(ctx, binary)
}

func (e *environment) publishDatabase(ctx context.Context) error {
	excerpt, err := vulndb.Excerpt()
	if err != nil {
		return err
	}
	dir := filepath.Join(e.dir, "trivy-db")
	if err := excerpt.Write(dir); err != nil {
		return err
	}
	return vulndb.Push(ctx, dir, e.registry.Host()+"/pratique/trivy-db:2")
}

func (e *environment) writeFiles(listen, secret string) error {
	passphrase := []byte(rand.Text())
	private, public, err := key.Generate(passphrase)
	if err != nil {
		return err
	}
	var conf bytes.Buffer
	if err := configuration.Execute(&conf, map[string]string{
		"Dir": e.dir, "Listen": listen, "Registry": e.registry.Host(), "Git": e.gitURL,
	}); err != nil {
		return err
	}
	e.keyFile = filepath.Join(e.dir, "cosign.pub")
	for name, content := range map[string][]byte{
		"cosign.key": private, "cosign.pub": public, "passphrase": passphrase,
		"webhook-secret": []byte(secret),
		"token":          []byte(rand.Text()), "pratique.yaml": conf.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(e.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the service and waits until it is ready.
func (e *environment) serve(ctx context.Context, binary string) error {
	e.service = exec.Command(binary, "serve", "--config",
		filepath.Join(e.dir,
			"pratique.yaml")) //nolint:noctx // it is asked to stop with SIGTERM, in close
	e.service.Stderr = &e.log
	// A Ctrl-C at the terminal is for the demo, which then stops the service.
	e.service.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := e.service.Start(); err != nil {
		return err
	}
	e.exited = make(chan struct{})
	go func() {
		defer close(e.exited)
		_ = e.service.Wait() // what it said is in the log
	}()
	e.closers = append(e.closers, e.stopService)
	for {
		if ready(ctx, e.baseURL+"/readyz") {
			return nil
		}
		select {
		case <-e.exited:
			return fmt.Errorf("the service ended:\n%s", e.log.String())
		case <-ctx.Done():
			return fmt.Errorf("the service did not become ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body) // only the status counts
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (e *environment) stopService() error {
	const patience = 40 * time.Second
	if err := e.service.Process.Signal(syscall.SIGTERM); err != nil &&
		!errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-e.exited:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("the service did not drain"), e.service.Process.Kill())
	}
}

// close stops everything, last started first.
func (e *environment) close() error {
	var all error
	for i := len(e.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, e.closers[i]())
	}
	return all
}

// freeAddress finds a free loopback port. The registry needs the address before the service listens.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
