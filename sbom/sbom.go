// Package sbom is the contract of SBOM generation, with pure functions that decode the documents.
// Adapters are in subdirectories.
package sbom

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Generator makes the SBOMs of one platform image.
type Generator interface {
	// Generate catalogs img once and writes both formats. The same image gives the same bytes. An
	// image that cannot be read completely is an error, never a partial document.
	Generate(ctx context.Context, img layers.Image) (Documents, error)
	// Tool names the generator and its version.
	Tool() pratique.Tool
}

// Documents are the SBOMs of one image.
type Documents struct {
	// SPDX is SPDX 2.3 as JSON, CycloneDX is CycloneDX 1.6 as JSON.
	SPDX      []byte
	CycloneDX []byte
	// Packages is the number of packages found.
	Packages int
	// Catalog are the packages, in no order.
	Catalog []Entry
}

// Entry is a package of the catalog, with what is compared with the scanner's.
type Entry struct {
	// Type is the generator's: "deb", "apk", "rpm" are those of operating systems.
	Type    string
	Name    string
	Version string
	PURL    string
	// Path is the file that names the package, RealPath is the same without links.
	Path, RealPath string
}
