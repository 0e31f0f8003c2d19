package syft

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
)

// A document that is written in pieces says what it says when it is written in one.
func TestWriteSPDX(t *testing.T) {
	small := spdx.Document{SPDXVersion: spdx.Version, SPDXIdentifier: "DOCUMENT",
		DocumentName: "a <b> & c"}
	full := small
	full.Packages = []*spdx.Package{{PackageName: "<p>", PackageSPDXIdentifier: "P"}}
	full.Files = []*spdx.File{{FileName: "f", FileSPDXIdentifier: "F"}}
	full.Relationships = []*spdx.Relationship{{RefA: common.DocElementID{ElementRefID: "P"},
		RefB: common.DocElementID{ElementRefID: "F"}, Relationship: "CONTAINS"}}
	full.OtherLicenses = []*spdx.OtherLicense{{LicenseIdentifier: "LicenseRef-x", ExtractedText: "x"}}
	files := small
	files.Files = full.Files
	for name, doc := range map[string]spdx.Document{"small": small, "full": full, "files": files} {
		whole, err := encode(doc)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := writeSPDX(doc)
		if err != nil {
			t.Fatal(err)
		}
		var want, got map[string]any
		if err := json.Unmarshal(whole, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(pieces, &got); err != nil {
			t.Fatalf("%s: %v in %s", name, err, pieces)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(whole) != len(pieces) {
			t.Errorf("%s (-whole +pieces):\n%s", name, diff)
		}
	}
}
