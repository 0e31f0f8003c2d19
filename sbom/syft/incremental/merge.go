package incremental

import (
	"maps"
	"slices"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
)

// perFile names catalogers that treat each file separately: the result for a file does not depend
// on other files. perTree names those that relate what they find, so they may find something in the
// base or above it, but not in both. Nothing is known about others. Both lists were approved for
// the version of Syft in testdata/catalogers.txt.
func perFile() []string {
	return []string{
		"go-module-binary-cataloger", "cargo-auditable-binary-cataloger", "javascript-package-cataloger",
	}
}

func perTree() []string {
	return []string{
		"python-installed-package-cataloger", "ruby-installed-gemspec-cataloger",
		"java-archive-cataloger",
		"php-composer-installed-cataloger",
	}
}

// packageSet has the packages of a catalog. Syft copies each by reflection whenever they are
// listed.
type packageSet struct {
	packages []pkg.Package
	ids      map[artifact.ID]struct{}
	finders  map[string]struct{} // names of catalogers
	elf      bool                // some are from ELF package notes
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

// checkMerge returns why the catalogs of a base and of the layers above cannot be merged; "" if
// they can. layers are the ids of the layers above.
func checkMerge(low *base, upper *syftsbom.SBOM, above packageSet,
	layers map[string]struct{}) (why string) {
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

// merge merges two catalogs. packages are those of both.
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

// unapproved returns why a cataloger prevents the merge; "" if none does.
func unapproved(low *base, above packageSet) (why string) {
	for name := range above.finders {
		if slices.Contains(perFile(), name) || slices.Contains(perTree(), name) &&
			!low.any(func(b *base) bool {
				_, both := b.found.finders[name]
				return both
			}) {
			continue
		}
		return "it has packages of " + name
	}
	return ""
}

// overlap returns what base and upper layers share that Syft would have merged or related; "" for
// nothing.
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

// outside returns what the upper layers' catalog refers to outside of these layers; "" for nothing.
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
