package incremental

import (
	"maps"
	"slices"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
)

// perFile names catalogers that take each file for itself: what they make of one does not depend on
// what else they found. Those that perTree names relate what they find, so they may find something
// in the base or above it, but not in both. Of all others nothing is known. Both lists were approved
// for the version of Syft in testdata/catalogers.txt.
func perFile() []string {
	return []string{
		"go-module-binary-cataloger", "cargo-auditable-binary-cataloger", "javascript-package-cataloger",
	}
}

func perTree() []string {
	return []string{
		"python-installed-package-cataloger", "ruby-installed-gemspec-cataloger", "java-archive-cataloger",
		"php-composer-installed-cataloger",
	}
}

// packageSet is the packages of a catalog. Syft copies each one by reflection whenever they are
// listed.
type packageSet struct {
	packages []pkg.Package
	ids      map[artifact.ID]struct{}
	finders  map[string]struct{} // the catalogers that found them
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

// checkMerge says why the catalogs of a base and of the layers above it do not add up to that of the
// image; "" if they do. layers are the ids of the layers above.
func checkMerge(low *base, upper *syftsbom.SBOM, above packageSet, layers map[string]struct{}) (why string) {
	for _, check := range []func() string{
		func() string { return unapproved(low, above) },
		func() string { return overlap(low, above) },
		func() string { return outside(upper, above, layers) },
	} {
		if why := check(); why != "" {
			return why
		}
	}
	return ""
}

// merge adds two catalogs up. packages are those of both.
func merge(lower, upper *syftsbom.SBOM, packages []pkg.Package) *syftsbom.SBOM {
	low, high := lower.Artifacts, upper.Artifacts
	return &syftsbom.SBOM{
		Artifacts: syftsbom.Artifacts{
			Packages:          pkg.NewCollection(packages...),
			FileMetadata:      union(low.FileMetadata, high.FileMetadata),
			FileDigests:       union(low.FileDigests, high.FileDigests),
			FileContents:      union(low.FileContents, high.FileContents),
			FileLicenses:      union(low.FileLicenses, high.FileLicenses),
			Executables:       union(low.Executables, high.Executables),
			Unknowns:          union(low.Unknowns, high.Unknowns),
			LinuxDistribution: high.LinuxDistribution,
		},
		Relationships: slices.Concat(lower.Relationships, upper.Relationships),
		Source:        upper.Source,
		Descriptor:    upper.Descriptor,
	}
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

// unapproved says which cataloger stands in the way.
func unapproved(low *base, above packageSet) (why string) {
	for name := range above.finders {
		if slices.Contains(perFile(), name) || slices.Contains(perTree(), name) && !low.any(func(b *base) bool { _, both := b.found.finders[name]; return both }) {
			continue
		}
		return "it has packages of " + name
	}
	return ""
}

// overlap says what base and upper layers have in common that Syft would have made one of, or
// related.
func overlap(low *base, above packageSet) (why string) {
	switch {
	case low.any(func(b *base) bool { return b.found.elf }): // their libraries are looked for everywhere
		return "the base has ELF packages"
	case above.elf:
		return "it has ELF packages"
	}
	for _, p := range above.packages {
		if low.any(func(b *base) bool { _, twice := b.found.ids[p.ID()]; return twice }) {
			return "the base has the package " + p.Name
		}
		owner, ok := p.Metadata.(pkg.FileOwner)
		if !ok {
			continue
		}
		for _, owned := range owner.OwnedFiles() {
			if owned != "" && low.has(clean(owned)) {
				return "its package " + p.Name + " owns " + owned
			}
		}
	}
	return ""
}

// outside says what the upper layers' catalog names that does not lie in them.
func outside(s *syftsbom.SBOM, above packageSet, layers map[string]struct{}) (why string) {
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
