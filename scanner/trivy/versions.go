//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"strings"

	"github.com/aquasecurity/trivy-db/pkg/ecosystem"
	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/vulnerability"
	"github.com/aquasecurity/trivy/pkg/detector/library"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare/bitnami"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare/maven"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare/npm"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare/pep440"
	"github.com/aquasecurity/trivy/pkg/detector/library/compare/rubygems"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/scan/utils"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// Trivy finds nothing in a package whose version it cannot compare, and at most logs that. So these
// packages are found here. It does not depend on a database.

// ecosystemOf returns the ecosystem of a list; ok is false if Trivy has none.
func ecosystemOf(listType string) (eco ecosystem.Type, ok bool) {
	driver, ok := library.NewDriver(ftypes.LangType(listType))
	return ecosystem.Type(driver.Type()), ok
}

// comparer returns Trivy's comparer of an ecosystem.
func comparer(eco ecosystem.Type) compare.Comparer {
	switch eco {
	case ecosystem.RubyGems, ecosystem.Cocoapods:
		return rubygems.Comparer{}
	case ecosystem.Maven:
		return maven.Comparer{}
	case ecosystem.Npm:
		return npm.Comparer{}
	case ecosystem.Pip:
		return pep440.Comparer{}
	case ecosystem.Bitnami:
		return bitnami.Comparer{}
	default:
		return compare.GenericComparer{}
	}
}

// comparable reports whether Trivy can compare a version. Every version that it can compare is in
// one of the two ranges.
func comparable(eco ecosystem.Type, version string) bool {
	anything := dbtypes.Advisory{VulnerableVersions: []string{">=1", "<=1"}}
	return version != "" && comparer(eco).IsVulnerable(version, anything)
}

// comparableOS reports whether Trivy's driver of a family can compare the version of a package, and
// look its name up.
func comparableOS(family string, p pratique.Package) bool {
	of := fromPackage(p)
	installed, source := utils.FormatVersion(of), utils.FormatSrcVersion(of)
	valid := func(c version.Comparer, v string) bool {
		_, err := c.Compare(v, "0")
		return err == nil
	}
	switch ftypes.OSType(family) {
	case ftypes.Debian, ftypes.Ubuntu, ftypes.Echo:
		return p.SrcName != "" && valid(version.NewDEBComparer(), source)
	case ftypes.Alpine:
		return valid(version.NewAPKComparer(), source)
	case ftypes.Wolfi, ftypes.Chainguard, ftypes.MinimOS:
		return valid(version.NewAPKComparer(), installed)
	case ftypes.Amazon: // compares versions as Debian does
		return valid(version.NewDEBComparer(), installed)
	case ftypes.Bottlerocket:
		return installed != ""
	case ftypes.Azure, ftypes.CBLMariner, ftypes.Photon:
		return p.SrcName != ""
	case ftypes.Alma: // ignores packages of modules without the module's name
		return !strings.Contains(p.Release, ".module_el") || p.Modularity != ""
	default:
		return true
	}
}

// unmatchedPackages collects the packages of a list that are not matched although the list is, once
// for each name and version.
type unmatchedPackages struct {
	list  pratique.PackageList
	all   []pratique.Unmatched
	index map[pratique.Unmatched]int
}

// maxNamed bounds the packages of a list that are named; further ones are counted by reason.
const maxNamed = 20

func (o *unmatchedPackages) add(p pratique.Package, version string, reason pratique.UnmatchedReason) {
	const most = 100 // bytes of a text, which is the image's
	u := pratique.Unmatched{Class: o.list.Class, Type: o.list.Type, Path: o.list.Path, Reason: reason}
	key := u
	key.Name, key.Version = pratique.Excerpt(p.Name, most), pratique.Excerpt(version, most)
	if o.index == nil {
		o.index = map[pratique.Unmatched]int{}
	}
	at, ok := o.index[key]
	if !ok && len(o.all) >= maxNamed {
		key = u
		at, ok = o.index[key]
	}
	if !ok {
		at = len(o.all)
		o.index[key], o.all = at, append(o.all, key)
	}
	o.all[at].Packages++
}

// unmatchedInApplication returns the unmatched packages of an application's list. The buckets are
// its ecosystem's.
func unmatchedInApplication(eco ecosystem.Type, buckets []*bolt.Bucket,
	l pratique.PackageList) []pratique.Unmatched {
	found := unmatchedPackages{list: l}
	for _, p := range l.Packages {
		name := vulnerability.NormalizePkgName(eco, p.Name)
		switch {
		case renamedBySupplier(eco, name):
			found.add(p, p.Version, pratique.UnmatchedSupplier)
		case hasAdvisory(buckets, name) && !comparable(eco, p.Version): // comparing is slower
			found.add(p, p.Version, pratique.UnmatchedVersion)
		}
	}
	return found.all
}

// unmatchedOS returns the unmatched packages of a distribution's list.
func (db advisoryDB) unmatchedOS(r release, l pratique.PackageList) []pratique.Unmatched {
	found := unmatchedPackages{list: l}
	for _, p := range l.Packages {
		switch {
		case renamedBySupplierOS(r.family, p):
			found.add(p, cmp.Or(p.Version, p.SrcVersion), pratique.UnmatchedSupplier)
		case !comparableOS(string(r.family), p) && db.hasOSAdvisory(r, p):
			found.add(p, utils.FormatVersion(fromPackage(p)), pratique.UnmatchedVersion)
		}
	}
	return found.all
}
