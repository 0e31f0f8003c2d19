//go:build goexperiment.jsonv2

package trivy

import (
	"bytes"
	"context"
	"slices"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// Trivy looks a package up in the buckets of its release or ecosystem. If there is no bucket it
// finds nothing, which must not look like a clean package. So the buckets are checked here.

// familyNone is Trivy's operating system for packages of an image without one.
const familyNone = "none"

// coverage returns what the open database has advisories for, among the packages of inv.
func coverage(ctx context.Context, inv pratique.Inventory) (c pratique.Coverage, err error) {
	err = trivydb.Config{}.Connection().View(func(tx *bolt.Tx) error {
		db := advisoryDB{tx, newRedHat(tx)}
		c.OS = db.operatingSystem(ctx, inv)
		for _, l := range inv.Lists {
			if l.Class == pratique.ClassLanguage {
				c.Unmatched = append(c.Unmatched, db.application(l)...)
			} else {
				c.Unmatched = append(c.Unmatched, db.distribution(inv.OS, c.OS, l)...)
			}
		}
		return nil
	})
	return c, err
}

// advisoryDB is a database of advisories.
type advisoryDB struct {
	tx     *bolt.Tx
	redHat redHat
}

// hasEntries reports whether a bucket exists and is not empty.
func (db advisoryDB) hasEntries(bucket string) bool {
	b := db.tx.Bucket([]byte(bucket))
	if b == nil {
		return false
	}
	k, _ := b.Cursor().First()
	return k != nil
}

// buckets returns the non-empty buckets with a prefix.
func (db advisoryDB) buckets(prefix string) []*bolt.Bucket {
	var all []*bolt.Bucket
	c := db.tx.Cursor()
	for k, _ := c.Seek([]byte(prefix)); bytes.HasPrefix(k, []byte(prefix)); k, _ = c.Next() {
		if db.hasEntries(string(k)) {
			all = append(all, db.tx.Bucket(k))
		}
	}
	return all
}

func (db advisoryDB) operatingSystem(ctx context.Context, inv pratique.Inventory) pratique.OSCoverage {
	family := ftypes.OSType(inv.OS.Family)
	os := pratique.OSCoverage{Family: inv.OS.Family, Version: inv.OS.Name}
	for _, l := range inv.Lists {
		if l.Class == pratique.ClassOS {
			os.Packages += len(l.Packages)
		}
	}
	if family == "" || family == familyNone || !family.HasOSPackages() {
		return os
	}
	os.Known = true
	r, ok := releaseOf(inv.OS)
	if !ok {
		return os
	}
	os.Supported = slices.ContainsFunc(r.buckets, db.hasEntries)
	os.EndOfLifeAt = r.endOfLife(ctx)
	return os
}

// distribution returns the packages of a distribution's list that were not matched.
func (db advisoryDB) distribution(os pratique.OS, covered pratique.OSCoverage,
	l pratique.PackageList) []pratique.Unmatched {
	none := func(n int, reason pratique.UnmatchedReason) []pratique.Unmatched {
		if n == 0 {
			return nil
		}
		return []pratique.Unmatched{
			{Class: l.Class, Type: l.Type, Path: l.Path, Packages: n, Reason: reason}}
	}
	all := len(l.Packages)
	if !covered.Known {
		return none(all, pratique.UnmatchedUnknownOS)
	}
	r, ok := releaseOf(os)
	if !ok {
		return none(all, pratique.UnmatchedUnsupported)
	}
	if !covered.Supported {
		return none(all, pratique.UnmatchedNoAdvisories)
	}
	some := db.unmatchedOS(r, l)
	if l.Type == typeThirdParty {
		return append(none(all, pratique.UnmatchedThirdParty), some...)
	}
	lacking := 0
	if isRedHat(os.Family) {
		for _, p := range l.Packages {
			if _, own, _ := db.redHat.repositories(os, p); !own {
				lacking++
			}
		}
	}
	return append(none(lacking, pratique.UnmatchedNoAdvisories), some...)
}

// application returns the packages of an application's list that were not matched.
func (db advisoryDB) application(l pratique.PackageList) []pratique.Unmatched {
	u := pratique.Unmatched{Class: l.Class, Type: l.Type, Path: l.Path, Packages: len(l.Packages),
		Reason: pratique.UnmatchedUnsupported}
	if eco, ok := ecosystemOf(l.Type); ok {
		if buckets := db.buckets(string(eco) + "::"); len(buckets) > 0 {
			return unmatchedInApplication(eco, buckets, l)
		}
		u.Reason = pratique.UnmatchedNoAdvisories
	}
	return []pratique.Unmatched{u}
}

// hasAdvisory reports whether one of the buckets has an advisory for a package.
func hasAdvisory(buckets []*bolt.Bucket, pkg string) bool {
	return pkg != "" && slices.ContainsFunc(buckets, func(b *bolt.Bucket) bool {
		return b.Bucket([]byte(pkg)) != nil
	})
}

// hasOSAdvisory reports whether there is an advisory for a package of a release, or for its source,
// with or without a module.
func (db advisoryDB) hasOSAdvisory(r release, p pratique.Package) bool {
	for _, bucket := range r.buckets {
		b := db.tx.Bucket([]byte(bucket))
		if b == nil {
			continue
		}
		for _, name := range []string{p.Name, p.SrcName} {
			if name != "" && b.Bucket([]byte(name)) != nil {
				return true
			}
		}
		if r.family != ftypes.Alma {
			continue
		}
		c := b.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if bytes.HasSuffix(k, []byte("::"+p.Name)) {
				return true
			}
		}
	}
	return false
}
