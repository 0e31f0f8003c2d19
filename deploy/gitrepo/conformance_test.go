package gitrepo

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/repotest"
)

// TestRepository: the suite passes over each transport, with commits that are signed and that are
// not.
func TestRepository(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "file", "ssh"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			var auth Auth
			var remote func(name string) string
			switch scheme {
			case "http":
				remote = func(name string) string { return s.URL + "/" + name + ".git" }
			case "file":
				remote = s.FileURL
			case "ssh":
				host, _ := newKey(t)
				client, key := newKey(t)
				addr := sshServer(t, client.PublicKey(), host)
				auth = Auth{SSHKey: key,
					SSHKnownHosts: []byte(knownhosts.Line([]string{addr}, host.PublicKey()) + "\n")}
				remote = func(name string) string { return "ssh://git@" + addr + s.Dir(name) }
			}
			_, signing := newKey(t)
			if scheme == "file" {
				signing = nil
			}
			repotest.Test(t, func(t *testing.T) repotest.Branch {
				name := strings.NewReplacer("/", "-").Replace(t.Name())
				create(t, s, name, repotest.Files())
				return repotest.Branch{
					Open: func(t testing.TB) deploy.Repository {
						return open(t, Config{URL: remote(name), Auth: auth, SigningKey: signing,
							Tries: 100})
					},
					Advance: func(files map[string]string) (string, error) {
						return s.Advance(t.Context(), name, "other", files)
					},
					Log: func(t testing.TB) []string {
						return strings.Fields(git(t, s, name, "rev-list", "main"))
					},
					Check: func(t testing.TB) {
						git(t, s, name, "fsck", "--strict", "--no-dangling")
						if n := git(t, s, name, "rev-list", "--count", "--min-parents=2",
							"main"); n != "0" {
							t.Errorf("%s merges", n)
						}
					},
				}
			})
		})
	}
}
