//go:build goexperiment.jsonv2

package trivy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// Advisories of Red Hat hold for products, which it names by CPE. Trivy takes the repositories ("content sets") that a
// package's layer says it was installed from, or the build that the layer says it is, looks up which products these are, and
// finds nothing of any other. But a file in the image is all that says so: one that names a repository of another release, or
// one of additional packages only, would make the advisories of the release itself vanish.

// The tables of the database about Red Hat's products.
const (
	redHatProducts     = "Red Hat CPE"
	redHatRepositories = "repository"
	redHatBuilds       = "nvr"
	redHatNames        = "cpe"
)

func isRedHat(family string) bool {
	return family == string(ftypes.RedHat) || family == string(ftypes.CentOS)
}

// redHat looks up products in the database, each table entry once.
type redHat struct {
	products *bolt.Bucket        // nil if the database has none
	known    map[[2]string][]cpe // by table and name
}

// cpe is a product by its name, cpe:/o:redhat:enterprise_linux:9::baseos, less what does not count.
type cpe struct{ product, major, edition string }

// setNumber is the number that Trivy takes off the name of a content set.
var setNumber = regexp.MustCompile(`__\d+$`)

func newRedHat(tx *bolt.Tx) redHat {
	return redHat{products: tx.Bucket([]byte(redHatProducts)), known: map[[2]string][]cpe{}}
}

// repository are the products of a content set; none if the database does not know it.
func (r redHat) repository(set string) []cpe {
	return r.in(redHatRepositories, setNumber.ReplaceAllString(set, ""))
}

func (r redHat) in(table, name string) []cpe {
	key := [2]string{table, name}
	found, ok := r.known[key]
	if !ok {
		var numbers []int
		if json.Unmarshal(r.get(table, name), &numbers) == nil {
			for _, n := range numbers {
				var text string
				_ = json.Unmarshal(r.get(redHatNames, strconv.Itoa(n)), &text) // a product without a name is none of the release's
				found = append(found, parseCPE(text))
			}
		}
		r.known[key] = found
	}
	return found
}

func (r redHat) get(table, key string) []byte {
	if r.products == nil {
		return nil
	}
	b := r.products.Bucket([]byte(table))
	if b == nil {
		return nil
	}
	return b.Get([]byte(key))
}

func parseCPE(text string) cpe {
	fields := strings.Split(text, ":")
	at := func(n int) string {
		if n < len(fields) {
			return fields[n]
		}
		return ""
	}
	if at(0) != "cpe" || at(2) != "redhat" {
		return cpe{}
	}
	return cpe{at(3), version.Major(at(4)), at(6)}
}

// ofRelease says whether a product belongs to a release of the operating system: it is the operating system itself, one of
// the streams that are supported for longer (rhel_eus, rhel_aus, rhel_e4s, …), what comes beside it (rhel_extras), or made
// for it ("el9").
func (c cpe) ofRelease(major string) bool {
	return (c.product == "enterprise_linux" || strings.HasPrefix(c.product, "rhel_")) && c.major == major || c.edition == "el"+major
}

// supersedes says whether the advisories of one product take the place of another's: a stream that is supported for longer has
// its own for the same packages.
func (c cpe) supersedes(other cpe) bool {
	stream := c.product == other.product || other.product == "enterprise_linux" && strings.HasPrefix(c.product, "rhel_")
	return stream && c.major == other.major && c.edition == other.edition
}

// repositories are the content sets by which a package is looked up: those that it names, and those of the release that they
// do not take the place of. own says whether it names one of the release, or none at all; found is false if the database
// knows none of them, on which Trivy gives up.
func (r redHat) repositories(os pratique.OS, p pratique.Package) (sets []string, own, found bool) {
	major := version.Major(os.Name)
	if len(p.ContentSets) == 0 && p.NVR == "" && p.BuildArch == "" {
		sets = defaultContentSets(major)
		found = slices.ContainsFunc(sets, func(set string) bool { return len(r.repository(set)) > 0 })
		return sets, found, found
	}
	products := slices.Clone(r.in(redHatBuilds, p.NVR+"-"+p.BuildArch))
	for _, set := range p.ContentSets {
		products = append(products, r.repository(set)...)
	}
	sets = slices.Clone(p.ContentSets)
	for _, set := range defaultContentSets(major) {
		theirs := r.repository(set)
		if len(theirs) == 0 {
			continue
		}
		found = true
		if !slices.ContainsFunc(products, func(c cpe) bool { return slices.ContainsFunc(theirs, c.supersedes) }) {
			sets = append(sets, set)
		}
	}
	own = slices.ContainsFunc(products, func(c cpe) bool { return c.ofRelease(major) })
	return sets, own, found || len(products) > 0
}

// defaultContentSets are the repositories of a release: those that Trivy takes for packages which do not say where they
// are from, and the same of the releases that it has no table for.
func defaultContentSets(major string) []string {
	switch n, err := strconv.Atoi(major); {
	case err != nil || n < 6:
		return nil
	case n < 8:
		return []string{"rhel-" + major + "-server-rpms", "rhel-" + major + "-server-extras-rpms"}
	default:
		return []string{"rhel-" + major + "-for-x86_64-baseos-rpms", "rhel-" + major + "-for-x86_64-appstream-rpms"}
	}
}

// matchable has packages of Red Hat looked up in the repositories that count, and leaves out those on which Trivy would give
// up. These are among the unmatched.
func matchable(inv pratique.Inventory) (out pratique.Inventory, err error) {
	if !isRedHat(inv.OS.Family) {
		return inv, nil
	}
	err = trivydb.Config{}.Connection().View(func(tx *bolt.Tx) error {
		r := newRedHat(tx)
		out = inv
		out.Lists = nil
		for _, l := range inv.Lists {
			if l.Class == pratique.ClassOS {
				l.Packages = r.matchable(inv.OS, l.Packages)
			}
			out.Lists = append(out.Lists, l)
		}
		return nil
	})
	return out, err
}

func (r redHat) matchable(os pratique.OS, all []pratique.Package) (some []pratique.Package) {
	for _, p := range all {
		sets, _, found := r.repositories(os, p)
		if p.ContentSets = sets; found {
			some = append(some, p)
		}
	}
	return some
}
