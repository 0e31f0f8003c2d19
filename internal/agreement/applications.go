package agreement

import (
	"net/url"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/sbom"
)

// ecosystems are the types of package URLs for which both tools list what is installed. Others are
// only supported by one, or the tools read different files: for Conda the scanner reads the
// specification, and the generator ten more files.
var ecosystems = map[string]bool{
	"cargo": true, "composer": true, "gem": true, "golang": true, "maven": true, "npm": true,
	"nuget": true, "pypi": true,
}

// applications are the packages of applications, by the names that both tools use.
type applications struct{ inventory, catalog map[name]map[string]bool }

type name struct{ ecosystem, path string }

func newApplications() applications {
	return applications{map[name]map[string]bool{}, map[name]map[string]bool{}}
}

func (a applications) sbom(e sbom.Entry) { add(a.catalog, e.PURL) }

func (a applications) scanner(l pratique.PackageList) {
	if isSBOM(l.Path) {
		return // see scannerAlone
	}
	for _, p := range l.Packages {
		if !isSBOM(p.FilePath) {
			add(a.inventory, p.PURL)
		}
	}
}

func add(to map[name]map[string]bool, purl string) {
	n, version, ok := parse(purl)
	if !ok {
		return
	}
	if to[n] == nil {
		to[n] = map[string]bool{}
	}
	to[n][version] = true
}

// parse splits a package URL, and normalizes it to a spelling that both tools share.
func parse(purl string) (n name, version string, ok bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return n, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at > strings.LastIndexByte(rest, '/') {
		rest, version = rest[:at], rest[at+1:]
	}
	ecosystem, path, ok := strings.Cut(rest, "/")
	if !ok || !ecosystems[ecosystem] {
		return n, "", false
	}
	n = name{ecosystem, strings.ToLower(unescape(path))}
	version = unescape(version)
	switch ecosystem {
	case "pypi":
		n.path = strings.NewReplacer("_", "-", ".", "-").Replace(n.path)
	case "maven":
		// The generator guesses the group of a jar that does not name it.
		n.path = n.path[strings.LastIndexByte(n.path, '/')+1:]
	case "golang":
		// The standard library is "v1.21.0" here and "go1.21.0" there; a program that was built
		// from a checkout has no version, or one that only one of the two makes up.
		version = strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v")
	}
	if version == "(devel)" || version == "UNKNOWN" {
		version = ""
	}
	return n, version, true
}

func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// differences returns the packages that only one tool has.
func (a applications) differences() (all []pratique.Difference) {
	for _, side := range []struct {
		have, lack map[name]map[string]bool
		only       string
	}{{a.inventory, a.catalog, pratique.OnlyScanner}, {a.catalog, a.inventory, pratique.OnlySBOM}} {
		for n, versions := range side.have {
			others := side.lack[n]
			for v := range versions {
				// If one side has no version, the name suffices.
				if others[v] || others[""] || v == "" && len(others) > 0 {
					continue
				}
				all = append(all, pratique.Difference{
					Type: n.ecosystem, Name: n.path, Version: v, Only: side.only})
			}
		}
	}
	return all
}
