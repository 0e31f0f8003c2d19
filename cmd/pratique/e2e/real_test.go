package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/sbom"
)

// realImages are the images of the real data, in the order in which they are pushed.
var realImages = []string{"base", "app-go", "app-node", "app-clean", "app-flip", "alpine-syn"}

// realData is the directory of real images, databases and expected findings, which are not part of
// the repository; make e2e-real DATA=DIR sets it.
func realData(t *testing.T) string {
	t.Helper()
	data := os.Getenv("PRATIQUE_TEST_DATA")
	if data == "" {
		t.Skip("PRATIQUE_TEST_DATA is not set: make e2e-real DATA=DIR")
	}
	return data
}

// realConfig leaves everything at its default that concerns work and durability, and takes the
// database from the registry, as operators do. The database is as old as the data, which is not
// what is tested.
var realConfig = template.Must(template.New("").Parse(`
dataDir: {{.Dir}}/data
listen: {{.Listen}}
registries:
  - host: {{.Registry}}
receivers:
  - name: main
    registry: {{.Registry}}
    repositories: ["team/**"]
    secrets: ["file:{{.Dir}}/webhook"]
database: {sources: ["{{.Registry}}/aqua/trivy-db:2"]}
policy:
  maxDatabaseAge: 3650d
{{.Policy}}
deploy:
  targets:
    - name: production
      repository: {{.Git}}
      path: clusters/production
      images: ["{{.Registry}}/team/**"]
api:
  tokens:
    - {name: test, token: "file:{{.Dir}}/token", submit: true}
`))

// TestReal pushes real images through the whole line, with a real vulnerability database taken from
// a registry, and compares what the API gives with what the command lines of trivy and syft found
// in the same images. Then the command line of cosign verifies everything that was attached.
func TestReal(t *testing.T) {
	data := realData(t)
	for _, db := range []string{"db-a", "db-b"} {
		t.Run(db, func(t *testing.T) {
			l := newLine(t, lineOptions{config: realConfig, noDB: true, onDisk: true,
				files: manyApps(realImages)})
			l.push("aqua/trivy-db:2", fromLayout(t, filepath.Join(data, "db", "oci"), "trivy-"+db+":2"))
			l.serve()
			var table strings.Builder
			fmt.Fprintf(&table, "%-10s %-9s %8s %8s %8s %9s  %s\n", db, "state", "packages",
				"findings", "expected", "seconds", "verdict")
			for _, name := range realImages {
				want := findingsOracle(t, filepath.Join(data, "oracle", name+"."+db+".json"))
				started := time.Now()
				digest := l.push("team/"+name+":1", fromLayout(t, filepath.Join(data, "images"),
					name+":1"))
				image := l.await(digest, "an end", func(i api.Image) bool {
					return count(i, pratique.FactCompleted) > 0
				})
				took := time.Since(started)
				findings := l.checkReport(name, image, want)
				l.checkSBOMs(name, image,
					packagesOracle(t, filepath.Join(data, "oracle", name+".syft.json")))
				l.checkRealVerdict(name, image, want)
				l.checkRealSignatures(name, image)
				fmt.Fprintf(&table, "%-10s %-9s %8d %8d %8d %9.2f  %s\n",
					name, image.State, image.Packages, findings, len(want), took.Seconds(), image.Outcome)
			}
			t.Logf("\n%s", table.String())
		})
	}
}

// manyApps are files of a config repository, one folder for each application.
func manyApps(names []string) func(host string) fileSet {
	return func(host string) fileSet {
		files := fileSet{}
		for _, name := range names {
			files["clusters/production/"+name+"/kustomization.yaml"] = "images:\n  - name: " +
				host + "/team/" + name + "\n    newTag: \"0\"\n"
		}
		return files
	}
}

