// Package scanner is the contract of vulnerability scanning, in two steps that need not happen together: an
// image's layers are analyzed into an inventory once, and an inventory is matched against a vulnerability
// database as often as there is a new one. Beside the contract it holds pure functions over findings and
// inventories. Adapters live in folders below.
package scanner

import (
	"context"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Analyzer reads the layers of one platform image and lists the packages in them.
type Analyzer interface {
	// Analyze returns what img holds. The same image gives the same inventory, whatever the cache knows. An image
	// that cannot be read to its end is an error, never a partial inventory.
	Analyze(ctx context.Context, img layers.Image, known Cache) (Analysis, error)
}

// Analysis is what the layers of one platform image hold.
type Analysis struct {
	// Inventory is sorted.
	Inventory pratique.Inventory `json:"inventory"`
	// Extras is nil unless the analyzer looks for any.
	Extras *pratique.Extras `json:"extras,omitempty"`
}

// Cache holds analyses of single layers, all made by one version of one analyzer with one set of
// options. Only the analyzer knows what they look like.
type Cache interface {
	// Load returns the analysis of the layer with a diff id; ok is false if there is none.
	Load(layer pratique.Digest) (analysis []byte, ok bool)
	// Store is given the whole analysis of a layer that Load did not have, after the image was read to its end.
	Store(layer pratique.Digest, analysis []byte) error
}

// Matcher finds the vulnerabilities of the packages in an inventory.
type Matcher interface {
	// Match returns the sorted findings of inv in db. It needs no layers. A database that is missing,
	// damaged or empty is an error, never a report without findings. Report.Inventory is the digest of inv
	// as [InventoryDigest] computes it.
	Match(ctx context.Context, inv pratique.Inventory, db DatabaseDir) (pratique.Report, error)
}

// JavaUser is an [Analyzer] that can look jars up in a Java database. Without one it knows them by what they say
// of themselves.
type JavaUser interface {
	// UseJava has the following analyses use db; the zero value ends that.
	UseJava(db DatabaseDir) error
}

// DatabaseDir is a database on disk.
type DatabaseDir struct {
	pratique.Database
	// Dir is the directory that holds the database file. Its content never changes: a new database comes in
	// a new directory.
	Dir string `json:"dir"`
}
