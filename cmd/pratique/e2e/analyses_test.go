package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// TestAnalysesOutliveTheService shows that what was found in a layer is used after a restart, and
// for another image: the test forges a version in the stored analysis, and Syft, which reads the
// layer itself, disagrees with it.
func TestAnalysesOutliveTheService(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	l.awaitState(l.push("team/app:1.0", l.build(images.Clean())), pratique.StateDeployed)
	stop()
	forged := 0
	for _, file := range analysisFiles(t, l) {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lie := bytes.ReplaceAll(body, []byte("3.0.14"), []byte("3.0.9"))
		lie = bytes.ReplaceAll(lie, []byte(`1~deb12u2`), []byte(`1`))
		if bytes.Equal(lie, body) {
			continue
		}
		forged++
		key, _, _ := strings.Cut(filepath.Base(file), "-")
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), key+"-"+
			pratique.DigestOf(lie).Hex()), lie, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if forged != 1 {
		t.Fatalf("%d analyses name the package, want that of the base layer", forged)
	}
	l.serve()
	other := images.Clean()
	other.Text = "another application on the same base"
	image := l.awaitState(l.push("team/app:2.0", l.build(other)), pratique.StateFailed)
	if image.Failure == nil || !strings.Contains(image.Failure.Message, "3.0.9") {
		t.Errorf("failure %+v, want one that names the forged version", image.Failure)
	}
}

// TestDamagedAnalysesAreMadeAgain spoils every stored analysis; the answer is the same, and they
// are back.
func TestDamagedAnalysesAreMadeAgain(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	l.awaitState(l.push("team/app:1.0", l.build(images.Vulnerable())), pratique.StateDenied)
	stop()
	files := analysisFiles(t, l)
	for _, file := range files {
		if err := os.Truncate(file, 100); err != nil {
			t.Fatal(err)
		}
	}
	l.serve()
	other := images.Vulnerable()
	other.Text = "another application on the same base"
	image := l.awaitState(l.push("team/app:2.0", l.build(other)), pratique.StateDenied)
	if image.Counts.Total() != 9 {
		t.Errorf("counts %v", image.Counts)
	}
	whole := 0
	for _, file := range analysisFiles(t, l) {
		if body, err := os.ReadFile(file); err == nil &&
			strings.HasSuffix(file, pratique.DigestOf(body).Hex()) {
			whole++
		}
	}
	// The base layer's, and that of the other application.
	if whole != 2 {
		t.Errorf("%d analyses are whole", whole)
	}
}

func analysisFiles(t *testing.T, l *line) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "data", "analyses", "*-*"))
	if err != nil || len(files) != 2 && len(files) != 3 {
		t.Fatalf("analyses %v, error %v", files, err)
	}
	return files
}

// TestSecretsAreDenied pushes an image with a token, which has no vulnerability, to a service that
// looks for secrets.
func TestSecretsAreDenied(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{inspect: "scanners: [licenses, secrets]", policy: "  blockSecrets: true"})
	l.serve()
	l.awaitState(l.push("team/app:1.0", l.build(images.Clean())), pratique.StateDeployed)
	token := "ghp_" + strings.Repeat("aPp1", 9)
	layer, err := images.Layer(map[string]string{"srv/env": "GITHUB=" + token + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	leaky, err := mutate.AppendLayers(l.build(images.Clean()), layer)
	if err != nil {
		t.Fatal(err)
	}
	image := l.awaitState(l.push("team/app:2.0", leaky), pratique.StateDenied)
	if len(image.Verdict.Reasons) != 1 || image.Verdict.Reasons[0].Rule != "secret" ||
		!strings.Contains(image.Verdict.Reasons[0].Message, "/srv/env, line 1") {
		t.Errorf("reasons %+v", image.Verdict.Reasons)
	}
	if s := image.Extras; s == nil || s.Secrets != 1 || s.Licenses == 0 || len(s.Kinds) != 2 {
		t.Errorf("extras %+v", s)
	}
	raw := l.get(image.Links.Extras)
	var found pratique.Extras
	if err := json.Unmarshal(raw, &found); err != nil || len(found.Secrets) != 1 ||
		!strings.Contains(found.Secrets[0].Match, "****") {
		t.Errorf("%s, error %v", raw, err)
	}
	// Nowhere but in the layer is the token itself.
	for _, document := range [][]byte{raw, l.get(image.Links.Self), l.get(image.Links.Report)} {
		if bytes.Contains(document, []byte(token)) {
			t.Errorf("the token is written down in clear: %s", document)
		}
	}
	for _, dir := range []string{"analyses", "nats"} {
		err := filepath.WalkDir(filepath.Join(l.dir, "data", dir), func(path string, d os.DirEntry,
			err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			body, err := os.ReadFile(path)
			if bytes.Contains(body, []byte(token)) {
				t.Errorf("the token is written down in clear in %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
