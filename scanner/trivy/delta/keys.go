package delta

import (
	"strings"

	"github.com/pratique-dev/pratique"
)

// A key names a package for which there may be advisories: its scope, which is an ecosystem or a
// family of distributions, and its name. Keys are coarser than what a match looks up: the releases
// of a distribution share a scope, a package has a key for its own name and one for its source's,
// and spellings that any ecosystem considers equal have one key. A key too many costs a match; one
// too few would miss a vulnerability.
const keySeparator = "\x00"

// anyScope is the scope of lists of unknown types. Any change may affect them.
const anyScope = "?"

func key(scope, name string) string { return scope + keySeparator + normalize(name) }

// normalize maps the spellings that any ecosystem considers equal to one: case, dashes, and the
// URLs of Swift.
func normalize(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.TrimSuffix(strings.TrimPrefix(name, "https://"), ".git")
}

// families maps Trivy's names of distributions to scopes.
var families = map[string]string{
	"alma": "alma", "alpine": "alpine", "amazon": "amazon", "azurelinux": "azure",
	"bottlerocket": "bottlerocket",
	"cbl-mariner":  "azure", "centos": "redhat", "chainguard": "chainguard", "debian": "debian",
	"echo":    "echo",
	"minimos": "minimos", "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "oracle": "oracle",
	"photon": "photon", "redhat": "redhat", "rocky": "rocky", "slem": "suse", "sles": "suse",
	"ubuntu": "ubuntu", "wolfi": "wolfi",
}

// distributions maps the first word of a distribution's bucket, in lower case, to its scope.
var distributions = map[string]string{
	"alma": "alma", "alpine": "alpine", "amazon": "amazon", "azure": "azure",
	"bottlerocket": "bottlerocket", "cbl-mariner": "azure",
	"chainguard": "chainguard", "debian": "debian", "echo": "echo", "minimos": "minimos",
	"opensuse": "suse", "oracle": "oracle",
	"photon": "photon", "red": "redhat", "rocky": "rocky", "suse": "suse", "ubuntu": "ubuntu",
	"wolfi": "wolfi",
}

// vendors patch the packages of other distributions. Their advisories may affect any of these.
var vendors = map[string]bool{"root.io": true, "rootio": true, "seal": true}

// ecosystems maps Trivy's types of application lists to ecosystems.
var ecosystems = map[string]string{
	"bundler": "rubygems", "gemspec": "rubygems", "rustbinary": "cargo", "cargo": "cargo",
	"composer":        "composer",
	"composer-vendor": "composer", "gobinary": "go", "gomod": "go", "jar": "maven", "pom": "maven",
	"gradle": "maven",
	"sbt":    "maven", "npm": "npm", "yarn": "npm", "pnpm": "npm", "bun": "npm", "node-pkg": "npm",
	"javascript": "npm",
	"nuget":      "nuget", "dotnet-core": "nuget", "packages-props": "nuget", "pipenv": "pip",
	"poetry": "pip", "pip": "pip",
	"python-pkg": "pip", "uv": "pip", "pylock": "pip", "pub": "pub", "hex": "erlang",
	"conan": "conan", "swift": "swift",
	"cocoapods": "cocoapods", "bitnami": "bitnami", "kubernetes": "k8s", "julia": "julia",
}

// Keys returns the keys of everything that a match of a list looks up. The list is one of
// [scanner.SplitLists]; only the names of its packages are read. The first key has the scope and no
// name: a change of the whole scope has it, too.
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

// scopesOf returns the scopes that a bucket of advisories affects; none if the bucket is not known.
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

// AffectedPackages returns the indexes of the packages of a list that a change affects: those with
// a key in keys, and those whose name is in names. The findings of the others do not change. ok is
// false if the whole list has to be matched: if it is a distribution's, whose packages decide
// together which advisories apply, or if its whole scope changed. Only the names of the packages
// are read.
func AffectedPackages(list pratique.Inventory, keys, names map[string]bool) (indexes []int, ok bool) {
	if len(list.Lists) != 1 || list.Lists[0].Class != pratique.ClassLanguage {
		return nil, false
	}
	l := list.Lists[0]
	scope := scopeOfList(list.OS, l)
	if scope == anyScope || keys[key(scope, "")] {
		return nil, false
	}
	for i, p := range l.Packages {
		if names[p.Name] || keys[key(scope, p.Name)] || p.SrcName != "" && keys[key(scope, p.SrcName)] {
			indexes = append(indexes, i)
		}
	}
	return indexes, true
}
