//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aquasecurity/trivy/pkg/types"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// TestFindingsAgainstCommandLine compares all that a finding says with what the command line of the
// same version says about real images, with both real databases. PRATIQUE_TEST_DATA names the data,
// PRATIQUE_TRIVY the program.
func TestFindingsAgainstCommandLine(t *testing.T) {
	data, binary := os.Getenv("PRATIQUE_TEST_DATA"), os.Getenv("PRATIQUE_TRIVY")
	if data == "" || binary == "" {
		t.Skip("PRATIQUE_TEST_DATA or PRATIQUE_TRIVY is not set")
	}
	s := newScanner(t)
	for _, db := range []string{"db-a", "db-b"} {
		dir := unpackDB(t, data, "trivy-"+db+":2")
		cache := t.TempDir()
		if err := os.Symlink(dir, filepath.Join(cache, "db")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"base", "app-go", "app-node", "app-clean", "app-flip",
			"alpine-syn"} {
			t.Run(name+" with "+db, func(t *testing.T) {
				images := filepath.Join(data, "images")
				want := reported(t, binary, cache, imagetest.Single(t, images, name+":1"))
				analysis, err := s.Analyze(t.Context(), imagetest.Load(t, images, name+":1"), nil)
				if err != nil {
					t.Fatal(err)
				}
				report, err := s.Match(t.Context(), analysis.Inventory,
					scanner.DatabaseDir{Dir: dir, Database: pratique.Database{Version: 2}})
				if err != nil {
					t.Fatal(err)
				}
				got := slices.Clone(report.Findings)
				for i := range got {
					// The command line names the image in the target, and its package URLs are not
					// in BOM references.
					got[i].Target, got[i].PURL = "", ""
				}
				byFinding(got)
				if diff := gocmp.Diff(want, got, digests, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("(-command line +here)\n%s", diff)
				}
			})
		}
	}
}

// runTrivy runs the command line over the image in a layout.
func runTrivy(t *testing.T, binary, layout string, arguments ...string) types.Report {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report.json")
	arguments = append([]string{
		"image", "--input", layout, "--skip-db-update", "--skip-java-db-update",
		"--skip-check-update", "--skip-version-check",
		"--offline-scan", "--format", "json", "--output", out,
	}, arguments...)
	if said, err := exec.CommandContext(t.Context(), binary, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var report types.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

// reported are the findings that Trivy prints about the image in a layout.
func reported(t *testing.T, binary, cache, layout string) []pratique.Finding {
	t.Helper()
	report := runTrivy(t, binary, layout, "--scanners", "vuln", "--cache-dir", cache)
	var all []pratique.Finding
	for _, r := range report.Results {
		for _, v := range r.Vulnerabilities {
			f, err := toFinding(r, v)
			if err != nil {
				t.Fatal(err)
			}
			f.Target, f.PURL = "", ""
			all = append(all, f)
		}
	}
	byFinding(all)
	return all
}

func byFinding(all []pratique.Finding) {
	slices.SortFunc(all, func(a, b pratique.Finding) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.Installed, b.Installed),
			cmp.Compare(a.Type, b.Type), cmp.Compare(a.Path, b.Path), cmp.Compare(a.UID, b.UID))
	})
}
