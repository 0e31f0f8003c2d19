package scanner

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

func covered() *pratique.Coverage {
	return &pratique.Coverage{
		OS: pratique.OSCoverage{Family: "debian", Version: "12", Packages: 2, Known: true,
			EndOfLifeAt: time.Unix(9, 0).UTC()},
		Unmatched: []pratique.Unmatched{{Class: pratique.ClassOS, Type: "debian", Packages: 2,
			Reason: pratique.UnmatchedNoAdvisories}},
	}
}

// TestFindingsSayWhatWasCovered: an earlier format, which did not, is refused.
func TestFindingsSayWhatWasCovered(t *testing.T) {
	docs := memory{}
	list := docs.put([]byte(`{"format":"pratique.findings/3"}`))
	if found, cover, err := LoadFindings(t.Context(), docs,
		list); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("%v, %v, %v", found, cover, err)
	}
	made, err := FindingsDocuments(pratique.Report{Coverage: covered()})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := ReportDocument(pratique.Report{}, []pratique.Digest{docs.put(made[0].Content), list})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := LoadReport(t.Context(), docs,
		pratique.Scanned{Report: docs.put(whole.Content)}); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("a report of which a list is of an earlier format: %v, %v", r.Coverage, err)
	}
	if _, err := FindingsDocuments(pratique.Report{}); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("findings that do not say what was covered are stored: %v", err)
	}
}

// TestReportsSayWhatWasCovered: it is put together from the lists, and support ends by itself.
func TestReportsSayWhatWasCovered(t *testing.T) {
	docs := memory{}
	applications := pratique.Coverage{Unmatched: []pratique.Unmatched{{Class: pratique.ClassLanguage, Type: "conda-pkg", Path: "x", Packages: 1, Reason: pratique.UnmatchedUnsupported}}}
	var lists []pratique.Digest
	for _, c := range []*pratique.Coverage{covered(), &applications} {
		made, err := FindingsDocuments(pratique.Report{Coverage: c})
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, docs.put(made[0].Content))
	}
	for at, ended := range map[int64]bool{8: false, 9: true} {
		doc, err := ReportDocument(pratique.Report{}, lists)
		if err != nil {
			t.Fatal(err)
		}
		r, err := LoadReport(t.Context(), docs, pratique.Scanned{Report: docs.put(doc.Content),
			ScannedAt: time.Unix(at, 0).UTC()})
		if err != nil {
			t.Fatal(err)
		}
		want := covered()
		want.OS.EndOfLife, want.Unmatched = ended, append(want.Unmatched, applications.Unmatched...)
		if diff := cmp.Diff(want, r.Coverage); diff != "" {
			t.Errorf("after %d seconds (-want +got)\n%s", at, diff)
		}
	}
}

