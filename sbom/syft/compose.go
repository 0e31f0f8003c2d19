package syft

import (
	"maps"
	"slices"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"

	"github.com/pratique-dev/pratique/sbom"
)

// fileByFile are cataloguers for which each file stands for itself: what one means does not depend on what
// else they found. treeByTree relate what they find to each other, so they may find something in the base or
// above it, not in both. Of others nothing is known.
var (
	fileByFile = []string{
		"go-module-binary-cataloger", "cargo-auditable-binary-cataloger", "javascript-package-cataloger",
	}
	treeByTree = []string{
		"python-installed-package-cataloger", "ruby-installed-gemspec-cataloger", "java-archive-cataloger",
		"php-composer-installed-cataloger", "javascript-lock-cataloger",
	}
)

// packageSet is the packages of a catalogue. Syft copies each one whenever they are listed, by reflection.
type packageSet struct {
	packages []pkg.Package
	ids      map[artifact.ID]struct{}
	finders  map[string]struct{} // the cataloguers that found them
	elf      bool                // some come from ELF package notes
}

func packagesOf(s *syftsbom.SBOM) packageSet {
	c := packageSet{ids: map[artifact.ID]struct{}{}, finders: map[string]struct{}{}}
	for p := range s.Artifacts.Packages.Enumerate() {
		c.packages = append(c.packages, p)
		c.ids[p.ID()], c.finders[p.FoundBy] = struct{}{}, struct{}{}
		_, elf := p.Metadata.(pkg.ELFBinaryPackageNoteJSONPayload)
		c.elf = c.elf || elf
	}
	return c
}

// entries are the packages as they are compared.
func (s packageSet) entries() []sbom.Entry {
	all := make([]sbom.Entry, len(s.packages))
	for i, p := range s.packages {
		all[i] = sbom.Entry{Type: string(p.Type), Name: p.Name, Version: p.Version, PURL: p.PURL}
		for _, l := range p.Locations.ToUnorderedSlice() {
			if l.Annotations[pkg.EvidenceAnnotationKey] == pkg.PrimaryEvidenceAnnotation {
				all[i].Path, all[i].RealPath = l.AccessPath, l.RealPath
			}
		}
	}
	return all
}

// compose is the catalogue of an image whose base and whose upper layers were catalogued apart. Or it says why
// the two do not add up to that of the whole.
func compose(base *known, upper *syftsbom.SBOM, about source.Description, layers map[string]struct{}) (*syftsbom.SBOM, packageSet, string) {
	above := packagesOf(upper)
	for _, check := range []func() string{
		func() string { return strangers(base.found, above) },
		func() string { return overlap(base, above) },
		func() string { return outside(upper, above, layers) },
	} {
		if why := check(); why != "" {
			return nil, packageSet{}, why
		}
	}
	low, high := base.sbom.Artifacts, upper.Artifacts
	all := packageSet{
		packages: slices.Concat(base.found.packages, above.packages), ids: union(base.found.ids, above.ids),
		finders: union(base.found.finders, above.finders),
	}
	return &syftsbom.SBOM{
		Artifacts: syftsbom.Artifacts{
			Packages:          pkg.NewCollection(all.packages...),
			FileMetadata:      union(low.FileMetadata, high.FileMetadata),
			FileDigests:       union(low.FileDigests, high.FileDigests),
			FileContents:      union(low.FileContents, high.FileContents),
			FileLicenses:      union(low.FileLicenses, high.FileLicenses),
			Executables:       union(low.Executables, high.Executables),
			Unknowns:          union(low.Unknowns, high.Unknowns),
			LinuxDistribution: high.LinuxDistribution,
		},
		Relationships: append(ofSource(base.sbom.Relationships, about), ofSource(upper.Relationships, about)...),
		Source:        about,
		Descriptor:    upper.Descriptor,
	}, all, ""
}

// whole is the catalogue of an image that has the layers of a known one and no others.
func (k *known) whole(about source.Description) *syftsbom.SBOM {
	s := *k.sbom
	s.Source = about
	s.Relationships = ofSource(s.Relationships, about)
	return &s
}

func union[K comparable, V any](low, high map[K]V) map[K]V {
	if low == nil && high == nil {
		return nil
	}
	all := make(map[K]V, len(low)+len(high))
	maps.Copy(all, low)
	maps.Copy(all, high)
	return all
}

// identified stands for the image in relationships, as Syft's own type does: it has an id and nothing else.
type identified artifact.ID

// ID implements [artifact.Identifiable].
func (i identified) ID() artifact.ID { return artifact.ID(i) }

// ofSource are the relationships with the image itself replaced by another.
func ofSource(all []artifact.Relationship, about source.Description) []artifact.Relationship {
	out := slices.Clone(all)
	for i, r := range out {
		switch r.From.(type) {
		case pkg.Package, *pkg.Package, file.Coordinates:
		default:
			out[i].From = identified(about.ID)
		}
	}
	return out
}

// strangers says which cataloguer stands in the way.
func strangers(below, above packageSet) string {
	for name := range above.finders {
		_, both := below.finders[name]
		if slices.Contains(fileByFile, name) || !both && slices.Contains(treeByTree, name) {
			continue
		}
		return "it has packages of " + name
	}
	return ""
}

// overlap says what base and upper layers have in common that would have made one of two, or a relationship
// between them.
func overlap(base *known, above packageSet) string {
	switch {
	case base.found.elf: // their libraries are looked for everywhere
		return "the base has ELF packages"
	case above.elf:
		return "it has ELF packages"
	}
	for _, p := range above.packages {
		if _, twice := base.found.ids[p.ID()]; twice {
			return "the base has the package " + p.Name
		}
		owner, ok := p.Metadata.(pkg.FileOwner)
		if !ok {
			continue
		}
		for _, owned := range owner.OwnedFiles() {
			if owned != "" && base.has(clean(owned)) {
				return "its package " + p.Name + " owns " + owned
			}
		}
	}
	return ""
}

// outside says what the upper layers' catalogue names that does not lie in them.
func outside(s *syftsbom.SBOM, above packageSet, layers map[string]struct{}) string {
	for _, c := range s.AllCoordinates() {
		if _, ok := layers[c.FileSystemID]; !ok {
			return "it rests on " + c.RealPath
		}
	}
	for c := range s.Artifacts.Executables {
		if _, ok := layers[c.FileSystemID]; !ok {
			return "it rests on " + c.RealPath
		}
	}
	for _, p := range above.packages {
		for _, l := range p.Locations.ToSlice() {
			if _, ok := layers[l.FileSystemID]; !ok {
				return "it rests on " + l.RealPath
			}
		}
	}
	return ""
}
