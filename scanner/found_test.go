package scanner

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestFindingsInPieces: what is put together is what was cut, and what is said of a vulnerability is stored once.
func TestFindingsInPieces(t *testing.T) {
	full := pratique.Finding{
		ID: "CVE-1", Aliases: []string{"DSA-1"}, Package: "libc6", Installed: "1", Fixed: "2", Severity: pratique.SeverityHigh, Class: pratique.ClassOS,
		Title: "two\nlines", Description: "said \u2028 once <b>", PrimaryURL: "https://x.test", References: []string{"https://y.test"}, CWEs: []string{"CWE-1"},
		CVSS: map[string]pratique.CVSS{"nvd": {V3Score: 9.8}, "ghsa": {V2Score: 1}}, Published: time.Unix(1, 5).UTC(), Modified: time.Unix(2, 0).UTC(),
		DataSource: pratique.DataSource{ID: "debian"}, Layer: pratique.LayerID{Digest: pratique.DigestOf([]byte("layer"))},
	}
	other := full
	other.Package = "libc-bin"
	for name, findings := range map[string][]pratique.Finding{
		"none": {}, "bare": {{ID: "CVE-2"}}, "shared": {full, other}, "mixed": {full, {ID: "CVE-2"}, other},
	} {
		docs := memory{}
		made, err := FindingsDocuments(findings)
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
		back, err := LoadFindings(t.Context(), docs, doc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		have, _ := json.Marshal(back)
		want, _ := json.Marshal(findings)
		if !bytes.Equal(have, want) {
			t.Errorf("%s: %s\nwant %s", name, have, want)
		}
		found, err := LoadFound(t.Context(), docs, doc.Digest)
		if err != nil {
			t.Fatal(err)
		}
		again, err := FoundDocuments(found)
		if err != nil || len(again) != len(made) || again[len(made)-1].Digest != doc.Digest {
			t.Errorf("%s: other documents of the same pieces: %s, %v", name, again, err)
		}
	}
}

// TestFindingsThatLackDetails are no findings.
func TestFindingsThatLackDetails(t *testing.T) {
	const head = `{"format":"` + formatShared + `","findings":[{"id":"CVE-1","package":"p","installed":"1","severity":"HIGH","class":"os-pkgs","type":"t","details":`
	for _, content := range []string{
		head + "0}]}", head + "1}]}\n{}", head + "-1}]}\n{}", head + "0}]}\n", head + "0}]}\nnull", head + "0}]}\n{",
	} {
		docs := memory{}
		doc, err := PlacedDocument(docs.put([]byte(content)), make([]Place, 1))
		if err != nil {
			t.Fatal(err)
		}
		if all, err := LoadFindings(t.Context(), docs, docs.put(doc.Content)); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v, %v", content, all, err)
		}
	}
}

// TestFindingsAreShared: what is found in two builds is stored once, and each has its own places.
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
		made, err := FindingsDocuments(findings)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range made {
			docs.put(d.Content)
			stored++
		}
		back, err := LoadFindings(t.Context(), docs, made[len(made)-1].Digest)
		have, _ := json.Marshal(back)
		if want, _ := json.Marshal(findings); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s, %v\nwant %s", have, err, want)
		}
	}
	if stored != 4 || len(docs) != 3 {
		t.Errorf("%d documents of %d", len(docs), stored)
	}
}

// TestMisplacedFindings are damage, and never fewer findings or ones without a place.
func TestMisplacedFindings(t *testing.T) {
	docs := memory{}
	made, err := FindingsDocuments([]pratique.Finding{{ID: "CVE-1"}, {ID: "CVE-2"}})
	if err != nil {
		t.Fatal(err)
	}
	shared := docs.put(made[0].Content).String()
	for name, content := range map[string]string{
		"too few places": `"shared":"` + shared + `","layers":[{}],"in":[0],"uids":["x"]`,
		"too many":       `"shared":"` + shared + `","layers":[{}],"in":[0,0,0],"uids":["x","y","z"]`,
		"uid missing":    `"shared":"` + shared + `","layers":[{}],"in":[0,0],"uids":["x"]`,
		"no such layer":  `"shared":"` + shared + `","layers":[{}],"in":[0,1],"uids":["x","y"]`,
		"below zero":     `"shared":"` + shared + `","layers":[{}],"in":[0,-1],"uids":["x","y"]`,
		"no places":      `"shared":"` + shared + `"`,
		"nothing found":  `"layers":[{}],"in":[0,0],"uids":["x","y"]`,
	} {
		d := docs.put([]byte(`{"format":"` + formatFindings + `",` + content + `}`))
		if all, err := LoadFindings(t.Context(), docs, d); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	delete(docs, made[0].Digest)
	if _, err := LoadFindings(t.Context(), docs, docs.put(made[1].Content)); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("what was found is gone: %v", err)
	}
}
