package sbom

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

const spdxDoc = `{"spdxVersion":"SPDX-2.3","name":"app","documentNamespace":"https://example.org/1","creationInfo":{"created":"2024-05-06T07:08:09Z"},
"packages":[
 {"name":"zlib","versionInfo":"1.3","externalRefs":[{"referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a"},{"referenceType":"purl","referenceLocator":"pkg:deb/zlib@1.3"}]},
 {"name":"app","versionInfo":"sha256:1","primaryPackagePurpose":"CONTAINER"},
 {"name":"bash","versionInfo":"5"}]}`

const cycloneDoc = `{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:1","metadata":{"timestamp":"2024-05-06T07:08:09Z","component":{"name":"app"}},
"components":[{"type":"library","name":"zlib","version":"1.3","purl":"pkg:deb/zlib@1.3"},{"type":"file","name":"/bin/sh"},
 {"type":"operating-system","name":"debian","version":"12"},{"type":"application","name":"bash","version":"5"}]}`

func TestDecode(t *testing.T) {
	want := Summary{Name: "app", Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC),
		Packages: []Package{
			{Name: "bash", Version: "5"}, {Name: "zlib", Version: "1.3", PURL: "pkg:deb/zlib@1.3"},
		}}
	got, err := DecodeSPDX([]byte(spdxDoc))
	if err != nil {
		t.Fatal(err)
	}
	want.Version, want.ID = "SPDX-2.3", "https://example.org/1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("SPDX (-want +got)\n", diff)
	}
	got, err = DecodeCycloneDX([]byte(cycloneDoc))
	if err != nil {
		t.Fatal(err)
	}
	want.Version, want.ID = "1.6", "urn:uuid:1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("CycloneDX (-want +got)\n", diff)
	}
}

func TestDecodeRefusesOtherDocuments(t *testing.T) {
	for _, doc := range []string{"", "null", "{}", "[]", "<bom/>", `{"spdxVersion":1}`,
		`{"bomFormat":"SPDX"}`, `{"packages":3}`} {
		if _, err := DecodeSPDX([]byte(doc)); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("SPDX %q: error %v", doc, err)
		}
		if _, err := DecodeCycloneDX([]byte(doc)); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("CycloneDX %q: error %v", doc, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(spdxDoc))
	f.Add([]byte(cycloneDoc))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, decode := range []func([]byte) (Summary, error){DecodeSPDX, DecodeCycloneDX} {
			s, err := decode(doc)
			if err != nil && (pratique.KindOf(err) != pratique.Corrupt || len(s.Packages) > 0) {
				t.Errorf("error %v with %d packages", err, len(s.Packages))
			}
		}
	})
}
