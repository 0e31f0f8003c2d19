//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/scanner"
)

// memory is a store of documents.
type memory map[pratique.Digest][]byte

func (m memory) Get(_ context.Context, d pratique.Digest) ([]byte, error) {
	content, ok := m[d]
	if !ok {
		return nil, pratique.Errorf(pratique.NotFound, "get document", "%s", d)
	}
	return content, nil
}

func (m memory) put(d scanner.Document) pratique.Digest {
	m[d.Digest] = d.Content
	return d.Digest
}

// checkParts stores the inventory in parts, matches each of them by itself, and wants the very
// bytes of the report that matching the whole inventory gave. It returns the digests of the parts.
func checkParts(t *testing.T, s *Scanner, inv pratique.Inventory, db scanner.DatabaseDir,
	whole pratique.Report) []pratique.Digest {
	t.Helper()
	docs := memory{}
	named, parts, err := scanner.SplitInventory(inv)
	if err != nil {
		t.Fatal(err)
	}
	docs.put(named)
	var digests, findings []pratique.Digest
	for _, p := range parts {
		digests = append(digests, docs.put(p))
		part, err := scanner.LoadList(t.Context(), docs, p.Digest)
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.Match(t.Context(), part, db)
		if err != nil {
			t.Fatal(err)
		}
		found, err := scanner.FindingsDocuments(report)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			docs.put(d)
		}
		findings = append(findings, found[len(found)-1].Digest)
	}
	joined, err := scanner.LoadInventory(t.Context(), docs, named.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if have, want := encoded(t, joined), encoded(t, inv); have != want {
		t.Errorf("the inventory put together is not the one that was split:\n%s\n%s", have, want)
	}
	if whole.Inventory != named.Digest {
		t.Errorf("the report names inventory %s, it is stored as %s", whole.Inventory, named.Digest)
	}
	doc, err := scanner.ReportDocument(whole, findings)
	if err != nil {
		t.Fatal(err)
	}
	report, err := scanner.LoadReport(t.Context(), docs, pratique.Scanned{Report: docs.put(doc),
		Database: whole.Database, ScannedAt: whole.ScannedAt})
	if err != nil {
		t.Fatal(err)
	}
	if have, want := encoded(t, report), encoded(t, whole); have != want {
		t.Errorf("the reports on the parts put together are not the report on the whole:\n%s\n%s",
			have, want)
	}
	return digests
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestPartsGiveTheWhole(t *testing.T) {
	s := newScanner(t)
	db := buildDB(t, advisories())
	library := imagetest.Files{"app/lib.jar": jar(t, map[string]string{
		"META-INF/maven/org.example/lib/pom.properties": "groupId=org.example\nartifactId=lib\nversion=1.2\n",
	})}
	found := 0
	var bases []pratique.Digest
	for name, img := range map[string][]imagetest.Files{
		"debian": {debianBase()}, "debian and node": {debianBase(), nodeLayer()}, "node": {nodeLayer()},
		"debian, node and java": {debianBase(), nodeLayer(), library}, "nothing": {{"etc/motd": "hello"}},
	} {
		inv := analyze(t, imagetest.Build(t, img...))
		whole, err := s.Match(t.Context(), inv, db)
		if err != nil {
			t.Fatal(name, err)
		}
		found += len(whole.Findings)
		parts := checkParts(t, s, inv, db, whole)
		if inv.OS.Family != "" && !slices.Contains(bases, parts[0]) {
			bases = append(bases, parts[0])
		}
	}
	if found < 5 {
		t.Errorf("only %d findings: this compares little", found)
	}
	if len(bases) != 1 {
		t.Errorf("one base, stored %d times", len(bases))
	}
}

// TestForeignPackagesStayWithTheDistributions: what a distribution did not make, as it says, is
// matched like the rest, and can decide whose advisories hold, so it must not be cut off.
func TestForeignPackagesStayWithTheDistributions(t *testing.T) {
	inv := pratique.Inventory{
		Scanner: Tool(), OS: pratique.OS{Family: "debian", Name: "12.5"},
		Lists: []pratique.PackageList{
			{Class: pratique.ClassOS, Type: "debian",
				Packages: []pratique.Package{{Name: "openssl", Version: "3.0.9", SrcName: "openssl",
					SrcVersion: "3.0.9"}}},
			{Class: pratique.ClassOS, Type: typeThirdParty,
				Packages: []pratique.Package{{Name: "docker-ce", Version: "1", SrcName: "docker-ce",
					SrcVersion: "1"}}},
			{Class: pratique.ClassLanguage, Type: "node-pkg",
				Packages: []pratique.Package{{Name: "lodash", Version: "4.17.20"}}},
		},
	}
	if parts := scanner.SplitLists(inv); len(parts) != 2 || len(parts[0].Lists) != 2 ||
		parts[1].OS.Family != "" {
		t.Errorf("parts %+v", parts)
	}
	db := buildDB(t, advisories())
	whole := matchWith(t, inv, db)
	if len(whole.Findings) != 3 {
		t.Errorf("%d findings", len(whole.Findings))
	}
	checkParts(t, newScanner(t), inv, db, whole)
}
