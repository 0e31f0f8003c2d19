package scanner

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

type memory map[pratique.Digest][]byte

func (m memory) Get(_ context.Context, d pratique.Digest) ([]byte, error) {
	content, ok := m[d]
	if !ok {
		return nil, pratique.Errorf(pratique.NotFound, "get document", "%s", d)
	}
	return content, nil
}

func (m memory) put(content []byte) pratique.Digest {
	d := pratique.DigestOf(content)
	m[d] = content
	return d
}

// TestListsAreShared: two images on one base store it once, and an image is put together from its
// own lists.
func TestListsAreShared(t *testing.T) {
	base := pratique.PackageList{Class: pratique.ClassOS, Type: "debian",
		Packages: []pratique.Package{{Name: "bash", Version: "5"}}}
	docs, stored := memory{}, 0
	for _, app := range []string{"one", "two"} {
		inv := pratique.Inventory{Scanner: pratique.Tool{Name: "trivy"},
			OS: pratique.OS{Family: "debian", Name: "12"}, Lists: []pratique.PackageList{
				base, {Class: pratique.ClassLanguage, Type: "node-pkg",
					Packages: []pratique.Package{{Name: app}}},
			}}
		whole, lists, err := SplitInventory(inv)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range append(lists, whole) {
			docs.put(d.Content)
			stored++
		}
		if digest, err := InventoryDigest(inv); err != nil || digest != whole.Digest {
			t.Errorf("digest %v, %v", digest, err)
		}
		joined, err := LoadInventory(t.Context(), docs, whole.Digest)
		if err != nil || joined.Packages() != 2 || joined.Lists[1].Packages[0].Name != app ||
			joined.OS != inv.OS || joined.Scanner != inv.Scanner {
			t.Errorf("%+v, %v", joined, err)
		}
	}
	if stored != 6 || len(docs) != 5 {
		t.Errorf("%d documents of %d", len(docs), stored)
	}
}

// TestWholeDocumentsAreRefused: what an early version wrote must give an error and not a report
// without findings.
func TestWholeDocumentsAreRefused(t *testing.T) {
	docs := memory{}
	encode := func(v any) pratique.Digest {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return docs.put(raw)
	}
	finding := []pratique.Finding{{ID: "CVE-1"}}
	list := []pratique.PackageList{{Class: pratique.ClassOS}}
	for name, load := range map[string]func() error{
		"report": func() error {
			_, err := LoadReport(t.Context(), docs,
				pratique.Scanned{Report: encode(pratique.Report{Findings: finding})})
			return err
		},
		"empty report": func() error {
			_, err := LoadReport(t.Context(), docs, pratique.Scanned{Report: encode(pratique.Report{})})
			return err
		},
		"inventory": func() error {
			_, err := LoadInventory(t.Context(), docs, encode(pratique.Inventory{Lists: list}))
			return err
		},
		"empty inventory": func() error {
			_, err := LoadInventory(t.Context(), docs, encode(pratique.Inventory{}))
			return err
		},
		"findings": func() error {
			_, _, err := LoadFindings(t.Context(), docs, encode(finding))
			return err
		},
		"something else": func() error {
			_, err := LoadReport(t.Context(), docs, pratique.Scanned{Report: docs.put([]byte("{"))})
			return err
		},
		"report as another": func() error {
			_, err := LoadInventory(t.Context(), docs, encode(map[string]string{"format": formatReport}))
			return err
		},
	} {
		if err := load(); pratique.KindOf(err) != pratique.Corrupt ||
			!strings.Contains(err.Error(), "push or submit the image again") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadReport(t.Context(), docs,
		pratique.Scanned{Report: pratique.DigestOf([]byte("gone"))}); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("a document that is gone: %v", err)
	}
}

// TestReportHasNoMoment: the same match is the same document on every machine and at any time, and a
// report is read with the time of its fact.
func TestReportHasNoMoment(t *testing.T) {
	docs := memory{}
	built := time.Date(2026, 8, 1, 6, 0, 0, 0, time.UTC)
	report := func(zone string, hours int, source string) pratique.Report {
		at := built.Add(time.Duration(hours) * time.Hour)
		return pratique.Report{
			Scanner: pratique.Tool{Name: "trivy"}, Inventory: pratique.DigestOf([]byte("inventory")),
			Database: pratique.Database{
				Digest: pratique.DigestOf([]byte("db")), Version: 2,
				UpdatedAt:  built.In(time.FixedZone(zone, 3600*hours)),
				NextUpdate: built.Add(time.Hour), DownloadedAt: at, Source: source,
			},
			ScannedAt: at, DatabaseAgeSeconds: int64(3600 * hours),
		}
	}
	one, other := report("A", 2, "mirror.test"), report("B", 5, "registry.test")
	doc, err := ReportDocument(one, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ReportDocument(other, nil); err != nil || again.Digest != doc.Digest {
		t.Errorf("%s\n%s, %v", doc.Content, again.Content, err)
	}
	back, err := LoadReport(t.Context(), docs, pratique.Scanned{
		Report: docs.put(doc.Content), Database: other.Database, StartedAt: built,
		ScannedAt: other.ScannedAt,
	})
	if err != nil || back.ScannedAt != other.ScannedAt ||
		back.DatabaseAgeSeconds != other.DatabaseAgeSeconds ||
		back.Database.Source != other.Database.Source ||
		back.Database.DownloadedAt != other.Database.DownloadedAt {
		t.Errorf("%+v, %v", back, err)
	}
}
