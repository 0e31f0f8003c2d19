package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/deploy/gitrepo"
	"github.com/pratique-dev/pratique/internal/testenv/gitserver"
)

// manifests is a config repository of 10,000 files of about 1.3 KB: 4 clusters of 50 teams of 50
// apps. One of them names our image.
func manifests() map[string]string {
	files := map[string]string{}
	filler := strings.Repeat("    # a line as they are in manifests, with some words\n", 20)
	for cluster := range 4 {
		for team := range 50 {
			for app := range 50 {
				image := fmt.Sprintf("registry.example.com/team%d/app%d", team, app)
				if cluster+team+app == 0 {
					image = "registry.example.com/team/app"
				}
				name := fmt.Sprintf("clusters/c%d/team%d/app%d.yaml", cluster, team, app)
				files[name] = fmt.Sprintf("kind: Deployment\nmetadata:\n  name: app%d\nspec:\n%s    image: %s:v0 # {\"$pratique\": %q}\n", app, filler, image, image)
			}
		}
	}
	return files
}

func benchServer(b *testing.B) (*gitserver.Server, string) {
	b.Helper()
	s, err := gitserver.Start(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	url, err := s.Create(b.Context(), "config", manifests())
	if err != nil {
		b.Fatal(err)
	}
	return s, url
}

// anything passes, and every tag is the digest asked for last.
type anything struct{ digest pratique.Digest }

func (a *anything) Summary(_ context.Context, s pratique.Subject) (verify.Summary, error) {
	return verify.Summary{Envelope: one, Subject: s, Outcome: pratique.Allow, Profile: profile,
		VerifiedAt: time.Now()}, nil
}

func (a *anything) Digest(context.Context, pratique.ImageRef) (pratique.Digest, error) {
	return a.digest, nil
}

func benchGate(b *testing.B, url string, a *anything) *deploy.Gate {
	b.Helper()
	repo, err := gitrepo.Open(gitrepo.Config{URL: url}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(repo.Close)
	g, err := deploy.New(deploy.Config{Summaries: a, Tags: a, Profiles: []pratique.Profile{profile},
		Now: time.Now,
		Targets: []deploy.Target{{Name: "all", Images: []pratique.Glob{"registry.example.com/**"},
			Repository: repo}}})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

func benchDeploy(b *testing.B, g *deploy.Gate, a *anything, i int) {
	b.Helper()
	a.digest = pratique.DigestOf(fmt.Appendf(nil, "%d %d", i, time.Now().UnixNano()))
	o, err := deployAll(b.Context(), g, change(a.digest, fmt.Sprint(a.digest)))
	if err != nil || len(o.Commits) != 1 || len(o.Commits[0].Files) != 1 || o.Commits[0].ID == "" {
		b.Fatalf("%+v, %v", o, err)
	}
}

// BenchmarkCommitWarm is the gate on a repository it knows: verify, look at the branch, walk 10,000
// files, edit one, commit, push over HTTP.
func BenchmarkCommitWarm(b *testing.B) {
	_, url := benchServer(b)
	a := &anything{}
	g := benchGate(b, url, a)
	benchDeploy(b, g, a, -1)
	for i := 0; b.Loop(); i++ {
		benchDeploy(b, g, a, i)
	}
}

// BenchmarkCommitCold is the same by a process that has just started.
func BenchmarkCommitCold(b *testing.B) {
	_, url := benchServer(b)
	a := &anything{}
	for i := 0; b.Loop(); i++ {
		benchDeploy(b, benchGate(b, url, a), a, i)
	}
}

// BenchmarkCommitGitCommand is what a script does: clone with depth 1, edit, commit, push.
func BenchmarkCommitGitCommand(b *testing.B) {
	_, url := benchServer(b)
	script := `set -e
git clone -q --depth 1 "$1" work
cd work
sed -i "s|registry.example.com/team/app[:@][^ ]*|registry.example.com/team/app@sha256:$2|" clusters/c0/team0/app0.yaml
git -c user.name=x -c user.email=x@example.com commit -qam "deploy $2"
git push -q origin HEAD:main`
	for i := 0; b.Loop(); i++ {
		dir := b.TempDir()
		cmd := exec.CommandContext(b.Context(), "sh", "-c", script, "sh", url,
			pratique.DigestOf(fmt.Append(nil, i)).Hex())
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		if err := os.RemoveAll(filepath.Join(dir, "work")); err != nil {
			b.Fatal(err)
		}
	}
}
