// Package sbom is the contract of SBOM generation, and the pure decoding of what Pratique needs from the
// documents. Adapters live in folders below.
package sbom

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Generator makes the SBOMs of one platform image.
type Generator interface {
	// Generate catalogs img once and writes it in both formats. The same image gives the same bytes. An
	// image that cannot be read to its end is an error, never a partial document.
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

// Entry is a package of the catalog, as far as it is compared with what the scanner found.
type Entry struct {
	// Type is the generator's: "deb", "apk", "rpm" are those of operating systems.
	Type    string
	Name    string
	Version string
	PURL    string
	// Path is the file that names it, as it was asked for; RealPath where links lead. They are equal if there are none.
	Path, RealPath string
}
