package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
)

// tools are the programs under measure, by the environment variables that name them.
type tools map[string]string

func commandLines(t *testing.T) tools {
	t.Helper()
	all := tools{}
	for _, variable := range []string{"PRATIQUE_BINARY", "PRATIQUE_TRIVY", "PRATIQUE_SYFT",
		"PRATIQUE_COSIGN"} {
		if all[variable] = os.Getenv(variable); all[variable] == "" {
			t.Skipf("%s is not set: make bench-line DATA=DIR", variable)
		}
	}
	return all
}

// The steps of the command-line pipeline.
const (
	stepTrivy       = "trivy json, empty image cache"
	stepTrivyVuln   = "trivy cosign-vuln, image cached"
	stepSPDX        = "syft spdx-json"
	stepCycloneDX   = "syft cyclonedx-json"
	stepSign        = "cosign sign"
	stepAttestSPDX  = "cosign attest spdx"
	stepAttestCDX   = "cosign attest cyclonedx"
	stepAttestVuln  = "cosign attest vuln"
	stepGit         = "git clone, commit, push"
	stepTrivyCached = "trivy json, base layers cached"
	stepSyftBoth    = "syft, both formats in one run"
)

// written is the sequence as most pipelines have it; tuned has one run of syft, and a runner that
// keeps trivy's cache of the base layers.
var (
	written = []string{stepTrivy, stepTrivyVuln, stepSPDX, stepCycloneDX, stepSign, stepAttestSPDX,
		stepAttestCDX, stepAttestVuln, stepGit}
	tuned = []string{stepTrivyCached, stepTrivyVuln, stepSyftBoth, stepSign, stepAttestSPDX,
		stepAttestCDX, stepAttestVuln, stepGit}
)

const password = "PRATIQUE-BENCHMARK"

func (b *bench) prepareTools() {
	b.t.Helper()
	b.cache, b.key = filepath.Join(b.dir, "trivy"), filepath.Join(b.dir, "bench.key")
	b.run("PRATIQUE_TRIVY", "image", "--download-db-only", "--db-repository", b.registry.Host()+
		"/aqua/trivy-db:2", "--cache-dir", b.cache, "--quiet")
	b.run("PRATIQUE_COSIGN", "generate-key-pair", "--output-key-prefix", filepath.Join(b.dir, "bench"))
}

// run runs a program to its end.
func (b *bench) run(tool string, args ...string) measure {
	b.t.Helper()
	binary := b.tools[tool]
	if binary == "" {
		binary = tool
	}
	home := filepath.Join(b.dir, "home")
	command := exec.CommandContext(b.t.Context(), binary, args...)
	command.Dir = b.dir
	command.Env = []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + b.dir, "COSIGN_PASSWORD=" +
			password, "SYFT_CHECK_FOR_APP_UPDATE=false",
		"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@example.com", "GIT_COMMITTER_NAME=x",
		"GIT_COMMITTER_EMAIL=x@example.com",
	}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	var m measure
	m.requests, m.bytes = b.traffic(func() {
		started := time.Now()
		if err := command.Run(); err != nil {
			b.t.Fatalf("%s %v: %v\n%s", tool, args, err, out.String())
		}
		m.wall = time.Since(started)
	})
	m.cpu = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	return m
}

// freshCache is a cache for trivy with the database and no image.
func (b *bench) freshCache() string {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "db"), os.DirFS(filepath.Join(b.cache, "db"))); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// commandLine pushes the image for the command lines and runs them one after the other.
func (b *bench) commandLine(image string, source v1.Image, into series) {
	b.t.Helper()
	b.tree.awaitIdle()
	b.upload("cli/"+image, source)
	b.put("cli/"+image+":1", source)
	digest := digestOfImage(b.t, source)
	ref, dir := b.registry.Host()+"/cli/"+image+"@"+digest.String(), b.t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	trivy := func(cache, format string) measure {
		return b.run("PRATIQUE_TRIVY", "image", "--cache-dir", cache, "--skip-db-update",
			"--skip-java-db-update", "--skip-version-check",
			"--offline-scan", "--quiet", "--scanners", "vuln", "--format", format, "--output",
			file(format), ref)
	}
	syft := func(args ...string) measure {
		return b.run("PRATIQUE_SYFT", append([]string{"scan", "--quiet", "registry:" + ref}, args...)...)
	}
	attest := func(kind, predicate string) measure {
		return b.run("PRATIQUE_COSIGN", "attest", "--key", b.key, "--tlog-upload=false", "--yes",
			"--type", kind, "--predicate", file(predicate), ref)
	}
	cache := b.freshCache()
	steps := map[string]measure{
		stepTrivy:     trivy(cache, "json"),
		stepTrivyVuln: trivy(cache, "cosign-vuln"),
		stepSPDX:      syft("-o", "spdx-json="+file("spdx")),
		stepCycloneDX: syft("-o", "cyclonedx-json="+file("cyclonedx")),
		stepSyftBoth:  syft("-o", "spdx-json="+file("spdx2"), "-o", "cyclonedx-json="+file("cyclonedx2")),
		stepSign: b.run("PRATIQUE_COSIGN", "sign", "--key", b.key, "--tlog-upload=false",
			"--yes", ref),
	}
	// The order matters: each attestation is written into what the others left.
	steps[stepAttestSPDX] = attest("spdxjson", "spdx")
	steps[stepAttestCDX] = attest("cyclonedx", "cyclonedx")
	steps[stepAttestVuln] = attest("vuln", "cosign-vuln")
	steps[stepGit] = b.commitByHand(image, digest.String(), file("clone"))
	steps[stepTrivyCached] = steps[stepTrivy]
	if image == "app-go" || image == "app-node" {
		known := b.freshCache()
		base := b.registry.Host() + "/cli/base:1"
		b.run("PRATIQUE_TRIVY", "image", "--cache-dir", known, "--skip-db-update",
			"--skip-java-db-update", "--skip-version-check",
			"--offline-scan", "--quiet", "--scanners", "vuln", "--format", "json", "--output",
			file("base"), base)
		steps[stepTrivyCached] = trivy(known, "json")
	}
	for step, m := range steps {
		into.add(image, step, m)
	}
	into.add(image, "", sum(steps, written))
	into.add(image, "tuned", sum(steps, tuned))
}

// commitByHand is what a pipeline's script does with git.
func (b *bench) commitByHand(image, digest, clone string) measure {
	b.t.Helper()
	parts := map[string]measure{"clone": b.run("git", "clone", "--quiet", b.git.URL+
		"/commandline.git", clone)}
	path := filepath.Join("clusters", "production", image, "kustomization.yaml")
	if err := os.WriteFile(filepath.Join(clone, path),
		[]byte(kustomization(b.registry.Host()+"/cli/"+image, digest)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	parts["commit"] = b.run("git", "-C", clone, "commit", "--quiet", "--all", "--message",
		"Deploy "+image)
	parts["push"] = b.run("git", "-C", clone, "push", "--quiet")
	return sum(parts, []string{"clone", "commit", "push"})
}

func sum(steps map[string]measure, which []string) measure {
	var total measure
	for _, step := range which {
		m := steps[step]
		total.wall += m.wall
		total.cpu += m.cpu
		total.requests += m.requests
		total.bytes += m.bytes
	}
	return total
}
