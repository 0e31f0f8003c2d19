package gitserver

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Branch is the branch of every repository.
const Branch = "main"

const zeroID = "0000000000000000000000000000000000000000"

// Create makes a bare repository, with the files as its first commit, and returns its URL. With no
// files the repository is empty: it has no branch.
func (s *Server) Create(ctx context.Context, name string, files map[string]string) (string, error) {
	dir := s.Dir(name)
	if _, err := os.Stat(dir); err == nil {
		return "", fmt.Errorf("repository %s is there already", name)
	}
	if _, err := s.Git(ctx, "", nil, "init", "-q", "--bare", "--initial-branch="+Branch,
		dir); err != nil {
		return "", err
	}
	if _, err := s.Git(ctx, name, nil, "config", "http.receivepack", "true"); err != nil {
		return "", err
	}
	if len(files) > 0 {
		if _, err := s.Advance(ctx, name, "First commit", files); err != nil {
			return "", err
		}
	}
	return s.URL + "/" + name + ".git", nil
}

// Dir returns the folder of a repository, FileURL its file:// remote.
func (s *Server) Dir(name string) string { return filepath.Join(s.dir, name+".git") }

// FileURL returns the file:// remote of a repository.
func (s *Server) FileURL(name string) string { return "file://" + filepath.ToSlash(s.Dir(name)) }

// Advance commits files to the branch as somebody else would, and returns the commit's id. It
// starts again when the branch moves meanwhile.
func (s *Server) Advance(ctx context.Context, name, message string,
	files map[string]string) (string, error) {
	for {
		id, err := s.advance(ctx, name, message, files)
		if err == nil || !strings.Contains(err.Error(), "cannot lock ref") || ctx.Err() != nil {
			return id, err
		}
	}
}

func (s *Server) advance(ctx context.Context, name, message string,
	files map[string]string) (string, error) {
	ref := "refs/heads/" + Branch
	old, err := s.Git(ctx, name, nil, "for-each-ref", "--format=%(objectname)", ref)
	if err != nil {
		return "", err
	}
	// One process for any number of files: fast-import to a ref of its own, then compare and swap.
	var in bytes.Buffer
	side := fmt.Sprintf("refs/side/%d", os.Getpid())
	temp, err := os.MkdirTemp(s.dir, "import")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	side += "-" + filepath.Base(temp)
	fmt.Fprintf(&in, "commit %s\ncommitter Somebody <somebody@example.com> now\ndata %d\n%s\n",
		side, len(message), message)
	if old != "" {
		fmt.Fprintf(&in, "from %s\n", old)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&in, "M 644 inline %q\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	if _, err := s.Git(ctx, name, in.Bytes(), "fast-import", "--quiet", "--date-format=now"); err != nil {
		return "", err
	}
	id, err := s.Git(ctx, name, nil, "rev-parse", side)
	if err != nil {
		return "", err
	}
	if _, err := s.Git(ctx, name, nil, "update-ref", "-d", side); err != nil {
		return "", err
	}
	if old == "" {
		old = zeroID
	}
	_, err = s.Git(ctx, name, nil, "update-ref", ref, id, old)
	return id, err
}

// Hook installs a hook, such as "pre-receive", as a shell script. An empty script takes it away.
func (s *Server) Hook(name, hook, script string) error {
	file := filepath.Join(s.Dir(name), "hooks", hook)
	if script == "" {
		return os.RemoveAll(file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
}

// Reject makes the repository refuse every push with these words.
func (s *Server) Reject(name, message string) error {
	quoted := "'" + strings.ReplaceAll(message, "'", `'\''`) + "'"
	return s.Hook(name, "pre-receive", "echo "+quoted+" >&2\nexit 1")
}

// Git runs git in the repository (in none if name is empty) and returns what it prints, without the
// last line break.
func (s *Server) Git(ctx context.Context, name string, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.git, args...)
	cmd.Env = environment(s.dir)
	cmd.Dir = s.dir
	if name != "" {
		cmd.Dir = s.Dir(name)
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}