// fromLayout reads an image, or an artifact, from an OCI layout.
func fromLayout(t *testing.T, dir, name string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == name {
			image, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("%s has no %s", dir, name)
	return nil
}

// foundVulnerability is a finding with all that trivy's command line says of it and that policies
// look at.
type foundVulnerability struct {
	ID, Pkg, Version, Fixed, Severity, Status, Type, Class, Path string
}

func findingsOracle(t *testing.T, path string) []foundVulnerability {
	t.Helper()
	var oracle struct{ Findings []foundVulnerability }
	decodeFile(t, path, &oracle)
	return oracle.Findings
}

// packagesOracle returns "type name version" of each package.
func packagesOracle(t *testing.T, path string) []string {
	t.Helper()
	var oracle struct{ Packages [][3]string }
	decodeFile(t, path, &oracle)
	var all []string
	for _, p := range oracle.Packages {
		all = append(all, strings.Join(p[:], " "))
	}
	slices.Sort(all)
	return all
}

func decodeFile(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// document gets a document of an image from the API.
func (l *line) document(d pratique.Digest, path string) []byte {
	l.t.Helper()
	return l.get("/api/v1/images/" + d.String() + "/" + path)
}

// checkReport compares the report with the oracle, and returns its number of findings.
func (l *line) checkReport(name string, image api.Image, want []foundVulnerability) int {
	l.t.Helper()
	var report pratique.Report
	if err := json.Unmarshal(l.document(image.Digest, "report"), &report); err != nil {
		l.t.Fatal(err)
	}
	var have []foundVulnerability
	for _, f := range report.Findings {
		have = append(have, foundVulnerability{
			ID: f.ID, Pkg: f.Package, Version: f.Installed, Fixed: f.Fixed,
			Severity: f.Severity.String(), Status: f.Status,
			Type: f.Type, Class: string(f.Class), Path: f.Path,
		})
	}
	sorted := cmpopts.SortSlices(func(a, b foundVulnerability) bool {
		return fmt.Sprint(a) < fmt.Sprint(b)
	})
	if diff := cmp.Diff(want, have, sorted, cmpopts.EquateEmpty()); diff != "" {
		l.t.Errorf("%s: findings (-command line +here)\n%s", name, diff)
	}
	if image.Counts.Total() != len(have) {
		l.t.Errorf("%s: the API counts %d findings, its report has %d", name, image.Counts.Total(),
			len(have))
	}
	return len(have)
}

func (l *line) checkSBOMs(name string, image api.Image, want []string) {
	l.t.Helper()
	for format, decode := range map[string]func([]byte) (sbom.Summary,
		error){"spdx": sbom.DecodeSPDX, "cyclonedx": sbom.DecodeCycloneDX} {
		summary, err := decode(l.document(image.Digest, "sbom?format="+format))
		if err != nil {
			l.t.Fatal(err)
		}
		var have []string
		for _, p := range summary.Packages {
			have = append(have, packageType(p.PURL)+" "+p.Name+" "+p.Version)
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			l.t.Errorf("%s: packages in %s (-command line +here)\n%s", name, format, diff)
		}
	}
}

// packageType is syft's name for the type of a package URL.
func packageType(purl string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
	if kind == "golang" {
		return "go-module"
	}
	return kind
}

// checkRealVerdict applies the default rule by hand: findings of HIGH and above deny.
func (l *line) checkRealVerdict(name string, image api.Image, findings []foundVulnerability) {
	l.t.Helper()
	grave := func(f foundVulnerability) bool { return f.Severity == "HIGH" || f.Severity == "CRITICAL" }
	outcome, state := pratique.Allow, pratique.StateDeployed
	if slices.ContainsFunc(findings, grave) || name == "alpine-syn" { // Alpine 3.11 is out of support
		outcome, state = pratique.Deny, pratique.StateDenied
	}
	if image.Outcome != outcome || image.State != state {
		l.t.Errorf("%s: outcome %q, state %q, want %q and %q; failure %+v", name, image.Outcome,
			image.State, outcome, state, image.Failure)
	}
	file := l.gitOutput("show", "main:clusters/production/"+name+"/kustomization.yaml")
	if committed := strings.Contains(file,
		image.Digest.String()); committed != (outcome == pratique.Allow) {
		l.t.Errorf("%s: outcome %q, but the config repository has\n%s", name, image.Outcome, file)
	}
}

// checkRealSignatures has cosign verify all attestations, and the signature, which only allowed
// images have.
func (l *line) checkRealSignatures(name string, image api.Image) {
	l.t.Helper()
	if image.Outcome == pratique.Allow {
		l.checkWithCosign(image)
		return
	}
	cosign := func(args ...string) (string, error) {
		args = append(args, "--key", filepath.Join(l.dir, "data", "signing", "cosign.pub"),
			"--insecure-ignore-tlog", image.Image)
		command := exec.CommandContext(l.t.Context(), cosignBinary(l.t), args...)
		command.Env = []string{"HOME=" + l.t.TempDir()}
		out, err := command.CombinedOutput()
		return string(out), err
	}
	for _, predicate := range []string{"spdxjson", "cyclonedx", "vuln", pratique.PredicateVSA} {
		if out, err := cosign("verify-attestation", "--type", predicate); err != nil {
			l.t.Errorf("%s: cosign verify-attestation --type %s: %v\n%.500s", name, predicate, err, out)
		}
	}
	if out, err := cosign("verify"); err == nil {
		l.t.Errorf("%s is denied, but cosign finds a signature:\n%s", name, out)
	}
}
