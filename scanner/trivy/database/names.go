package database

import (
	"strings"

	"github.com/pratique-dev/pratique"
)

// A key says where advisories about a package are filed: a scope, which is an ecosystem or a family of distributions,
// and the package's name in it. Keys are coarser than what a match looks up. Releases of a distribution share a
// scope, a package is filed under its own name and its source's, and spellings that any ecosystem takes for the same
// are one: a key too many costs a match, one too few would miss a vulnerability.
const keySeparator = "\x00"

// anyScope is the scope of lists that no table here knows. Whatever changes may concern them.
const anyScope = "?"

func key(scope, name string) string { return scope + keySeparator + normalize(name) }

// normalize makes one of all spellings, for all ecosystems at once: case, dashes, and the URLs of Swift.
func normalize(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.TrimSuffix(strings.TrimPrefix(name, "https://"), ".git")
}

// families maps Trivy's names of distributions to scopes.
var families = map[string]string{
	"alma": "alma", "alpine": "alpine", "amazon": "amazon", "azurelinux": "azure", "bottlerocket": "bottlerocket",
	"cbl-mariner": "azure", "centos": "redhat", "chainguard": "chainguard", "debian": "debian", "echo": "echo",
	"minimos": "minimos", "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "oracle": "oracle",
	"photon": "photon", "redhat": "redhat", "rocky": "rocky", "slem": "suse", "sles": "suse", "ubuntu": "ubuntu", "wolfi": "wolfi",
}

// distributions are the first words of the buckets of distributions, in lower case, with their scopes.
var distributions = map[string]string{
	"alma": "alma", "alpine": "alpine", "amazon": "amazon", "azure": "azure", "bottlerocket": "bottlerocket", "cbl-mariner": "azure",
	"chainguard": "chainguard", "debian": "debian", "echo": "echo", "minimos": "minimos", "opensuse": "suse", "oracle": "oracle",
	"photon": "photon", "red": "redhat", "rocky": "rocky", "suse": "suse", "ubuntu": "ubuntu", "wolfi": "wolfi",
}

// vendors patch the packages of other distributions; what they file may concern any of these.
var vendors = map[string]bool{"root.io": true, "rootio": true, "seal": true}

// ecosystems maps Trivy's types of application lists to the ecosystems by which advisories are filed.
var ecosystems = map[string]string{
	"bundler": "rubygems", "gemspec": "rubygems", "rustbinary": "cargo", "cargo": "cargo", "composer": "composer",
	"composer-vendor": "composer", "gobinary": "go", "gomod": "go", "jar": "maven", "pom": "maven", "gradle": "maven",
	"sbt": "maven", "npm": "npm", "yarn": "npm", "pnpm": "npm", "bun": "npm", "node-pkg": "npm", "javascript": "npm",
	"nuget": "nuget", "dotnet-core": "nuget", "packages-props": "nuget", "pipenv": "pip", "poetry": "pip", "pip": "pip",
	"python-pkg": "pip", "uv": "pip", "pylock": "pip", "pub": "pub", "hex": "erlang", "conan": "conan", "swift": "swift",
	"cocoapods": "cocoapods", "bitnami": "bitnami", "kubernetes": "k8s", "julia": "julia",
}

// Keys returns the keys of everything that a match of a list looks up. The list is one of
// [scanner.SplitLists], of which only the names of packages are read. The first key is that of the scope,
// with an empty name, by which a change of everything in it finds the list.
func Keys(list pratique.Inventory) []string {
	seen := map[string]bool{}
	var keys []string
	add := func(scope, name string) {
		if k := key(scope, name); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	if len(list.Lists) == 0 {
		add(scopeOfList(list.OS, pratique.PackageList{Class: pratique.ClassOS}), "")
	}
	for _, l := range list.Lists {
		scope := scopeOfList(list.OS, l)
		add(scope, "")
		if scope == anyScope {
			continue
		}
		for _, p := range l.Packages {
			for _, name := range []string{p.Name, p.SrcName} {
				if name != "" {
					add(scope, name)
				}
			}
		}
	}
	return keys
}

func scopeOfList(os pratique.OS, l pratique.PackageList) string {
	scope := ecosystems[l.Type]
	if l.Class == pratique.ClassOS {
		scope = families[os.Family]
	}
	if scope == "" {
		return anyScope
	}
	return scope
}

// scopesOf returns the scopes that a bucket of advisories concerns; none if it is not one that this program knows.
func scopesOf(bucket string) []string {
	if ecosystem, _, ok := strings.Cut(bucket, "::"); ok {
		// "npm::…", or "seal npm::…"
		ecosystem = ecosystem[strings.LastIndexByte(ecosystem, ' ')+1:]
		for _, e := range ecosystems {
			if e == ecosystem {
				return []string{e}
			}
		}
		return nil
	}
	word, _, _ := strings.Cut(strings.ToLower(bucket), " ")
	if scope := distributions[word]; scope != "" {
		return []string{scope}
	}
	if !vendors[word] {
		return nil
	}
	all := map[string]bool{}
	var scopes []string
	for _, s := range distributions {
		if !all[s] {
			all[s] = true
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// AffectedPackages returns the numbers of the packages of a list that a change concerns: those with a key in names,
// and those whose name is in also. What is found in the others stays as it was. ok is false if the list has
// to be matched as a whole: that of a distribution, whose packages decide together which advisories hold,
// and one of which a whole scope differs. Only names of packages are read.
func AffectedPackages(list pratique.Inventory, names, also map[string]bool) (concerned []int, ok bool) {
	if len(list.Lists) != 1 || list.Lists[0].Class != pratique.ClassLanguage {
		return nil, false
	}
	l := list.Lists[0]
	scope := scopeOfList(list.OS, l)
	if scope == anyScope || names[key(scope, "")] {
		return nil, false
	}
	for i, p := range l.Packages {
		if also[p.Name] || names[key(scope, p.Name)] || p.SrcName != "" && names[key(scope, p.SrcName)] {
			concerned = append(concerned, i)
		}
	}
	return concerned, true
}
