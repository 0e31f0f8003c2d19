package gitrepo

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestHooksGetNoSecrets: hooks of a file remote are programs of others.
func TestHooksGetNoSecrets(t *testing.T) {
	s := start(t)
	create(t, s, "r", files)
	dump := filepath.Join(t.TempDir(), "environment")
	for _, hook := range []string{"pre-receive", "post-receive"} {
		if err := s.Hook("r", hook, "env >>'"+dump+"'"); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PRATIQUE_SIGNING_PASSWORD", "hunter2")
	t.Setenv("GIT_CONFIG_PARAMETERS", "'core.hooksPath=/hunter2'")
	if _, err := open(t, Config{URL: s.FileURL("r")}).Update(t.Context(),
		set("README.md", "x")); err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(dump)
	if err != nil || strings.Count(string(said), "\nPATH=")+strings.Count(string(said), "HOME=") < 2 {
		t.Fatalf("the hooks did not say what they have: %q, %v", said, err)
	}
	for line := range strings.Lines(string(said)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		// the shell's
		case name == "PATH", name == "HOME", name == "PWD", name == "OLDPWD", name == "SHLVL", name == "_":
		case name == "GIT_DIR", name == "GIT_EXEC_PATH", strings.HasPrefix(name,
			"GIT_QUARANTINE"), strings.HasSuffix(name, "OBJECT_DIRECTORY"),
			// git's own
			strings.HasPrefix(name, "GIT_ALTERNATE"), strings.HasPrefix(name, "GIT_PUSH_OPTION"):
		default:
			t.Errorf("a hook got %s", line)
		}
	}
	if strings.Contains(string(said), "hunter2") {
		t.Error("a hook got the secret")
	}
}

// TestHooksAfterThePush: they are given the time they need, and what they print has a reader.
func TestHooksAfterThePush(t *testing.T) {
	t.Parallel()
	s := start(t)
	create(t, s, "r", files)
	done := filepath.Join(t.TempDir(), "done")
	if err := s.Hook("r", "post-receive",
		"sleep 0.3; head -c 200000 /dev/zero && echo told && touch '"+done+"'"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Config{URL: s.FileURL("r")}).Update(t.Context(),
		set("README.md", "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(done); err != nil {
		t.Error(err)
	}
}

// TestLocalTimeout: a hook that hangs does not hold the writer for ever.
func TestLocalTimeout(t *testing.T) {
	t.Parallel()
	s := start(t)
	create(t, s, "r", files)
	if err := s.Hook("r", "pre-receive", "exec sleep 20"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := open(t, Config{URL: s.FileURL("r"), Timeout: time.Second, Tries: 1}).Update(ctx,
		set("README.md", "x"))
	wantKind(t, err, pratique.Unavailable, "")
	if d := time.Since(begin); d > 9*time.Second {
		t.Errorf("took %s", d)
	}
}
