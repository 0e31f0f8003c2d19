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

// base is an image that was cataloged, with everything that decides whether an image on top of it has
// the same catalog and more. It does not change. If it lies on another base itself, it holds only
// what the layers above that one added.
type base struct {
	below *base // nil if all of it was cataloged at once
	chain []pratique.Digest
	// layers describe all layers; the fields after it are about those above below.
	layers  []image.LayerMetadata
	catalog *syftsbom.SBOM
	found   packageSet // of catalog
	paths   paths
	names   map[string]struct{} // the last parts of all paths
	// missing are the places where nothing is, although a lookup or a link led there. A file that
	// appears at one of them changes an answer.
	missing map[string]struct{}
	// linked are the directories to which a link leads: what lies in them has more than one path.
	linked map[string]struct{}
	// globs are the patterns that came from what was found.
	globs []string
	// answers and contents are what was found by name in the lowest base, and what small files among
	// these hold.
	answers  map[string][]file.Location
	contents map[file.Coordinates][]byte
	model    *model
}

// newBase completes b, which lies on low, with what was asked about it. It is nil for an image whose
// links go in circles: nobody can say what such a lookup answers.
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

// any reports whether something is true of a base, or of one below it.
func (b *base) any(is func(b *base) bool) bool {
	for ; b != nil; b = b.below {
		if is(b) {
			return true
		}
	}
	return false
}

// packages are those of all its layers.
func (b *base) packages() []pkg.Package {
	if b.below == nil {
		return b.found.packages
	}
	return slices.Concat(b.below.packages(), b.found.packages)
}

// sbom is the catalog of all its layers.
func (b *base) sbom() *syftsbom.SBOM {
	if b.below == nil {
		return b.catalog
	}
	return description{b.catalog.Source}.describes(merge(b.below.sbom(), b.catalog, b.packages()))
}

// chainOf lists an image's layers by their diff ids, lowest first.
func chainOf(img layers.Image) []pratique.Digest {
	chain := make([]pratique.Digest, len(img.Layers))
	for i, l := range img.Layers {
		chain[i] = l.DiffID
	}
	return chain
}
