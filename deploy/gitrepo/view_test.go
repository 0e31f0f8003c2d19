package gitrepo

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// TestViewNeedsNoRightToPush: where a server gives the right to read alone, the branch can be seen,
// now and after somebody else committed, and nothing can be pushed.
func TestViewNeedsNoRightToPush(t *testing.T) {
	t.Parallel()
	s := start(t)
	host, _ := newKey(t)
	reader, readerKey := newKey(t)
	addr := sshServerOf(t, reader.PublicKey(), "git-upload-pack", host)
	known := []byte(knownhosts.Line([]string{addr}, host.PublicKey()) + "\n")
	for scheme, config := range map[string]Config{
		"http": {URL: create(t, s, "http", files)},
		"ssh": {URL: "ssh://git@" + addr + s.Dir("ssh"),
			Auth: Auth{SSHKey: readerKey, SSHKnownHosts: known}},
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			if scheme == "ssh" {
				create(t, s, scheme, files)
			}
			git(t, s, scheme, "config", "http.receivepack", "false")
			r := open(t, config)
			for i := range 3 {
				want := "# config\n"
				if i > 0 {
					want = fmt.Sprint(i)
					if _, err := s.Advance(t.Context(), scheme, "other",
						map[string]string{"README.md": want}); err != nil {
						t.Fatal(err)
					}
				}
				viewed, err := r.View(t.Context(), 0, func(_ context.Context, tip deploy.Tip) error {
					got, err := tip.Read("README.md")
					if string(got) != want || tip.ID() != git(t, s, scheme, "rev-parse", "main") {
						t.Errorf("%q at %s, want %q", got, tip.ID(), want)
					}
					return err
				})
				if err != nil || viewed.Failed != nil || viewed.Remote != config.URL ||
					viewed.Branch != "main" || viewed.At.IsZero() {
					t.Errorf("%+v, %v", viewed, err)
				}
			}
			_, err := r.Update(t.Context(), set("README.md", "mine"))
			wantKind(t, err, pratique.Denied, "write")
			if n := git(t, s, scheme, "rev-list", "--count", "main"); n != "3" || s.Pushes() != 0 {
				t.Errorf("%s commits, %d pushes", n, s.Pushes())
			}
		})
	}
}

// TestViewSaysWhichRightIsMissing: the words for a login that may not read do not ask for one that
// may write.
func TestViewSaysWhichRightIsMissing(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	s.RequireAuth("reader", "secret")
	_, err := open(t, Config{URL: url}).View(t.Context(), 0, nil)
	wantKind(t, err, pratique.Denied, "a token that may read in the repository")
	if _, err := open(t,
		Config{URL: url, Auth: Auth{Username: "reader", Password: "secret"}}).View(t.Context(), 0,
		func(context.Context, deploy.Tip) error { return nil }); err != nil {
		t.Error(err)
	}
}
