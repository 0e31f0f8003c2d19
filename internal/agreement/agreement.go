// Package agreement compares the results of two tools for one image: the inventory of the scanner
// and the catalog of the SBOM generator. Somebody who wants to hide a package looks for bytes that
// the scanner misreads; the other tool, by other authors, rarely misreads the same ones. The
// package is pure.
package agreement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/sbom"
)

const (
	// maxNamed is how many packages an error names, and maxApart how many places with separate
	// packages are listed.
	maxNamed = 10
	maxApart = 20
	// maxText bounds a name or a version: they come from the image.
	maxText = 120
)

// Compare returns the differences between inventory and catalog. If only one of them has a package
// of the operating system, the error is Corrupt and names it: the package database can be read in
// two ways, so it is not known what is installed. Known differences that are no error of either
// tool are in the tables of this package; distroless reports that dpkg's packages are in
// var/lib/dpkg/status.d only.
func Compare(inv pratique.Inventory, catalog []sbom.Entry, distroless bool) (pratique.Comparison, error) {
	var c pratique.Comparison
	separate := map[pratique.Unmatched]int{}
	theirs, applications := map[system]bool{}, newApplications()
	for _, e := range catalog {
		if !managers[e.Type] {
			applications.sbom(e)
			continue
		}
		if why := notInstalled(e); why != "" {
			continue
		}
		if reason := separateReason(e, inv.OS); reason != "" {
			separate[pratique.Unmatched{Class: pratique.ClassOS, Type: e.Type,
				Path: pratique.Excerpt(strings.TrimPrefix(e.Path, "/"), maxText), Reason: reason}]++
			if reason != pratique.UnmatchedForeign {
				continue
			}
		}
		theirs[system{e.Name, withoutEpochZero(e.Version)}] = true
	}
	ours := map[system]bool{}
	for _, l := range inv.Lists {
		if l.Class == pratique.ClassLanguage {
			applications.scanner(l)
			continue
		}
		for _, p := range l.Packages {
			if scannerAlone(inv.OS, p) == "" {
				ours[system{p.Name, version(p)}] = true
			}
		}
	}
	c.Packages = len(ours)
	var unseen []pratique.Difference
	if distroless && catalogLacksDebian(inv.OS, theirs) {
		for p := range ours {
			unseen = append(unseen, pratique.Difference{Type: "deb", Name: p.name,
				Version: p.version, Only: pratique.OnlyScanner})
		}
		ours = nil
	}
	if err := disagree(ours, theirs); err != nil {
		return pratique.Comparison{}, err
	}
	c.Apart = listSeparate(separate)
	c.Total, c.Differences = differences(append(unseen, applications.differences()...))
	return c, nil
}

// differences sorts and bounds differences.
func differences(all []pratique.Difference) (total int, some []pratique.Difference) {
	slices.SortFunc(all, func(a, b pratique.Difference) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.Only, b.Only))
	})
	some = slices.Clone(all[:min(len(all), pratique.MaxDifferences)])
	for i := range some {
		some[i].Name, some[i].Version = pratique.Excerpt(some[i].Name, maxText),
			pratique.Excerpt(some[i].Version, maxText)
	}
	return len(all), some
}

// system is a package of an operating system. Advisories do not depend on the architecture.
type system struct{ name, version string }

// version is a package's version as package managers write it.
func version(p pratique.Package) string {
	v := p.Version
	if p.Release != "" {
		v += "-" + p.Release
	}
	if p.Epoch != 0 {
		v = fmt.Sprintf("%d:%s", p.Epoch, v)
	}
	return withoutEpochZero(v)
}

// withoutEpochZero removes an epoch of 0, which is the default.
func withoutEpochZero(v string) string { return strings.TrimPrefix(v, "0:") }

func disagree(ours, theirs map[system]bool) error {
	var differ []string
	for _, side := range []struct {
		have, lack map[system]bool
		who        string
	}{{theirs, ours, "the SBOM"}, {ours, theirs, "the scanner"}} {
		var all []system
		for p := range side.have {
			if !side.lack[p] {
				all = append(all, p)
			}
		}
		slices.SortFunc(all, func(a, b system) int {
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version))
		})
		for _, p := range all {
			differ = append(differ, fmt.Sprintf("%s %s is in %s alone",
				pratique.Excerpt(p.name, maxText), pratique.Excerpt(p.version, maxText), side.who))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	shown := strings.Join(differ[:min(len(differ), maxNamed)], ", ")
	if more := len(differ) - maxNamed; more > 0 {
		shown += fmt.Sprintf(", and %d more", more)
	}
	return pratique.Errorf(pratique.Corrupt, "compare inventory and SBOM",
		"they disagree about packages of the operating system, so what is installed is not known: %s: "+
			"have its package manager write the package database, in one place and once", shown)
}

// listSeparate returns the separate packages, the most numerous first. Beyond the bound they are
// counted by kind, without a path.
func listSeparate(apart map[pratique.Unmatched]int) []pratique.Unmatched {
	all := slices.Collect(maps.Keys(apart))
	for i := range all {
		all[i].Packages = apart[all[i]]
	}
	slices.SortFunc(all, func(a, b pratique.Unmatched) int {
		return cmp.Or(-cmp.Compare(a.Packages, b.Packages), cmp.Compare(a.Type, b.Type),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
	if len(all) <= maxApart {
		return all
	}
	rest := map[pratique.Unmatched]int{}
	for _, u := range all[maxApart:] {
		n := u.Packages
		u.Path, u.Packages = "", 0
		rest[u] += n
	}
	return append(all[:maxApart:maxApart], listSeparate(rest)...)
}
