// Package render writes what an inspection found: as a table for people, as JSON, and as SARIF for code scanning.
// Its functions are pure: the same findings give the same bytes.
package render

import (
	"encoding/json"
	"io"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// Scan is what inspecting one image, or the platforms of an index, found.
type Scan struct {
	// Ref is what was asked for, Subject what it means.
	Ref     string           `json:"ref"`
	Subject pratique.Subject `json:"subject"`
	// Tool is Pratique itself; each report names its scanner.
	Tool   pratique.Tool `json:"tool"`
	Images []Image       `json:"images"`
	// NotInspected are the other platforms of an index: nothing here is said of them.
	NotInspected []pratique.Platform `json:"notInspected,omitempty"`
}

// Image is what was found in one platform image.
type Image struct {
	Subject  pratique.Subject     `json:"subject"`
	Config   pratique.ImageConfig `json:"config"`
	Packages int                  `json:"packages"`
	// JavaDatabase is the one in which jars were looked up, if there was one.
	JavaDatabase pratique.Digest `json:"javaDatabase,omitzero"`
	// Compared says how what was found and the SBOMs differ.
	Compared pratique.Comparison `json:"compared"`
	// Report names the inventory and the vulnerability database by their digests.
	Report pratique.Report `json:"report"`
	// Extras is what was found beside packages, nil if nothing was looked for. It has no credentials: they are masked.
	Extras *pratique.Extras `json:"extras,omitempty"`
	// Verdict is what the policy says, nil if it was not asked.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// Verdict is a policy's answer about one platform image.
type Verdict struct {
	Outcome pratique.Outcome  `json:"outcome"`
	Profile pratique.Profile  `json:"profile"`
	Reasons []pratique.Reason `json:"reasons,omitempty"`
	Notes   []pratique.Reason `json:"notes,omitempty"`
}

// JSON writes the scan as one indented document.
func JSON(w io.Writer, s Scan) error {
	encoder := json.NewEncoder(display.JSON(w))
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(s)
}

// place names the list that a finding is in: the distribution, an application's file, or an ecosystem.
func place(f pratique.Finding) string {
	switch {
	case f.Class == pratique.ClassOS:
		return f.Target
	case f.Path != "" && f.Path == f.Target:
		return f.Path
	case f.Target != "":
		return f.Target
	default:
		return f.Type
	}
}
