package e2e

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/analysiscache"
	"github.com/pratique-dev/pratique/internal/render"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/registry"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
)

// scanBench is a registry with images and databases, and a directory for the program that has none
// of its own.
type scanBench struct {
	t    *testing.T
	dir  string
	host string
	file func(name, content string) string

	mu     sync.Mutex
	secret string // the password that it asks for
	blobs  map[string]int
}

func newScanBench(t *testing.T) *scanBench {
	t.Helper()
	if raceDetector {
		t.Skip("each scan starts two processes, which takes them ten times as long; what they do at once is raced where it is")
	}
	b := &scanBench{t: t, dir: t.TempDir(), blobs: map[string]int{}}
	server, err := registry.Start(t.Context(),
		registry.Config{Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b.mu.Lock()
				secret := b.secret
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					b.blobs[r.URL.Path]++
				}
				b.mu.Unlock()
				if _, password, _ := r.BasicAuth(); secret != "" && password != secret {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				next.ServeHTTP(w, r)
			})
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	b.host, b.file = server.Host(), writerIn(t, b.dir)
	return b
}

func (b *scanBench) push(ref string, what remote.Taggable) string {
	b.t.Helper()
	target, err := name.ParseReference(b.host + "/" + ref)
	if err != nil {
		b.t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(target, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(target, what)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return b.host + "/" + ref
}

// writeDB makes the excerpt of the vulnerability database, built that long ago, in a new directory.
func (b *scanBench) writeDB(ago time.Duration) string {
	b.t.Helper()
	d, err := vulndb.Excerpt()
	if err != nil {
		b.t.Fatal(err)
	}
	if ago >= 10*time.Hour { // an older one knows less
		d.Advisories = d.Advisories[:len(d.Advisories)-1]
	}
	d.UpdatedAt = time.Now().Add(-ago).UTC()
	d.NextUpdate = d.UpdatedAt.Add(6 * time.Hour)
	dir := b.t.TempDir()
	databaseMutex.Lock()
	defer databaseMutex.Unlock()
	if err := d.Write(dir); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// config names the database of this registry, and dataDir.
func (b *scanBench) config(extra string) string {
	return b.file("pratique.yaml",
		fmt.Sprintf("dataDir: %s/data\ndatabase:\n  sources: ['%s/aqua/trivy-db:2']\n%s", b.dir,
			b.host, extra))
}

func (b *scanBench) run(args ...string) program {
	b.t.Helper()
	return program{dir: b.dir}.run(b.t, args...)
}

func build(t *testing.T, s images.Spec) v1.Image {
	t.Helper()
	img, err := images.Build(s)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestScan inspects an image of a registry with a database of a registry, as the README says.
func TestScan(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	if err := vulndb.Push(t.Context(), b.writeDB(time.Hour), b.host+"/aqua/trivy-db:2"); err != nil {
		t.Fatal(err)
	}
	conf := b.config("")
	bad := b.push("team/app:bad", build(t, images.Vulnerable()))
	clean := b.push("team/app:clean", build(t, images.Clean()))
	first := b.run("scan", bad, "--config", conf).want(t, 0, bad+" (linux/amd64)", "debian 12",
		"CVE-2020-14343", "PyYAML", "CRITICAL", "can be fixed",
		"2>looking for a new vulnerability database", "2>inspecting sha256:")
	got := b.run("scan", bad, "--config", conf, "--quiet", "--fail-on", "critical", "--format", "json",
		"--output", "sarif=out.sarif", "-o", "spdx-json=spdx.json", "-o", "cyclonedx-json=cdx.json",
		"-o", "table=table.txt").want(t, 1)
	if got.err != "" {
		t.Errorf("not quiet: %s", got.err)
	}
	var found render.Scan
	if err := json.Unmarshal([]byte(got.out), &found); err != nil {
		t.Fatal(err)
	}
	if found.Ref != bad || len(found.Images) != 1 || found.Images[0].Subject != found.Subject ||
		found.Images[0].Report.Inventory.IsZero() ||
		found.Images[0].Packages != 6 || found.Images[0].Report.Counts()[pratique.SeverityCritical] == 0 {
		t.Errorf("found %+v", found)
	}
	for file, text := range map[string]string{"out.sarif": `"ruleId": "CVE-2020-14343"`,
		"spdx.json": "SPDX-2.3", "cdx.json": "CycloneDX", "table.txt": "PyYAML"} {
		if raw, err := os.ReadFile(filepath.Join(b.dir, file)); err != nil ||
			!bytes.Contains(raw, []byte(text)) {
			t.Errorf("%s: no %q in it, %v", file, text, err)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(b.dir, "table.txt")); err != nil ||
		!strings.Contains(first.out, string(raw)) {
		t.Errorf("the second time it finds something else: %s, %v", raw, err)
	}
	b.mu.Lock()
	for path, n := range b.blobs {
		if n > 2 || (n > 1 && strings.Contains(path, "trivy-db")) { // a configuration is read in each run
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
	b.mu.Unlock()
	b.run("scan", bad, "--config", conf, "--quiet", "--policy").want(t, 1, "The policy denies it.")
	b.run("scan", clean, "--config", conf, "--quiet", "--policy", "--fail-on", "UNKNOWN").want(t, 0,
		"The policy allows it.", "6 packages, no findings")
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "a.rego"),
		[]byte("package pratique\n\ndeny contains \"x\" if input.sbom.packages > 0\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	b.run("scan", clean, "--config", b.config("policy: {dir: '"+broken+"'}\n"), "--quiet",
		"--policy").want(t, 1, "The policy denies it.", "deny holds a text")
	conf = b.config("")
	b.run("scan", b.host+"/team/app:none", "--config", conf).want(t, 2, "2>404")
	b.run("scan", bad, "--format", "xml").want(t, 2, "2>sarif")
	b.run("scan", bad, "--fail-on", "bad").want(t, 2, "2>CRITICAL")
	b.run("scan", bad, "--output", "sarif").want(t, 2, "2>sarif=")
	b.run("scan", bad, "--offline", "--cache-dir", "empty").want(t, 2, "2>pratique db")
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".cache/pratique/tmp/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestScanSections shows what the configuration has it look for beside packages, with the
// credentials masked.
func TestScanSections(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	token := "ghp_" + strings.Repeat("aPp1", 9)
	layer, err := images.Layer(map[string]string{"srv/env": "first\nGITHUB=" + token + "\n",
		"srv/Dockerfile": "FROM debian:latest\nADD x /x\n"})
	if err != nil {
		t.Fatal(err)
	}
	leaky, err := mutate.AppendLayers(build(t, images.Clean()), layer)
	if err != nil {
		t.Fatal(err)
	}
	ref := b.push("team/leaky:1", leaky)
	b.run("scan", ref, "--quiet", "--db-dir", db, "--fail-on", "HIGH").want(t, 0, "no findings")
	conf := b.config("inspect: {scanners: [secrets, misconfigurations, licenses]}\n")
	got := b.run("scan", ref, "--quiet", "--db-dir", db, "--config", conf, "--only-fixable",
		"--fail-on", "CRITICAL", "-o", "sarif=s.sarif", "-o", "json=s.json").
		want(t, 1, "secrets: 1 finding: 1 CRITICAL", "github-pat", "/srv/env:2",
			"misconfigurations: ", "DS-0002", "srv/Dockerfile", "licenses: ", "6 packages, no findings")
	for file, texts := range map[string][]string{
		"s.sarif": {`"ruleId": "github-pat"`, `"startLine": 2`, `"ruleId": "DS-0002"`,
			`"uri": "srv/env"`, "****"},
		"s.json": {`"rule": "github-pat"`, `"extras": {`, "****"},
	} {
		raw, err := os.ReadFile(filepath.Join(b.dir, file))
		if err != nil || strings.Contains(string(raw)+got.out, token) {
			t.Errorf("%s: %v, or the token is in it", file, err)
		}
		for _, text := range texts {
			if !bytes.Contains(raw, []byte(text)) {
				t.Errorf("%s: no %q in it", file, text)
			}
		}
	}
}

// TestScanKeepsAnalyses: what was found in a base layer serves the next image on it, unless another
// scan has the cache.
func TestScanKeepsAnalyses(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	other := images.Vulnerable()
	other.Text = "another application on the same base"
	kept := func() (names []string) {
		files, err := filepath.Glob(filepath.Join(b.dir, ".cache/pratique/analyses/*-*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	first := b.run("scan", b.push("team/app:1", build(t, images.Vulnerable())), "--quiet",
		"--db-dir", db).want(t, 0, "PyYAML")
	before := kept()
	if len(before) != 2 {
		t.Fatalf("kept of two layers: %v", before)
	}
	second := b.run("scan", b.push("team/app:2", build(t, other)), "--quiet", "--db-dir",
		db).want(t, 0, "PyYAML")
	if all := kept(); len(all) != 3 {
		t.Errorf("kept %v, and one more layer makes it %v", before, all)
	}
	lock, err := analysiscache.Open(filepath.Join(b.dir, ".cache/pratique/analyses"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	third := b.run("scan", b.host+"/team/app:2", "--quiet", "--db-dir", db).want(t, 0, "PyYAML")
	if third.out != second.out || len(first.out) == 0 {
		t.Errorf("%s\nand\n%s", second.out, third.out)
	}
}

// TestScanPlatforms takes the image of this machine, the one that is asked for, or all of an index.
func TestScanPlatforms(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	arm := images.Clean()
	arm.Architecture = "arm64"
	index, err := images.Index(build(t, images.Vulnerable()), build(t, arm))
	if err != nil {
		t.Fatal(err)
	}
	ref := b.push("team/both:1", index)
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "linux/amd64").want(t, 0,
		"(linux/amd64)", "PyYAML", "Not inspected, and not evaluated: linux/arm64.")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "linux/arm64").want(t, 0,
		"(linux/arm64)", "no findings")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "all").want(t, 0, "(linux/amd64)",
		"(linux/arm64)")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "all", "--format",
		"spdx-json").want(t, 2, "2>--platform")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "linux/amd64", "--format",
		"spdx-json").want(t, 0, "2>the SBOM is of linux/amd64 alone; not inspected: linux/arm64")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "linux/amd64", "--format",
		"sarif").want(t, 0, "not inspected: linux/arm64")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "all", "--config",
		b.file("arm.yaml", "platforms: [linux/arm64]\n")).want(t, 0, "(linux/arm64)",
		"Not inspected, and not evaluated: linux/amd64.")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--platform", "linux/s390x").want(t, 2, "2>linux/arm64")
}

func TestScanCredentials(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	ref := b.push("team/app:1", build(t, images.Clean()))
	b.mu.Lock()
	b.secret = "swordfish"
	b.mu.Unlock()
	b.run("scan", ref, "--quiet", "--db-dir", db).want(t, 2, "2>401")
	password := b.file("password", "swordfish\n")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--username", "u").want(t, 2, "2>--password-file")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--username", "u", "--password-file",
		password).want(t, 0, "no findings")
	conf := b.config(fmt.Sprintf("registries:\n  - {host: '%s', username: u, password: 'file:%s'}\n", b.host, password))
	b.run("scan", ref, "--quiet", "--db-dir", db, "--config", conf).want(t, 0, "no findings")
}

// TestScanFiles takes images from files, under a name that is the same each time.
func TestScanFiles(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	img := build(t, images.Vulnerable())
	dir := filepath.Join(b.dir, "Layout.d")
	index, err := images.Index(img)
	if err == nil {
		_, err = layout.Write(dir, index)
	}
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("app:dev")
	if err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(b.dir, "saved.tar")
	if err := tarball.WriteToFile(saved, tag, img); err != nil {
		t.Fatal(err)
	}
	fromDir := b.run("scan", "--oci-layout", dir, "--quiet", "--db-dir", db, "--format",
		"sarif").want(t, 0, "localhost/layout@sha256:", "CVE-2020-14343")
	if again := b.run("scan", "--oci-layout", dir, "--quiet", "--db-dir", db, "--format",
		"sarif"); again.out != fromDir.out {
		t.Error("the second time it is another document")
	}
	b.run("scan", "--oci-layout", saved, "--quiet", "--db-dir", db).want(t, 0, "CVE-2020-14343",
		"6 packages")
	b.run("scan", "--oci-layout", saved+":other", "--quiet", "--db-dir", db).want(t, 2,
		"2>behind the path: :app:dev")
	raw, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err = z.Write(raw); err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	b.run("scan", "--oci-layout", b.file("saved.tgz", packed.String()), "--quiet", "--db-dir",
		db).want(t, 0, "CVE-2020-14343")
	killed := filepath.Join(b.dir, ".cache/pratique/tmp/scan-1/layers")
	long := time.Now().Add(-48 * time.Hour)
	if err := errors.Join(os.MkdirAll(killed, 0o700), os.Chtimes(filepath.Dir(killed), long,
		long)); err != nil {
		t.Fatal(err)
	}
	b.run("scan", "--oci-layout", saved, "--quiet", "--db-dir", db).want(t, 0)
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".cache/pratique/tmp/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	b.run("scan", "--oci-layout", b.file("junk", "junk"), "--quiet", "--db-dir", db).want(t, 2,
		"2>not an image")
}

// TestScanJava: with a Java database a jar is known by its SHA-1, and without one nothing changes.
func TestScanJava(t *testing.T) {
	t.Parallel()
	b := newScanBench(t)
	db := b.writeDB(time.Hour)
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	if _, err := z.Create("org/example/A.class"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := images.Layer(map[string]string{"app/quiet.jar": jar.String()})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(build(t, images.Clean()), layer)
	if err != nil {
		t.Fatal(err)
	}
	ref := b.push("team/java:1", img)
	dir := t.TempDir()
	known := vulndb.Jar{Group: "org.example", Artifact: "quiet", Version: "1.0", Content: jar.Bytes()}
	if err := vulndb.WriteJava(dir, time.Now().UTC(), time.Now().Add(time.Hour).UTC(),
		known); err != nil {
		t.Fatal(err)
	}
	if err := vulndb.PushJava(t.Context(), dir, b.host+"/aqua/trivy-java-db:1"); err != nil {
		t.Fatal(err)
	}
	conf := b.config(fmt.Sprintf("  java: {sources: ['%s/aqua/trivy-java-db:1']}\n", b.host))
	b.run("scan", ref, "--quiet", "--db-dir", db).want(t, 0, "6 packages")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--config", conf).want(t, 2, "2>Java database")
	b.run("db", "update", "--java").want(t, 2, "2>database.java.sources")
	b.run("db", "update", "--java", "--config", conf).want(t, 0, "now in use: sha256:")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--config", conf).want(t, 0, "7 packages")
	b.run("scan", ref, "--quiet", "--db-dir", db, "--config", conf, "--format", "json").want(t, 0,
		`"javaDatabase": "sha256:`)
}
