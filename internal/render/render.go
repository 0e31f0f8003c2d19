// Package render writes the result of a scan as a table for people, as JSON, and as SARIF for code
// scanning. It is pure: the same result gives the same bytes.
package render

import (
	"encoding/json"
	"io"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// Scan is the result of inspecting one image, or the platforms of an index.
type Scan struct {
	// Ref is the name that was given, Subject what it was resolved to.
	Ref     string           `json:"ref"`
	Subject pratique.Subject `json:"subject"`
	// Tool is Pratique itself; each report names its scanner.
	Tool   pratique.Tool `json:"tool"`
	Images []Image       `json:"images"`
	// NotInspected are the other platforms of an index, about which nothing is known.
	NotInspected []pratique.Platform `json:"notInspected,omitempty"`
}

// Image is the result for one platform image.
type Image struct {
	Subject  pratique.Subject     `json:"subject"`
	Config   pratique.ImageConfig `json:"config"`
	Packages int                  `json:"packages"`
	// JavaDatabase is the database in which JAR files were looked up, zero if there was none.
	JavaDatabase pratique.Digest `json:"javaDatabase,omitzero"`
	// Compared says how the inventory and the SBOMs differ.
	Compared pratique.Comparison `json:"compared"`
	// Report names the inventory and the vulnerability database by their digests.
	Report pratique.Report `json:"report"`
	// Extras are extra findings, nil if nothing was looked for. Credentials in it are masked.
	Extras *pratique.Extras `json:"extras,omitempty"`
	// Verdict is the verdict of the policy, nil if it was not asked.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// Verdict is the policy's verdict about one platform image.
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

// place names the list of a finding: the distribution, an application's file, or an ecosystem.
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