// TestCores: findings come back whole, and the details of a vulnerability are stored once.
func TestCores(t *testing.T) {
	full := pratique.Finding{
		ID: "CVE-1", Aliases: []string{"DSA-1"}, Package: "libc6", Installed: "1", Fixed: "2",
		Severity: pratique.SeverityHigh, Class: pratique.ClassOS,
		Title: "two\nlines", Description: "said \u2028 once <b>", PrimaryURL: "https://x.test",
		References: []string{"https://y.test"}, CWEs: []string{"CWE-1"},
		CVSS:      map[string]pratique.CVSS{"nvd": {V3Score: 9.8}, "ghsa": {V2Score: 1}},
		Published: time.Unix(1, 5).UTC(), Modified: time.Unix(2, 0).UTC(),
		DataSource: pratique.DataSource{ID: "debian"},
		Layer:      pratique.LayerID{Digest: pratique.DigestOf([]byte("layer"))},
	}
	other := full
	other.Package = "libc-bin"
	for name, findings := range map[string][]pratique.Finding{
		"none": {}, "bare": {{ID: "CVE-2"}}, "shared": {full, other}, "mixed": {full, {ID: "CVE-2"},
			other},
	} {
		docs := memory{}
		made, err := FindingsDocuments(pratique.Report{Findings: findings, Coverage: covered()})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range made {
			docs.put(d.Content)
			if n := bytes.Count(d.Content, []byte("said")); n > 1 {
				t.Errorf("%s: it is said %d times", name, n)
			}
		}
		doc := made[len(made)-1]
		back, cover, err := LoadFindings(t.Context(), docs, doc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		have, _ := json.Marshal(back)
		want, _ := json.Marshal(findings)
		if !bytes.Equal(have, want) {
			t.Errorf("%s: %s\nwant %s", name, have, want)
		}
		if diff := cmp.Diff(covered(), cover); diff != "" {
			t.Errorf("%s: what was covered (-want +got)\n%s", name, diff)
		}
		found, cover, err := LoadCores(t.Context(), docs, doc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeFindings(found, cover)
		if err != nil || len(again) != len(made) || again[len(made)-1].Digest != doc.Digest {
			t.Errorf("%s: other documents of the same cores: %s, %v", name, again, err)
		}
	}
}

// TestFindingsThatLackDetails are no findings.
func TestFindingsThatLackDetails(t *testing.T) {
	const head = `{"format":"` + formatCores +
		`","findings":[{"id":"CVE-1","package":"p","installed":"1","severity":"HIGH","class":"os-pkgs","type":"t","details":`
	for _, content := range []string{
		head + "0}]}", head + "1}]}\n{}", head + "-1}]}\n{}", head + "0}]}\n", head + "0}]}\nnull",
		head + "0}]}\n{",
	} {
		docs := memory{}
		doc, err := encodeListFindings(ListFindings{Cores: docs.put([]byte(content)),
			Locations: make([]Location, 1), Coverage: covered()})
		if err != nil {
			t.Fatal(err)
		}
		if all, _, err := LoadFindings(t.Context(), docs,
			docs.put(doc.Content)); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v, %v", content, all, err)
		}
	}
}

// TestFindingsAreShared: what is found in two builds is stored once, and each has its own locations.
func TestFindingsAreShared(t *testing.T) {
	docs, stored := memory{}, 0
	for _, build := range []string{"one", "two"} {
		layer := func(name string) pratique.LayerID {
			return pratique.LayerID{DiffID: pratique.DigestOf([]byte(build + name))}
		}
		findings := []pratique.Finding{
			{ID: "CVE-1", Package: "a", UID: build + "1", Layer: layer("base"), Title: "long"},
			{ID: "CVE-2", Package: "b", UID: build + "2", Layer: layer("app")},
			{ID: "CVE-3", Package: "c", Layer: layer("base")},
		}
		made, err := FindingsDocuments(pratique.Report{Findings: findings, Coverage: covered()})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range made {
			docs.put(d.Content)
			stored++
		}
		back, _, err := LoadFindings(t.Context(), docs, made[len(made)-1].Digest)
		have, _ := json.Marshal(back)
		if want, _ := json.Marshal(findings); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s, %v\nwant %s", have, err, want)
		}
	}
	if stored != 4 || len(docs) != 3 {
		t.Errorf("%d documents of %d", len(docs), stored)
	}
}

// TestMislocatedFindings are damage, and never fewer findings or ones without a location.
func TestMislocatedFindings(t *testing.T) {
	docs := memory{}
	made, err := FindingsDocuments(pratique.Report{Findings: []pratique.Finding{{ID: "CVE-1"},
		{ID: "CVE-2"}}, Coverage: covered()})
	if err != nil {
		t.Fatal(err)
	}
	shared := docs.put(made[0].Content).String()
	for name, content := range map[string]string{
		"too few locations": `"shared":"` + shared + `","layers":[{}],"in":[0],"uids":["x"]`,
		"too many":          `"shared":"` + shared + `","layers":[{}],"in":[0,0,0],"uids":["x","y","z"]`,
		"uid missing":       `"shared":"` + shared + `","layers":[{}],"in":[0,0],"uids":["x"]`,
		"no such layer":     `"shared":"` + shared + `","layers":[{}],"in":[0,1],"uids":["x","y"]`,
		"below zero":        `"shared":"` + shared + `","layers":[{}],"in":[0,-1],"uids":["x","y"]`,
		"no locations":      `"shared":"` + shared + `"`,
		"nothing found":     `"layers":[{}],"in":[0,0],"uids":["x","y"]`,
	} {
		d := docs.put([]byte(`{"format":"` + formatFindings + `",` + content + `}`))
		if all, _, err := LoadFindings(t.Context(), docs, d); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	delete(docs, made[0].Digest)
	if _, _, err := LoadFindings(t.Context(), docs,
		docs.put(made[1].Content)); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("what was found is gone: %v", err)
	}
}
