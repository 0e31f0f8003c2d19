package scanner

import (
	"fmt"

	"github.com/pratique-dev/pratique"
)

// Bounds of an inventory; those of texts are in bytes. An image chooses all of them. They are far
// above any real one: the longest names and versions seen have a few hundred bytes.
const (
	// Bounds of an inventory; those of texts are in bytes. An image chooses all of these. They are
	// far above real values: the longest known names and versions have a few hundred bytes.
	MaxName    = 1 << 10 // of a package, a version, an id
	MaxPURL    = 8 << 10 // has names and versions, escaped
	MaxPath    = 8 << 10 // of a file, also in archives within archives
	MaxRemark  = 512     // of a license, a maintainer: nothing is matched by them
	MaxRemarks = 100     // licenses of one package
	MaxSets    = 1 << 10 // content sets of one package
	// MaxVersions is how often a package of the operating system may be installed for one
	// architecture. RPM keeps several kernels, and a few keys; thousands would have more findings
	// than a child has memory for.
	MaxVersions = 100
)

// Trim shortens licenses and maintainers, which no match reads, to their bounds, and marks them.
func Trim(p *pratique.Package) {
	p.Maintainer = pratique.Excerpt(p.Maintainer, MaxRemark)
	if len(p.Licenses) > MaxRemarks {
		more := fmt.Sprintf("… and %d more", len(p.Licenses)-MaxRemarks+1)
		p.Licenses = append(p.Licenses[:MaxRemarks-1:MaxRemarks-1], more)
	}
	for i, l := range p.Licenses {
		if len(l) > MaxRemark {
			p.Licenses[i] = pratique.Excerpt(l, MaxRemark)
		}
	}
}

// CheckBounds refuses an inventory that is beyond the bounds, as Exhausted. What a match reads must
// not be shortened: that could change the findings. It is called for inventories from processes
// that parsed an image, so it also refuses what [Trim] would have shortened.
func CheckBounds(inv pratique.Inventory) error {
	const op = "check inventory"
	o := inv.OS
	for _, text := range []string{o.Family, o.Name, o.RepositoryFamily, o.RepositoryRelease,
		inv.Scanner.Name, inv.Scanner.Version} {
		if len(text) > MaxName {
			return pratique.Errorf(pratique.Exhausted, op,
				"the name of the distribution has %d bytes, the limit is %d", len(text), MaxName)
		}
	}
	installed := map[[2]string]int{} // by name and architecture
	for _, l := range inv.Lists {
		if len(l.Path) > MaxPath {
			return pratique.Errorf(pratique.Exhausted, op,
				"a list has a path of %d bytes, the limit is %d", len(l.Path), MaxPath)
		}
		if n := max(len(l.Type), len(l.Class)); n > MaxName {
			return pratique.Errorf(pratique.Exhausted, op,
				"a list has a type of %d bytes, the limit is %d", n, MaxName)
		}
		for i := range l.Packages {
			if what, n, unit, most := overLimit(&l.Packages[i]); n > most {
				return pratique.Errorf(pratique.Exhausted, op,
					"package %q has a %s of %d %s, the limit is %d",
					pratique.Excerpt(l.Packages[i].Name, 100), what, n, unit, most)
			}
			if l.Class != pratique.ClassOS {
				continue
			}
			key := [2]string{l.Packages[i].Name, l.Packages[i].Arch}
			if installed[key]++; installed[key] > MaxVersions {
				return pratique.Errorf(pratique.Exhausted, op,
					"package %q is installed in more than %d versions",
					pratique.Excerpt(l.Packages[i].Name, 100), MaxVersions)
			}
		}
	}
	return nil
}

// overLimit returns the first part of a package that is beyond its bound, with its size; n is 0 if
// there is none.
func overLimit(p *pratique.Package) (what string, n int, unit string, most int) {
	const inBytes = "bytes"
	longest := max(len(p.ID), len(p.UID), len(p.Name), len(p.Version), len(p.Release), len(p.Arch),
		len(p.SrcName), len(p.SrcVersion),
		len(p.SrcRelease), len(p.Modularity), len(p.NVR), len(p.BuildArch))
	switch {
	case longest > MaxName:
		return "name, version or id", longest, inBytes, MaxName
	case len(p.PURL) > MaxPURL:
		return "package URL", len(p.PURL), inBytes, MaxPURL
	case len(p.FilePath) > MaxPath:
		return "path", len(p.FilePath), inBytes, MaxPath
	case len(p.Maintainer) > MaxRemark:
		return "maintainer", len(p.Maintainer), inBytes, MaxRemark
	case len(p.Licenses) > MaxRemarks:
		return "list", len(p.Licenses), "licenses", MaxRemarks
	case len(p.ContentSets) > MaxSets:
		return "list", len(p.ContentSets), "content sets", MaxSets
	}
	for _, l := range p.Licenses {
		if len(l) > MaxRemark {
			return "license", len(l), inBytes, MaxRemark
		}
	}
	for _, c := range p.ContentSets {
		if len(c) > MaxName {
			return "content set", len(c), inBytes, MaxName
		}
	}
	return "", 0, "", 0
}
