package syft

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
)

// TestRealLikeTheCommandLine compares packages, files and relationships with what the syft command
// line of the same version writes about real images. PRATIQUE_TEST_DATA names their directory,
// PRATIQUE_SYFT the program.
func TestRealLikeTheCommandLine(t *testing.T) {
	data, program := os.Getenv("PRATIQUE_TEST_DATA"), os.Getenv("PRATIQUE_SYFT")
	if data == "" || program == "" {
		t.Skip("PRATIQUE_TEST_DATA or PRATIQUE_SYFT is not set")
	}
	for _, name := range []string{"base", "app-go", "app-node", "app-clean", "app-flip", "alpine-syn"} {
		docs, err := generator.Generate(t.Context(),
			imagetest.Load(t, filepath.Join(data, "images"), name+":1"))
		if err != nil {
			t.Fatal(name, err)
		}
		dir := t.TempDir()
		spdx, cyclone := filepath.Join(dir, "spdx"), filepath.Join(dir, "cyclonedx")
		cmd := exec.Command(program, "scan", "oci-dir:"+
			imagetest.Single(t, filepath.Join(data, "images"), name+":1"),
			"-o", "spdx-json="+spdx, "-o", "cyclonedx-json="+cyclone)
		cmd.Env = append(os.Environ(), "SYFT_CHECK_FOR_APP_UPDATE=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if diff := cmp.Diff(spdxFacts(t, read(t, spdx)), spdxFacts(t, docs.SPDX)); diff != "" {
			t.Errorf("%s SPDX (-command line +here)\n%s", name, diff[:min(len(diff), 4000)])
		}
		if diff := cmp.Diff(cycloneFacts(t, read(t, cyclone)),
			cycloneFacts(t, docs.CycloneDX)); diff != "" {
			t.Errorf("%s CycloneDX (-command line +here)\n%s", name, diff[:min(len(diff), 4000)])
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// facts are what documents say, but for the name and the place of the image itself.
func spdxFacts(t *testing.T, raw []byte) []string {
	t.Helper()
	var doc struct {
		Packages []struct {
			SPDXID, Name, VersionInfo, LicenseDeclared, SourceInfo string
			ExternalRefs                                           []struct{ ReferenceLocator string }
		}
		Files []struct {
			SPDXID, FileName string
			Checksums        []struct{ Algorithm, ChecksumValue string }
		}
		Relationships []struct{ SpdxElementID, RelatedSpdxElement, RelationshipType, Comment string }
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	root := func(id string) string {
		if strings.HasPrefix(id, "SPDXRef-DocumentRoot-") {
			return "the image"
		}
		return id
	}
	var all []string
	for _, p := range doc.Packages {
		if root(p.SPDXID) != p.SPDXID {
			continue
		}
		line := []string{"package", p.SPDXID, p.Name, p.VersionInfo, p.LicenseDeclared, p.SourceInfo}
		for _, r := range p.ExternalRefs {
			line = append(line, r.ReferenceLocator)
		}
		all = append(all, strings.Join(line, " "))
	}
	for _, f := range doc.Files {
		line := []string{"file", f.SPDXID, f.FileName}
		for _, c := range f.Checksums {
			line = append(line, c.Algorithm, c.ChecksumValue)
		}
		all = append(all, strings.Join(line, " "))
	}
	for _, r := range doc.Relationships {
		all = append(all, strings.Join([]string{root(r.SpdxElementID), r.RelationshipType,
			root(r.RelatedSpdxElement), r.Comment}, " "))
	}
	slices.Sort(all)
	return all
}

func cycloneFacts(t *testing.T, raw []byte) []string {
	t.Helper()
	var doc struct {
		Components   []map[string]any
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range doc.Components {
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(line))
	}
	for _, d := range doc.Dependencies {
		slices.Sort(d.DependsOn)
		all = append(all, d.Ref+" depends on "+strings.Join(d.DependsOn, " "))
	}
	slices.Sort(all)
	return all
}
