package attest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/attest/attesttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a statement with testdata/name.json, indented for readers.
func golden(t *testing.T, name string, st pratique.Statement) {
	t.Helper()
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s (-want +got); if it is meant, run the test with -update:\n%s", path, diff)
	}
}

func digest(s string) pratique.Digest { return pratique.DigestOf([]byte(s)) }

func report() pratique.Report {
	return pratique.Report{
		Scanner: pratique.Tool{Name: "trivy", Version: "0.72.0"}, Inventory: digest("inventory"),
		ScannedAt: attesttest.EvaluatedAt(),
		Database: pratique.Database{Digest: digest("db"), Version: 2,
			UpdatedAt:  attesttest.EvaluatedAt().Add(-90 * time.Minute),
			NextUpdate: attesttest.EvaluatedAt().Add(4 * time.Hour), Source: "registry.test/trivy-db:2"},
		DatabaseAgeSeconds: 5400,
		OS:                 pratique.OS{Family: "debian", Name: "12.5"},
		Findings: []pratique.Finding{
			{ID: "GHSA-1", Package: "lodash", Installed: "4.0.0", Severity: pratique.SeverityLow,
				Class: pratique.ClassLanguage, Type: "node-pkg",
				Target: "Node.js", Path: "app/node_modules/lodash/package.json",
				PURL: "pkg:npm/lodash@4.0.0", UID: "u2"},
			{ID: "CVE-2026-2", Package: "zlib1g", Installed: "1.2.13", Status: "will_not_fix",
				Severity: pratique.SeverityUnknown,
				Class:    pratique.ClassOS, Type: "debian",
				Target: "registry.test/team/app (debian 12.5)"},
			{ID: "CVE-2026-1", Aliases: []string{"DSA-1"}, Package: "libssl3",
				PackageID: "libssl3@3.0.1", PURL: "pkg:deb/debian/libssl3@3.0.1", UID: "u1",
				Installed: "3.0.1", Fixed: "3.0.2", Status: "fixed",
				Severity: pratique.SeverityCritical, SeveritySource: "nvd",
				Class: pratique.ClassOS, Type: "debian",
				Target: "registry.test/team/app (debian 12.5)", Title: "a <title>", Description: "long",
				PrimaryURL: "https://avd.test/1", References: []string{"https://a.test",
					"https://b.test"}, CWEs: []string{"CWE-79"},
				CVSS: map[string]pratique.CVSS{"nvd": {V3Vector: "CVSS:3.1/AV:N",
					V3Score: 9.8}, "ghsa": {V40Score: 9.1}},
				Published:  attesttest.EvaluatedAt().Add(-time.Hour),
				Modified:   attesttest.EvaluatedAt().Add(-time.Minute),
				DataSource: pratique.DataSource{ID: "debian", Name: "Debian", URL: "https://d.test"},
				Layer:      pratique.LayerID{Digest: digest("layer"), DiffID: digest("diff")}},
		},
	}
}

func TestSPDX(t *testing.T) {
	document := []byte(`{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"app","packages":[{"name":"a"}]}`)
	st, err := attest.SPDX(attesttest.Subject(), document)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "spdx", st)
	if !bytes.Equal(st.Predicate, document) {
		t.Error("the predicate is not the document")
	}
}

func TestCycloneDX(t *testing.T) {
	st, err := attest.CycloneDX(attesttest.Subject(),
		[]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "cyclonedx", st)
}

func TestDocumentsOfTheWrongKind(t *testing.T) {
	noDigest := attesttest.Subject()
	noDigest.Digest = pratique.Digest{}
	for name, c := range map[string]struct {
		make     func(pratique.Subject, []byte) (pratique.Statement, error)
		subject  pratique.Subject
		document string
	}{
		"empty":   {attest.SPDX, attesttest.Subject(), ``},
		"no JSON": {attest.SPDX, attesttest.Subject(), `x`},
		"list":    {attest.SPDX, attesttest.Subject(), `[]`},
		"CycloneDX": {attest.SPDX, attesttest.Subject(),
			`{"bomFormat":"CycloneDX","specVersion":"1.6"}`},
		"SPDX 3": {attest.SPDX, attesttest.Subject(), `{"spdxVersion":"SPDX-3.0","SPDXID":"x"}`},
		"a name twice": {attest.SPDX, attesttest.Subject(),
			`{"spdxVersion":"SPDX-2.3","spdxVersion":"SPDX-2.3","SPDXID":"x"}`},
		"cut": {attest.SPDX, attesttest.Subject(), `{"spdxVersion":"SPDX-2.3","SPDXID":"x`},
		"no string": {attest.SPDX, attesttest.Subject(),
			`{"spdxVersion":"SPDX-2.3","SPDXID":{"a":1}}`},
		"no digest": {attest.SPDX, noDigest, `{"spdxVersion":"SPDX-2.3","SPDXID":"x"}`},
		"SPDX": {attest.CycloneDX, attesttest.Subject(),
			`{"spdxVersion":"SPDX-2.3","SPDXID":"x"}`},
		"no specVersion": {attest.CycloneDX, attesttest.Subject(), `{"bomFormat":"CycloneDX"}`},
	} {
		if _, err := c.make(c.subject, []byte(c.document)); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVulnerability(t *testing.T) {
	in := attest.VulnerabilityInput{
		Subject: attesttest.Subject(), Report: report(),
		StartedAt: attesttest.EvaluatedAt().Add(-time.Second), Builder: "https://pratique.test",
		Event: "event-1",
	}
	st, err := attest.Vulnerability(in)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "vulnerability", st)

	shuffled := in
	shuffled.Report.Findings = slices.Clone(in.Report.Findings)
	slices.Reverse(shuffled.Report.Findings)
	again, err := attest.Vulnerability(shuffled)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(st.Predicate, again.Predicate) {
		t.Error("the order of the findings changes the statement")
	}
}

func TestVulnerabilityRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*pratique.Report){
		"no database":  func(r *pratique.Report) { r.Database.Digest = pratique.Digest{} },
		"no inventory": func(r *pratique.Report) { r.Inventory = pratique.Digest{} },
		"no time":      func(r *pratique.Report) { r.ScannedAt = time.Time{} },
	} {
		r := report()
		spoil(&r)
		if _, err := attest.Vulnerability(attest.VulnerabilityInput{Subject: attesttest.Subject(),
			Report: r}); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
