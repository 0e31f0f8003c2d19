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
		doc, err := FindingsDocument(findings)
		if err != nil {
			t.Fatal(err)
		}
		docs.put(doc.Content)
		if n := bytes.Count(doc.Content, []byte("said")); n > 1 {
			t.Errorf("%s: it is said %d times", name, n)
		}
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
		again, err := FoundDocument(found)
		if err != nil || again.Digest != doc.Digest {
			t.Errorf("%s: another document of the same pieces: %s, %v", name, again.Content, err)
		}
	}
}

// TestFindingsThatLackDetails are no findings.
func TestFindingsThatLackDetails(t *testing.T) {
	const head = `{"format":"` + formatFindings + `","findings":[{"id":"CVE-1","package":"p","installed":"1","severity":"HIGH","class":"os-pkgs","type":"t","details":`
	for _, content := range []string{
		head + "0}]}", head + "1}]}\n{}", head + "-1}]}\n{}", head + "0}]}\n", head + "0}]}\nnull", head + "0}]}\n{",
	} {
		docs := memory{}
		if all, err := LoadFindings(t.Context(), docs, docs.put([]byte(content))); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v, %v", content, all, err)
		}
	}
}
