package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique/internal/testenv/ports"
)

// giteaModule is the folder of the module that pins Gitea.
const giteaModule = "../../../internal/testenv/gitea"

const (
	giteaUser = "ci"
	giteaOrg  = "acme"
)

// gitea is a real Gitea on the loopback, with a user, an organisation, and a token for the user's
// packages.
type gitea struct {
	t        *testing.T
	dir      string
	host     string
	version  string
	password string
	token    string
}

var giteaConfig = template.Must(template.New("").Parse(`
RUN_MODE = prod
WORK_PATH = {{.Dir}}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {{.Port}}
ROOT_URL = http://{{.Host}}/
STATIC_ROOT_PATH = {{.Root}}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {{.Dir}}/gitea.db
SQLITE_TIMEOUT = 10000
[security]
INSTALL_LOCK = true
[webhook]
ALLOWED_HOST_LIST = loopback
[log]
LEVEL = warn
MODE = console
[cron]
ENABLED = false
`))

// startGitea skips the test where there is no binary.
func startGitea(t *testing.T) *gitea {
	t.Helper()
	binary := os.Getenv("PRATIQUE_GITEA")
	if binary == "" {
		t.Skip("PRATIQUE_GITEA does not name a Gitea; make e2e-gitea builds one")
	}
	host, _ := ports.Free(t)
	g := &gitea{t: t, dir: t.TempDir(), host: host, password: rand.Text()}
	g.configure(binary)
	for _, args := range [][]string{
		{"migrate"},
		{"admin", "user", "create", "--admin", "--username", giteaUser, "--password", g.password,
			"--email", "ci@example.com", "--must-change-password=false"},
	} {
		if out, err := g.command(t.Context(), binary, args...).CombinedOutput(); err != nil {
			t.Fatalf("gitea %s: %v\n%s", args[0], err, out)
		}
	}
	g.serve(binary)
	g.call(http.MethodPost, "/orgs", map[string]any{"username": giteaOrg}, nil)
	var token struct {
		SHA1 string `json:"sha1"`
	}
	g.call(http.MethodPost, "/users/"+giteaUser+"/tokens", map[string]any{"name": "pratique",
		"scopes": []string{"write:package"}}, &token)
	g.token = token.SHA1
	return g
}

// configure finds out which Gitea the binary is, and writes its configuration.
func (g *gitea) configure(binary string) {
	g.t.Helper()
	built, err := buildinfo.ReadFile(binary)
	if err != nil {
		g.t.Fatal(err)
	}
	g.version = built.Main.Version
	var pinned, root string
	out, err := exec.CommandContext(g.t.Context(), "go", "list", "-C", giteaModule, "-m", "-f",
		"{{.Version}} {{.Dir}}", "code.gitea.io/gitea").Output()
	if _, scanErr := fmt.Sscan(string(out), &pinned, &root); err != nil || scanErr != nil {
		g.t.Fatalf("the module of Gitea is not here: %q, %v", out, err)
	}
	if pinned != g.version {
		g.t.Fatalf("PRATIQUE_GITEA is Gitea %q, and its module is %s", g.version, pinned)
	}
	_, port, _ := strings.Cut(g.host, ":")
	var conf bytes.Buffer
	if err := giteaConfig.Execute(&conf, map[string]string{"Dir": g.dir, "Port": port,
		"Host": g.host, "Root": root}); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "app.ini"), conf.Bytes(), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gitea) command(ctx context.Context, binary string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, binary,
		append([]string{"--config", filepath.Join(g.dir, "app.ini")}, args...)...)
	command.Dir = g.dir
	command.Env = []string{"HOME=" + g.dir, "PATH=" + os.Getenv("PATH"), "USER=" + os.Getenv("USER")}
	return command
}

// serve runs the server until the test ends.
func (g *gitea) serve(binary string) {
	g.t.Helper()
	var log bytes.Buffer
	command := g.command(g.t.Context(), binary, "web")
	command.Stdout, command.Stderr = &log, &log
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 20 * time.Second
	if err := command.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // says no more than that it was interrupted
		close(ended)
	}()
	g.t.Cleanup(func() {
		<-ended
		if g.t.Failed() {
			g.t.Logf("Gitea's log:\n%s", log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + g.host + "/api/v1/version")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ended:
			g.t.Fatalf("Gitea ended:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("Gitea did not answer: %v", err)
		}
	}
}

// call asks the API of Gitea, and fails the test unless it says 2xx.
func (g *gitea) call(method, path string, in, out any) {
	g.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.host+"/api/v1"+
		path, bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.SetBasicAuth(giteaUser, g.password)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(response.Body); err != nil || response.StatusCode/100 != 2 {
		g.t.Fatalf("%s %s: %s, %v\n%s", method, path, response.Status, err, answer.String())
	}
	if out != nil {
		if err := json.Unmarshal(answer.Bytes(), out); err != nil {
			g.t.Fatal(err)
		}
	}
}

// hook makes a webhook of the organisation for events of packages, and returns its id.
func (g *gitea) hook(url, secret string) int64 {
	g.t.Helper()
	var made struct {
		ID int64 `json:"id"`
	}
	g.call(http.MethodPost, "/orgs/"+giteaOrg+"/hooks", map[string]any{
		"type": "gitea", "active": true, "events": []string{"package"},
		"config": map[string]string{"url": url, "content_type": "json", "secret": secret},
	}, &made)
	return made.ID
}

func (g *gitea) switchOff(hook int64) {
	g.t.Helper()
	g.call(http.MethodPatch, fmt.Sprintf("/orgs/%s/hooks/%d", giteaOrg, hook),
		map[string]any{"active": false}, nil)
}
