package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var today = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// example has what there is: distribution and application, several lists, no version that mends,
// words of the vendor, no severity, a package twice in one place, and text that speaks to
// terminals.
func example() Scan {
	subject := pratique.Subject{Repository: pratique.Repository{Registry: "registry.example.com",
		Path: "team/app"}, Digest: pratique.DigestOf([]byte("manifest"))}
	openssl := pratique.Finding{
		ID: "CVE-2026-0001", Package: "libssl3", PURL: "pkg:deb/debian/libssl3@3.0.9-1",
		Installed: "3.0.9-1", Fixed: "3.0.14-1~deb12u2", Status: "fixed",
		Severity: pratique.SeverityCritical, SeveritySource: "nvd", Class: pratique.ClassOS,
		Type: "debian", Target: "debian 12.5",
		Title: "openssl: something long enough to be cut where the terminal ends, and then some more of it", Description: "All of it.\nIn two lines.",
		PrimaryURL: "https://avd.aquasec.com/nvd/cve-2026-0001", CWEs: []string{"CWE-787"},
		CVSS: map[string]pratique.CVSS{"nvd": {V3Score: 9.8,
			V3Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}},
	}
	tool := openssl
	tool.Package, tool.PURL = "openssl", "pkg:deb/debian/openssl@3.0.9-1"
	wont := pratique.Finding{
		ID: "CVE-2025-0002", Package: "zlib1g", Installed: "1:1.2.13.dfsg-1",
		Status: "will_not_fix", Severity: pratique.SeverityLow,
		Class: pratique.ClassOS, Type: "debian", Target: "debian 12.5",
	}
	lodash := pratique.Finding{
		ID: "GHSA-aaaa-bbbb-cccc", Package: "lodash", Installed: "4.17.20", Fixed: "4.17.21",
		Status: "fixed", Severity: pratique.SeverityHigh,
		SeveritySource: "ghsa", Class: pratique.ClassLanguage, Type: "node-pkg", Target: "Node.js",
		Path:       "srv/node_modules/lodash/package.json",
		Title:      "lodash: \x1b[31mred\nalert",
		PrimaryURL: "https://github.com/advisories/GHSA-aaaa-bbbb-cccc",
		// the source's word and number differ
		CVSS: map[string]pratique.CVSS{"ghsa": {V3Score: 5.0}},
	}
	older := lodash
	older.Installed, older.Severity = "4.17.10", pratique.SeverityMedium
	stdlib := pratique.Finding{
		ID: "CVE-2026-0003", Package: "stdlib", Installed: "v1.21.0", Fixed: "1.22.1, 1.21.8",
		Status: "fixed", Severity: pratique.SeverityUnknown,
		Class: pratique.ClassLanguage, Type: "gobinary", Target: "app/my tool:1", Path: "app/my tool:1",
	}
	report := pratique.Report{
		Scanner:   pratique.Tool{Name: "trivy", Version: "v0.72.0"},
		Inventory: pratique.DigestOf([]byte("inventory")),
		Database: pratique.Database{Digest: pratique.DigestOf([]byte("database")), Version: 2,
			UpdatedAt: today.Add(-5 * time.Hour)},
		ScannedAt: today, DatabaseAgeSeconds: 5 * 3600, OS: pratique.OS{Family: "debian", Name: "12.5"},
		Findings: []pratique.Finding{openssl, tool, lodash, older, wont, stdlib},
	}
	sections := pratique.Extras{
		Kinds: pratique.ExtraKinds(), Misconfigurations: []pratique.Misconfiguration{},
		Secrets: []pratique.Secret{
			{Rule: "generic", Title: "Something", Severity: pratique.SeverityHigh, Match: "TOKEN=*****"},
			{Rule: "aws-access-key-id", Category: "AWS", Title: "AWS Access Key ID",
				Severity: pratique.SeverityCritical, Path: "app/.env", StartLine: 3, EndLine: 3,
				Match: "AWS_ACCESS_KEY_ID=\x1b********************"},
			{Rule: "aws-access-key-id", Category: "AWS", Title: "AWS Access Key ID",
				Severity: pratique.SeverityCritical, Path: "app/.env", StartLine: 9, EndLine: 11,
				Match: "KEY=********************"},
		},
		Licenses: []pratique.License{
			{Name: "MIT", Category: "notice", Severity: pratique.SeverityLow, Package: "lodash",
				Path: "srv/node_modules/lodash/package.json"},
			{Name: "GPL-3.0-only", Category: "restricted", Severity: pratique.SeverityHigh,
				Package: "bash"},
		},
	}
	bare := pratique.Extras{Kinds: []pratique.ExtraKind{pratique.ExtraSecrets,
		pratique.ExtraMisconfigurations}, Misconfigurations: []pratique.Misconfiguration{{
		ID: "DS-0002", Type: "dockerfile", Title: "Image user should not be 'root'",
		Description: "Running as root.", Message: "Specify at least 1 USER command",
		Resolution: "Add 'USER <name>'", Severity: pratique.SeverityHigh,
		PrimaryURL: "https://avd.aquasec.com/misconfig/ds-0002",
	}}}
	report.Coverage = &pratique.Coverage{
		OS: pratique.OSCoverage{Family: "debian", Version: "12.5", Packages: 88, Known: true,
			Supported: true, EndOfLifeAt: time.Date(2028, 6, 10, 23, 59, 59, 0, time.UTC)},
		Unmatched: []pratique.Unmatched{
			{Class: pratique.ClassOS, Type: "third-party", Packages: 1,
				Reason: pratique.UnmatchedThirdParty},
			{Class: pratique.ClassLanguage, Type: "conda-pkg", Path: "opt/\x1b[31mconda",
				Packages: 7, Reason: pratique.UnmatchedUnsupported},
			{Class: pratique.ClassLanguage, Type: "node-pkg", Name: "mini\x1b[31mmist",
				Version: "v1\n2", Packages: 1, Reason: pratique.UnmatchedVersion},
			{Class: pratique.ClassLanguage, Type: "gobinary", Path: "bin/x",
				Name: "sealsecurity.io/x", Packages: 1, Reason: pratique.UnmatchedSupplier},
		},
	}
	arm := subject.Sibling(pratique.DigestOf([]byte("arm")))
	clean := report
	clean.Findings = []pratique.Finding{}
	clean.Coverage = &pratique.Coverage{OS: pratique.OSCoverage{Family: "alpine", Version: "3.11",
		Known: true, Supported: true, EndOfLife: true, EndOfLifeAt: time.Date(2021, 11, 1, 23, 59,
			59, 0, time.UTC)}}
	return Scan{
		Ref: "registry.example.com/team/app:1", Subject: subject,
		Tool: pratique.Tool{Name: "pratique", Version: "v1.2.3"},
		Images: []Image{
			{Subject: subject, Config: pratique.ImageConfig{Platform: "linux/amd64", User: "65532"},
				Packages: 120, Report: report, Extras: &sections, Verdict: &Verdict{
					Outcome: pratique.Deny, Profile: pratique.Profile{Name: "default",
						Digest: pratique.DigestOf([]byte("policy"))},
					Reasons: []pratique.Reason{{Rule: "severity",
						Message: "CVE-2026-0001 in libssl3 is CRITICAL"}},
					Notes: []pratique.Reason{{Rule: "unknown", Message: "CVE-2026-0003 has no severity"}},
				}},
			{Subject: arm, Config: pratique.ImageConfig{Platform: "linux/arm64/v8"}, Packages: 1,
				Report: clean, Extras: &bare, Compared: pratique.Comparison{
					Total: 1, Differences: []pratique.Difference{{Type: "npm", Name: "lodash",
						Version: "4", Only: pratique.OnlySBOM}},
					Apart: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "deb",
						Path: "srv/tree/var/lib/dpkg/status", Packages: 3,
						Reason: pratique.UnmatchedElsewhere}},
				}},
		},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for file, write := range map[string]func(io.Writer, Scan) error{
		"wide.txt": func(w io.Writer, s Scan) error { return Table(w, s, Style{Now: today}) },
		"narrow.txt": func(w io.Writer, s Scan) error {
			return Table(w, s, Style{Now: today, Width: 120})
		},
		"tiny.txt": func(w io.Writer, s Scan) error {
			return Table(w, s, Style{Now: today, Width: 40, Color: true})
		},
		"scan.json":      JSON,
		"findings.sarif": SARIF,
	} {
		var first, second bytes.Buffer
		if err := write(&first, example()); err != nil {
			t.Fatal(err)
		}
		if err := write(&second, example()); err != nil || first.String() != second.String() {
			t.Errorf("%s: the second time it is another document: %v", file, err)
		}
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, first.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), first.String()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", file, diff)
		}
	}
}

