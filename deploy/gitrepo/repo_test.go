package gitrepo

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/repotest"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
)

var files = repotest.Files()

func start(t testing.TB) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func create(t testing.TB, s *gitserver.Server, name string, files map[string]string) string {
	t.Helper()
	url, err := s.Create(t.Context(), name, files)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func open(t testing.TB, c Config) *Repo {
	t.Helper()
	r, err := Open(c, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func git(t testing.TB, s *gitserver.Server, name string, args ...string) string {
	t.Helper()
	out, err := s.Git(context.WithoutCancel(t.Context()), name, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// set is an update that writes one file.
func set(path, content string) deploy.Update {
	return deploy.Update{Edit: func(context.Context, deploy.Tip) (deploy.Edit, error) {
		return deploy.Edit{Files: map[string][]byte{path: []byte(content)}, Message: "set " + path,
			Trailers: []deploy.Trailer{{Key: "Pratique-Event", Value: content}}}, nil
	}}
}

// once keeps an update from being made again: it changes nothing where the event's commit is found,
// and found is that.
func once(u deploy.Update, id string) (update deploy.Update, found *string) {
	found = new(string)
	edit := u.Edit
	u.History = func(past iter.Seq[deploy.Past]) bool {
		*found = ""
		for p := range past {
			if slices.Contains(p.Trailers, deploy.Trailer{Key: "Pratique-Event", Value: id}) {
				*found = p.ID
				return true
			}
		}
		return false
	}
	u.Edit = func(ctx context.Context, tip deploy.Tip) (deploy.Edit, error) {
		if *found != "" {
			return deploy.Edit{}, nil
		}
		return edit(ctx, tip)
	}
	return u, found
}

func wantKind(t *testing.T, err error, kind pratique.Kind, text string) {
	t.Helper()
	if pratique.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v (kind %v), want kind %v with %q", err, pratique.KindOf(err), kind, text)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, scheme := range []string{"http", "file"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			url := create(t, s, scheme, files)
			if scheme == "file" {
				url = s.FileURL(scheme)
			}
			before := git(t, s, scheme, "rev-parse", "main")
			r := open(t, Config{URL: url, Author: Signature{"Gate", "gate@example.com"}})
			p, err := r.Update(t.Context(), set("apps/a/deploy.yaml", "image: a:2\n"))
			if err == nil {
				t.Fatal("a trailer with a line break was accepted")
			}
			u := set("apps/a/deploy.yaml", "image: a:2")
			p, err = r.Update(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			if p.Commit == "" || before != git(t, s, scheme, "rev-parse", "main^") ||
				p.Commit != git(t, s, scheme, "rev-parse", "main") || p.Remote != url ||
				p.Branch != "main" {
				t.Errorf("pushed %+v", p)
			}
			if got := git(t, s, scheme, "show", "main:apps/a/deploy.yaml"); got != "image: a:2" {
				t.Errorf("file is %q", got)
			}
			if got := git(t, s, scheme, "diff", "--name-only", before,
				"main"); got != "apps/a/deploy.yaml" {
				t.Errorf("changed %q", got)
			}
			if got := git(t, s, scheme, "log", "-1", "--format=%an <%ae> %cn%n%B",
				"main"); got != "Gate <gate@example.com> Gate\nset apps/a/deploy.yaml\n\nPratique-Event: image: a:2" {
				t.Errorf("commit is %q", got)
			}
			git(t, s, scheme, "fsck", "--strict")

			// The same content again, and then the same trailer with other content: no commit.
			again, err := r.Update(t.Context(), u)
			if err != nil || again.Commit != "" {
				t.Errorf("no change: %+v, %v", again, err)
			}
			u = set("apps/a/deploy.yaml", "image: a:3")
			u, found := once(u, "image: a:2")
			again, err = r.Update(t.Context(), u)
			if err != nil || again.Commit != "" || *found != p.Commit {
				t.Errorf("done before: %+v, %v, found %s", again, err, *found)
			}
			// Somebody else commits; a new file in a new folder goes on top of it.
			if _, err := s.Advance(t.Context(), scheme, "other",
				map[string]string{"README.md": "other\n"}); err != nil {
				t.Fatal(err)
			}
			if _, err = r.Update(t.Context(), set("new/folder/x.yaml", "x")); err != nil {
				t.Fatal(err)
			}
			want := "new/folder/x.yaml\nREADME.md\napps/a/deploy.yaml"
			if got := git(t, s, scheme, "log", "--name-only", "--format=", before+
				"..main"); strings.ReplaceAll(got, "\n\n", "\n") != want {
				t.Errorf("log is %q, want %q", got, want)
			}
			git(t, s, scheme, "fsck", "--strict")
		})
	}
}

// TestNewestFirst: behind a merge, an old commit that is fewer steps away comes after a newer one.
func TestNewestFirst(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	at := time.Now().Unix()
	commit := func(mark, minute int, id string, parents string) string {
		message := "x\n\nPratique-Event: " + id + "\n"
		return fmt.Sprintf("commit refs/heads/main\nmark :%d\ncommitter A <a@b> %d +0000\ndata %d\n%s%s\n", mark, at+int64(minute)*60, len(message), message, parents)
	}
	line := commit(1, 1, "old", "from refs/heads/main^0") + commit(2, 2, "new", "from :1") +
		commit(3, 4, "x", "from :2") + commit(4, 5, "x", "from :3") +
		commit(5, 3, "branch", "from :1") + commit(6, 6, "merge", "from :4\nmerge :5")
	if _, err := s.Git(t.Context(), "r", []byte(line), "fast-import", "--quiet", "--force"); err != nil {
		t.Fatal(err)
	}
	var seen []string
	u := set("README.md", "y")
	u.History = func(past iter.Seq[deploy.Past]) bool {
		seen = nil
		for p := range past {
			for _, tr := range p.Trailers {
				seen = append(seen, tr.Value)
			}
		}
		return false
	}
	if _, err := open(t, Config{URL: url}).Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"merge", "x", "x", "branch", "new", "old"}, seen); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestNeverStopsMoving: at some time a writer gives up.
func TestNeverStopsMoving(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := open(t, Config{URL: create(t, s, "r", files), Tries: 3})
	calls := 0
	_, err := r.Update(t.Context(),
		deploy.Update{Edit: func(ctx context.Context, tree deploy.Tip) (deploy.Edit, error) {
			calls++
			if _, err := s.Advance(ctx, "r", "other",
				map[string]string{"README.md": fmt.Sprint(calls)}); err != nil {
				return deploy.Edit{}, err
			}
			return set("apps/a/deploy.yaml", "mine again").Edit(ctx, tree)
		}})
	wantKind(t, err, pratique.Conflict, "moved on")
}

func TestRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	before := git(t, s, "r", "rev-parse", "main")
	for _, remote := range []string{url, s.FileURL("r")} {
		r := open(t, Config{URL: remote})
		if err := s.Reject("r", "GH006: Protected branch: ask 'ops' first"); err != nil {
			t.Fatal(err)
		}
		_, err := r.Update(t.Context(), set("README.md", "x"))
		wantKind(t, err, pratique.Denied, "Protected branch: ask 'ops' first")
		if err := s.Hook("r", "pre-receive", ""); err != nil {
			t.Fatal(err)
		}
		if err := s.Hook("r", "update", "echo not on a Friday >&2; exit 1"); err != nil {
			t.Fatal(err)
		}
		_, err = r.Update(t.Context(), set("README.md", "x"))
		wantKind(t, err, pratique.Denied, "not on a Friday")
		if got := git(t, s, "r", "rev-parse", "main"); got != before {
			t.Errorf("the branch moved to %s", got)
		}
		if err := s.Hook("r", "update", ""); err != nil {
			t.Fatal(err)
		}
	}
	// What was refused is sent whole again: its objects are in our store but not in theirs.
	r := open(t, Config{URL: url})
	if err := s.Reject("r", "no"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Update(t.Context(), set("apps/b/deploy.yaml", "y"))
	wantKind(t, err, pratique.Denied, "no")
	if err := s.Hook("r", "pre-receive", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Update(t.Context(), set("apps/b/deploy.yaml", "y")); err != nil {
		t.Fatal(err)
	}
	git(t, s, "r", "fsck", "--strict", "--no-dangling")
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		faults []gitserver.Fault
		pushes int
	}{
		{"accepted, then dropped", []gitserver.Fault{{DropAfter: true}}, 1},
		{"dropped before", []gitserver.Fault{{DropBefore: true}}, 2},
		{"both", []gitserver.Fault{{DropBefore: true}, {DropAfter: true}}, 2},
		{"gateway says 502", []gitserver.Fault{{Status: 502}}, 2},
		{"empty answer", []gitserver.Fault{{Status: 200}}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			r := open(t, Config{URL: create(t, s, "r", files)})
			if test.faults[0].DropAfter { // somebody commits on top before we look again
				test.faults[0].Before = func() {}
			}
			s.Fail(test.faults...)
			p, err := r.Update(t.Context(), set("README.md", "x"))
			if err != nil || p.Commit == "" || p.Commit != git(t, s, "r", "rev-parse", "main") {
				t.Errorf("%+v, %v", p, err)
			}
			if n := git(t, s, "r", "rev-list", "--count", "main"); n != "2" || s.Pushes() != test.pushes {
				t.Errorf("%s commits after %d pushes, want 2 and %d", n, s.Pushes(), test.pushes)
			}
		})
	}
	t.Run("others on top", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		r := open(t, Config{URL: create(t, s, "r", files)})
		if err := s.Hook("r", "post-receive", "touch accepted"); err != nil {
			t.Fatal(err)
		}
		s.Fail(gitserver.Fault{DropAfter: true})
		calls := 0
		u := set("README.md", "x")
		edit := u.Edit
		u.Edit = func(ctx context.Context, tree deploy.Tip) (deploy.Edit, error) {
			if calls++; calls > 1 {
				t.Error("edited again although the first commit was taken")
			}
			return edit(ctx, tree)
		}
		go func() { // as soon as it is accepted, before the writer has waited out its pause
			for {
				if _, err := os.Stat(s.Dir("r") + "/accepted"); err == nil {
					_, _ = s.Advance(context.Background(), "r", "other",
						map[string]string{"README.md": "theirs"})
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		p, err := r.Update(t.Context(), u)
		if err != nil || p.Commit == "" || git(t, s, "r", "log", "--format=%s", "-1",
			p.Commit) != "set README.md" {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	empty := create(t, s, "empty", nil)
	for _, test := range []struct {
		name   string
		config Config
		kind   pratique.Kind
		text   string
	}{
		{"no branch", Config{URL: url, Branch: "prod"}, pratique.Unavailable,
			`no branch "prod": push a first commit`},
		{"empty", Config{URL: empty}, pratique.Unavailable, "push a first commit"},
		{"empty file", Config{URL: s.FileURL("empty")}, pratique.Unavailable, "push a first commit"},
		{"no repository", Config{URL: s.URL + "/none.git"}, pratique.Unavailable,
			"check the URL, and that the login is valid"},
		{"no folder", Config{URL: "file://" + t.TempDir() + "/none"}, pratique.Unavailable,
			"repository not found"},
		{"nobody there", Config{URL: "http://127.0.0.1:1/r.git"}, pratique.Unavailable, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := open(t, test.config).Update(t.Context(), set("README.md", "x"))
			wantKind(t, err, test.kind, test.text)
		})
	}
	for _, test := range []struct {
		name   string
		config Config
		text   string
	}{
		{"password in URL", Config{URL: "https://me:hunter2@example.com/r.git"}, "holds a password"},
		{"password alone in URL", Config{URL: "https://:hunter2@example.com/r.git"}, "holds a password"},
		{"token as user", Config{URL: "https://hunter2@example.com/r.git"}, "holds a user name"},
		{"token as user, plain", Config{URL: "HTTP://hunter2@example.com/r.git"}, "holds a user name"},
		{"token as user, escaped", Config{URL: "https://hunter2%40x@example.com/r.git"},
			"holds a user name"},
		{"token in query", Config{URL: "https://example.com/r.git?private_token=hunter2"},
			"after its path"},
		{"token in fragment", Config{URL: "https://example.com/r.git#hunter2"}, "after its path"},
		{"token in a URL of no use", Config{URL: "https://hunter2@exa mple.com/r.git"}, "cannot be read"},
		{"password over ssh", Config{URL: "ssh://git:hunter2@example.com/r.git"}, "holds a password"},
		{"password over ssh, short", Config{URL: "git:hunter2@example.com:r.git"}, ""},
		{"git protocol", Config{URL: "git://example.com/r.git"}, "not supported"},
		{"ssh without keys", Config{URL: "ssh://example.com/r.git"}, "ssh-keyscan"},
		{"ssh without keys, with a user", Config{URL: "ssh://gate@example.com/r.git"}, "ssh-keyscan"},
		{"branch", Config{URL: url, Branch: "a..b"}, "branch"},
		{"author", Config{URL: url, Author: Signature{"a\nb", "c"}}, "line breaks"},
		{"signing key", Config{URL: url, SigningKey: []byte("no key")}, "key"},
	} {
		_, err := Open(test.config, time.Now)
		wantKind(t, err, pratique.Invalid, test.text)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	s.RequireAuth("gate", "secret")
	_, err := open(t, Config{URL: url}).Update(t.Context(), set("README.md", "x"))
	wantKind(t, err, pratique.Denied, "authentication required")
	_, err = open(t,
		Config{URL: url, Auth: Auth{Username: "gate", Password: "wrong"}}).Update(t.Context(),
		set("README.md", "x"))
	wantKind(t, err, pratique.Denied, "authentication required")
	p, err := open(t,
		Config{URL: url, Auth: Auth{Username: "gate", Password: "secret"}}).Update(t.Context(),
		set("README.md", "x"))
	if err != nil || p.Commit == "" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestAnswersForALogin: hosts that hide what a login may not see, and those that took a repository
// away, have not said the last word.
func TestAnswersForALogin(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]pratique.Kind{
		http.StatusNotFound: pratique.Unavailable, http.StatusGone: pratique.Unavailable,
		http.StatusUnauthorized: pratique.Denied,
		http.StatusForbidden:    pratique.Denied, http.StatusTooManyRequests: pratique.RateLimited,
		http.StatusBadGateway: pratique.Unavailable,
		http.StatusBadRequest: pratique.Denied, http.StatusMethodNotAllowed: pratique.Denied,
		http.StatusConflict:              pratique.Denied,
		http.StatusRequestEntityTooLarge: pratique.Denied, http.StatusLocked: pratique.Denied,
		http.StatusUnavailableForLegalReasons: pratique.Denied,
	} {
		host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		t.Cleanup(host.Close)
		_, err := open(t, Config{URL: host.URL + "/r.git",
			Auth: Auth{Password: "expired"}}).Update(t.Context(), set("README.md", "x"))
		wantKind(t, err, kind, "")
		if pratique.KindOf(err).Permanent() {
			t.Errorf("status %d ends the job: %v", status, err)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "r", files)
	git(t, s, "r", "config", "core.symlinks", "true")
	// A link, and an executable file, next to the others.
	if _, err := s.Git(t.Context(), "r",
		[]byte("commit refs/heads/main\ncommitter A <a@b> now\ndata 1\nx\nfrom refs/heads/main^0\n"+
			"M 120000 inline apps/link.yaml\ndata 10\n/etc/hosts\nM 755 inline apps/run\ndata 3\n#!/\n"), "fast-import", "--quiet", "--date-format=now"); err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{URL: url})
	_, err := r.Update(t.Context(),
		deploy.Update{Edit: func(ctx context.Context, content deploy.Tip) (deploy.Edit, error) {
			for prefix, want := range map[string][]string{
				"": {"README.md", "apps/a.b/deploy.yaml", "apps/a/deploy.yaml",
					"apps/b/deploy.yaml", "apps/run"},
				"apps/a/":            {"apps/a/deploy.yaml"},
				"apps/a/deploy.yaml": {"apps/a/deploy.yaml"},
				"apps/link.yaml":     nil,
				"ap":                 nil,
				"none/at/all":        nil,
			} {
				var got []string
				if err := content.Walk(ctx, prefix, func(f deploy.File) error {
					got = append(got, f.Path())
					return nil
				}); err != nil {
					t.Errorf("walk %q: %v", prefix, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("walk %q (-want +got):\n%s", prefix, diff)
				}
			}
			for _, bad := range []string{"../x", "apps/../README.md", "/README.md",
				"apps//a/deploy.yaml", "", ".git/config", "apps/.GIT/x", `apps\a`} {
				if _, err := content.Read(bad); pratique.KindOf(err) != pratique.Invalid {
					t.Errorf("read %q: %v", bad, err)
				}
				if _, err := (&builder{store: r.local}).update("", content.(*tip).root,
					map[string][]byte{bad: nil}); pratique.KindOf(err) != pratique.Invalid {
					t.Errorf("write %q: %v", bad, err)
				}
			}
			for _, none := range []string{"none", "apps", "apps/link.yaml", "README.md/x",
				"apps/link.yaml/x"} {
				if _, err := content.Read(none); pratique.KindOf(err) != pratique.NotFound {
					t.Errorf("read %q: %v", none, err)
				}
			}
			for _, kept := range []string{"apps", "apps/link.yaml", "README.md/x", "apps/link.yaml/x"} {
				if _, err := (&builder{store: r.local}).update("", content.(*tip).root,
					map[string][]byte{kept: nil}); pratique.KindOf(err) != pratique.Invalid {
					t.Errorf("write %q: %v", kept, err)
				}
			}
			return deploy.Edit{Message: "run",
				Files: map[string][]byte{"apps/run": []byte("#!/bin/sh\n")}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if got := git(t, s, "r", "ls-tree", "main", "apps/run",
		"apps/link.yaml"); !strings.Contains(got, "100755") || !strings.Contains(got, "120000") {
		t.Errorf("modes were lost: %s", got)
	}
}

// TestWarm: after it an update needs no clone, and nothing is lost if it fails.
func TestWarm(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := create(t, s, "config", files)
	var mu sync.Mutex
	var fetches int
	away := true
	target, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	behind := httputil.NewSingleHostReverseProxy(&neturl.URL{Scheme: target.Scheme, Host: target.Host})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			fetches++
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	r := open(t, Config{URL: front.URL + target.Path})
	wantKind(t, r.Warm(t.Context()), pratique.Unavailable, "read config repository")
	mu.Lock()
	away = false
	mu.Unlock()
	if err := r.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fetches != 1 {
		t.Errorf("warming fetched %d times", fetches)
	}
	if _, err := r.Update(t.Context(), set("apps/a/deploy.yaml", "image: a:2")); err != nil {
		t.Fatal(err)
	}
	if fetches != 1 {
		t.Errorf("%d fetches, want the one that warmed", fetches)
	}
	if got := git(t, s, "config", "show", "main:apps/a/deploy.yaml"); !strings.Contains(got, "a:2") {
		t.Errorf("the branch has %s", got)
	}
}
