// Package scanner is the contract of vulnerability scanning, in two independent steps: an image's
// layers are analyzed into an inventory once, and an inventory is matched against each new
// vulnerability database. It also has pure functions over findings and inventories. Adapters are in
// subdirectories.
package scanner

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Analyzer finds the packages in the layers of one platform image.
type Analyzer interface {
	// Analyze returns the content of img. The same image gives the same inventory, whatever is
	// cached. An image that cannot be read completely is an error, never a partial inventory.
	Analyze(ctx context.Context, img layers.Image, known Cache) (Analysis, error)
}

// Analysis is the content of one platform image.
type Analysis struct {
	// Inventory is sorted.
	Inventory pratique.Inventory `json:"inventory"`
	// Extras is nil unless the analyzer looks for extra findings.
	Extras *pratique.Extras `json:"extras,omitempty"`
}

// Cache has analyses of single layers, made by one version of one analyzer with the same options.
// Only the analyzer knows their format.
type Cache interface {
	// Load returns the analysis of a layer, by diff id; ok is false if there is none.
	Load(layer pratique.Digest) (analysis []byte, ok bool)
	// Store stores the complete analysis of a layer that was not loaded, after the image was read
	// completely.
	Store(layer pratique.Digest, analysis []byte) error
}

// Matcher finds vulnerabilities of the packages in an inventory.
type Matcher interface {
	// Match returns the sorted findings of inv in db. It needs no layers. A missing, damaged or
	// empty database is an error, never a report without findings. Report.Inventory is
	// [InventoryDigest] of inv.
	Match(ctx context.Context, inv pratique.Inventory, db DatabaseDir) (pratique.Report, error)
}

// JavaUser is an [Analyzer] that can look jars up in a Java database. Without one it uses the
// metadata in the jars.
type JavaUser interface {
	// UseJava sets the database for the following analyses; the zero value is none.
	UseJava(db DatabaseDir) error
}

// DatabaseDir is a database on disk.
type DatabaseDir struct {
	pratique.Database
	// Dir is the directory of the database file. Its content never changes: a new database has a
	// new directory.
	Dir string `json:"dir"`
}