// TestTableFits: no line is wider than the terminal, where there is room for the columns at all,
// and nothing from the image speaks to it.
func TestTableFits(t *testing.T) {
	t.Parallel()
	for _, width := range []int{0, 100, 120, 200} {
		var out strings.Builder
		if err := Table(&out, example(), Style{Now: today, Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := len([]rune(line)); width > 0 && n > width && strings.HasPrefix(line, "  ") {
				t.Errorf("width %d: %d columns: %s", width, n, line)
			}
			if strings.ContainsAny(line, "\x1b\r\a") {
				t.Errorf("control characters in %q", line)
			}
		}
		if width == 0 && !strings.Contains(out.String(), "and then some more of it") {
			t.Error("a file is cut")
		}
	}
}

// TestShortTitlesStay: a title that fits is not left out for being short.
func TestShortTitlesStay(t *testing.T) {
	t.Parallel()
	s := example()
	s.Images = s.Images[:1]
	s.Images[0].Report.Findings = []pratique.Finding{{ID: "CVE-1", Package: "a", Installed: "1",
		Title: "short", Severity: pratique.SeverityLow}}
	var out strings.Builder
	if err := Table(&out, s, Style{Now: today, Width: 80}); err != nil ||
		!strings.Contains(out.String(), "short") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestSARIFRules checks what the schema of SARIF 2.1.0 and GitHub ask for.
func TestSARIFRules(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := SARIF(&out, example()); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	decoder := json.NewDecoder(&out)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 2 || log.Runs[1].Results == nil ||
		log.Runs[1].Tool.Driver.Rules == nil {
		t.Errorf("version %s, %d runs", log.Version, len(log.Runs))
	}
	categories, marks := map[string]bool{}, map[string]bool{}
	for _, r := range log.Runs {
		categories[r.AutomationDetails.ID] = true
		ids := []string{}
		for _, rule := range r.Tool.Driver.Rules {
			ids = append(ids, rule.ID)
			if rule.ShortDescription.Text == "" || rule.FullDescription.Text == "" ||
				rule.Help.Text == "" ||
				!regexp.MustCompile(`^((10|[0-9])\.[0-9])?$`).MatchString(rule.Properties.SecuritySeverity) {
				t.Errorf("rule %+v", rule)
			}
			if u, err := url.Parse(rule.HelpURI); err != nil || (rule.HelpURI != "" && !u.IsAbs()) {
				t.Errorf("help at %q", rule.HelpURI)
			}
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
			t.Errorf("rules %v", ids)
		}
		for _, result := range r.Results {
			if ids[result.RuleIndex] != result.RuleID || result.Message.Text == "" ||
				len(result.Locations) != 1 ||
				!slices.Contains([]string{"error", "warning", "note"}, result.Level) {
				t.Errorf("result %+v", result)
			}
			location := result.Locations[0]
			if u, err := url.Parse(location.PhysicalLocation.ArtifactLocation.URI); err != nil ||
				u.IsAbs() || u.Path == "" || strings.HasPrefix(u.Path, "/") {
				t.Errorf("uri %q: %v", location.PhysicalLocation.ArtifactLocation.URI, err)
			}
			if location.PhysicalLocation.Region.StartLine < 1 || len(location.LogicalLocations) != 1 {
				t.Errorf("location %+v", location)
			}
			mark := result.PartialFingerprints[fingerprint]
			if mark == "" || marks[mark] {
				t.Errorf("fingerprint %q of %s", mark, result.RuleID)
			}
			marks[mark] = true
		}
	}
	if len(categories) != 2 {
		t.Errorf("categories %v", categories)
	}
}

// TestFingerprints: the next build of an image, with other digests and versions, has the same
// findings.
func TestFingerprints(t *testing.T) {
	t.Parallel()
	next := example()
	img := &next.Images[0]
	img.Subject.Digest = pratique.DigestOf([]byte("next"))
	img.Report.Findings = slices.Clone(img.Report.Findings)
	for i := range img.Report.Findings {
		f := &img.Report.Findings[i]
		f.Installed += ".1"
		f.Target = strings.Replace(f.Target, "12.5", "12.6", 1)
		f.Title = "told otherwise"
	}
	marks := func(s Scan) (all []string) {
		for _, r := range run(s, s.Images[0]).Results {
			all = append(all, r.PartialFingerprints[fingerprint])
		}
		return all
	}
	if diff := cmp.Diff(marks(example()), marks(next)); diff != "" {
		t.Error(diff)
	}
	other := example()
	other.Images[0].Subject.Repository.Path = "team/other"
	for i, mark := range marks(other) {
		if slices.Contains(marks(example()), mark) {
			t.Errorf("finding %d has the fingerprint of another image's", i)
		}
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		severity pratique.Severity
		cvss     float64
		want     string
	}{
		{pratique.SeverityCritical, 9.8, "9.8"}, {pratique.SeverityCritical, 5, "9.5"},
		{pratique.SeverityHigh, 8.1, "8.1"},
		{pratique.SeverityHigh, 0, "8.0"}, {pratique.SeverityMedium, 9.8, "5.5"},
		{pratique.SeverityLow, 3.1, "3.1"}, {pratique.SeverityUnknown, 9.8, ""},
	} {
		f := pratique.Finding{Severity: test.severity,
			CVSS: map[string]pratique.CVSS{"nvd": {V3Score: test.cvss}}}
		if got := score(f); got != test.want {
			t.Errorf("%s, CVSS %.1f: %s, want %s", test.severity, test.cvss, got, test.want)
		}
	}
	if got := fmt.Sprint(level(pratique.SeverityUnknown), level(pratique.SeverityMedium),
		level(pratique.SeverityCritical)); got != "notewarningerror" {
		t.Error(got)
	}
}
