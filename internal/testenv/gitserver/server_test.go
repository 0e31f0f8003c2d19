package gitserver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(environment(dir), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestGitCommand: the git command clones from the server and pushes to it, with protocol 2, a login
// and hooks.
func TestGitCommand(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	url, err := s.Create(t.Context(), "r", map[string]string{"a/b.txt": "hello\n", "c": "no newline"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "r", nil); err == nil {
		t.Error("created twice")
	}
	s.RequireAuth("me", "secret")
	dir := t.TempDir()
	if out, err := git(t, dir, "clone", "-q", url, "w"); err == nil || s.Pushes() != 0 {
		t.Errorf("cloned without a login: %s", out)
	}
	url = strings.Replace(url, "http://", "http://me:secret@", 1)
	if out, err := git(t, dir, "-c", "protocol.version=2", "clone", "-q", url, "w"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	work := filepath.Join(dir, "w")
	if b, err := os.ReadFile(filepath.Join(work, "a/b.txt")); err != nil || string(b) != "hello\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := s.Reject("r", "it's frozen"); err != nil {
		t.Fatal(err)
	}
	if out, err := git(t, work, "commit", "-q", "--allow-empty", "-m", "x"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := git(t, work, "push", "-q"); err == nil || !strings.Contains(out, "it's frozen") {
		t.Errorf("%v: %s", err, out)
	}
	if err := s.Hook("r", "pre-receive", ""); err != nil {
		t.Fatal(err)
	}
	s.Fail(Fault{DropAfter: true}, Fault{Status: 503})
	if out, err := git(t, work, "push", "-q"); err == nil {
		t.Errorf("no error although the connection was dropped: %s", out)
	}
	here, _ := git(t, work, "rev-parse", "HEAD")
	if there, err := s.Git(t.Context(), "r", nil, "rev-parse", Branch); err != nil ||
		there != strings.TrimSpace(here) {
		t.Errorf("the dropped push was not taken: %s, %v", there, err)
	}
	id, err := s.Advance(t.Context(), "r", "on top", map[string]string{"a/b.txt": "changed\n",
		"new": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := git(t, work, "pull", "-q"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if here, _ = git(t, work, "rev-parse", "HEAD"); strings.TrimSpace(here) != id {
		t.Errorf("pulled %s, want %s", here, id)
	}
	if _, err := s.Git(context.Background(), "r", nil, "fsck", "--strict"); err != nil {
		t.Error(err)
	}
}
