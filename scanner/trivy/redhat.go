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

// Red Hat's advisories apply to products, which have CPEs. A layer names the repositories ("content
// sets") of its packages, or its build. Trivy looks up their products, and ignores the advisories
// of all others. But that is only a file in the image: one that names a repository of another
// release, or of additional packages only, would hide the advisories of the release itself.

// The bucket of the database about Red Hat's products, and the tables in it.
const (
	redHatProducts     = "Red Hat CPE"
	redHatRepositories = "repository"
	redHatBuilds       = "nvr"
	redHatNames        = "cpe"
)

func isRedHat(family string) bool {
	return family == string(ftypes.RedHat) || family == string(ftypes.CentOS)
}

// redHat looks products up in the database, each table entry once.
type redHat struct {
	products *bolt.Bucket        // nil if the database has none
	known    map[[2]string][]cpe // by table and name
}

// cpe is the relevant part of a product's name, cpe:/o:redhat:enterprise_linux:9::baseos.
type cpe struct{ product, major, edition string }

// setNumber is the suffix that Trivy removes from the name of a content set.
var setNumber = regexp.MustCompile(`__\d+$`)

func newRedHat(tx *bolt.Tx) redHat {
	return redHat{products: tx.Bucket([]byte(redHatProducts)), known: map[[2]string][]cpe{}}
}

// repository returns the products of a content set; none if it is unknown.
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
				// a product without a name is not the release's
				_ = json.Unmarshal(r.get(redHatNames, strconv.Itoa(n)), &text)
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

// ofRelease reports whether a product belongs to a release of the operating system: it is the
// operating system, an extended-support stream (rhel_eus, rhel_aus, rhel_e4s, …), an addition
// (rhel_extras), or made for it ("el9").
func (c cpe) ofRelease(major string) bool {
	return (c.product == "enterprise_linux" || strings.HasPrefix(c.product, "rhel_")) &&
		c.major == major || c.edition == "el"+major
}

// supersedes reports whether the advisories of a product replace those of another one: an
// extended-support stream has its own for the same packages.
func (c cpe) supersedes(other cpe) bool {
	stream := c.product == other.product || other.product == "enterprise_linux" &&
		strings.HasPrefix(c.product, "rhel_")
	return stream && c.major == other.major && c.edition == other.edition
}

// repositories returns the content sets by which a package is looked up: its own, and those of the
// release that these do not supersede. own reports whether the package names a product of the
// release, or none at all; found is false if the database knows none of them, in which case Trivy
// fails.
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
		if !slices.ContainsFunc(products, func(c cpe) bool {
			return slices.ContainsFunc(theirs, c.supersedes)
		}) {
			sets = append(sets, set)
		}
	}
	own = slices.ContainsFunc(products, func(c cpe) bool { return c.ofRelease(major) })
	return sets, own, found || len(products) > 0
}

// defaultContentSets are the repositories of a release that Trivy uses for packages without any,
// and equivalent ones for releases that it has no table for.
func defaultContentSets(major string) []string {
	switch n, err := strconv.Atoi(major); {
	case err != nil || n < 6:
		return nil
	case n < 8:
		return []string{"rhel-" + major + "-server-rpms", "rhel-" + major + "-server-extras-rpms"}
	default:
		return []string{"rhel-" + major + "-for-x86_64-baseos-rpms", "rhel-" + major +
			"-for-x86_64-appstream-rpms"}
	}
}

// matchable sets the repositories by which Red Hat's packages are looked up, and removes packages
// for which Trivy would fail. Those are unmatched.
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
