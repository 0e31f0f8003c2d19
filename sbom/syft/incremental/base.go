package incremental

import (
	"path"
	"slices"

	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// base is an image that was cataloged, with everything that decides whether an image built on it
// has the same catalog and more. It is immutable. If it is built on another base, it only has what
// the layers above that one added.
type base struct {
	below *base // nil if it was cataloged as a whole
	chain []pratique.Digest
	// layers describe all layers; the following fields are about those above below.
	layers  []image.LayerMetadata
	catalog *syftsbom.SBOM
	found   packageSet // of catalog
	paths   paths
	names   map[string]struct{} // the last elements of all paths
	// missing are paths of look-ups and links at which nothing exists. A file that appears there
	// changes an answer.
	missing map[string]struct{}
	// linked are directories that a link leads to: their files have more than one path.
	linked map[string]struct{}
	// globs are the patterns that depended on what was found.
	globs []string
	// answers are the results of look-ups by name in the lowest base, contents are the small files
	// among them.
	answers  map[string][]file.Location
	contents map[file.Coordinates][]byte
	model    *model
}

// newBase completes b, which is built on low, with what was asked about it. It is nil for an image
// with link loops, since such look-ups have no defined answer.
func newBase(low *base, b base, asked, always *trace) *base {
	b.below = low
	b.names, b.missing, b.linked = map[string]struct{}{}, map[string]struct{}{}, map[string]struct{}{}
	b.globs = asked.ownGlobs(always)
	b.answers, b.contents = asked.answers, asked.contents
	if low != nil {
		b.answers, b.contents = low.answers, low.contents
	}
	if b.model == nil {
		b.model = &model{source: b.sbom}
	}
	for p, e := range b.paths.here {
		b.names[path.Base(p)] = struct{}{}
		if e.link == "" {
			continue
		}
		end, ok := b.paths.resolve(p)
		if !ok {
			return nil
		}
		to, there := b.paths.at(end)
		switch {
		case !there:
			b.missing[end] = struct{}{}
		case to.dir:
			b.linked[end] = struct{}{}
		}
	}
	for p := range asked.lookups {
		end, ok := b.paths.resolve(clean(p))
		if !ok {
			return nil
		}
		if _, there := b.paths.at(end); !there {
			b.missing[end] = struct{}{}
		}
	}
	return &b
}

// any reports whether a condition holds for a base or for one below it.
func (b *base) any(is func(b *base) bool) bool {
	for ; b != nil; b = b.below {
		if is(b) {
			return true
		}
	}
	return false
}

// packages returns those of all its layers.
func (b *base) packages() []pkg.Package {
	if b.below == nil {
		return b.found.packages
	}
	return slices.Concat(b.below.packages(), b.found.packages)
}

// sbom returns the catalog of all its layers.
func (b *base) sbom() *syftsbom.SBOM {
	if b.below == nil {
		return b.catalog
	}
	return description{b.catalog.Source}.describes(merge(b.below.sbom(), b.catalog, b.packages()))
}

// chainOf returns an image's diff ids, lowest layer first.
func chainOf(img layers.Image) []pratique.Digest {
	chain := make([]pratique.Digest, len(img.Layers))
	for i, l := range img.Layers {
		chain[i] = l.DiffID
	}
	return chain
}
