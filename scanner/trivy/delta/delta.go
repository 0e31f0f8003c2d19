// Package delta compares two vulnerability databases of Trivy, and says which packages the
// difference affects. It uses nothing of Trivy's code; tests of package trivy hold its tables
// against Trivy's.
package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner/rescan"
)

// maxChanges bounds a delta. Beyond it, looking the lists up costs more than matching all of them.
const maxChanges = 200_000

const (
	databaseFile = "trivy.db"
	detailBucket = "vulnerability"
	sourceBucket = "data-source"
	redHatCPE    = "Red Hat CPE" // tables that Red Hat's advisories refer to by number
)

// Compare compares the databases in two directories. If the old one is missing or damaged, or if a
// difference is not understood, the delta is everything. If the new one cannot be read, the error
// is of kind Unavailable.
func Compare(ctx context.Context, oldDir, newDir string) (rescan.Delta, error) {
	const op = "compare vulnerability databases"
	newer, err := open(newDir)
	if err != nil {
		return rescan.Delta{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = newer.Close() }() // only read
	older, err := open(oldDir)
	if err != nil {
		return rescan.Delta{Everything: "the previous database cannot be read: " + err.Error()}, nil
	}
	defer func() { _ = older.Close() }() // only read
	c := &comparison{ctx: ctx, names: map[string]bool{}, removed: map[string]bool{},
		added: map[string]bool{}, kept: map[string]bool{}}
	if err := c.run(older, newer); err != nil {
		return rescan.Delta{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return c.delta(), nil
}

// open opens a database and checks that it has vulnerabilities.
func open(dir string) (db *bbolt.DB, err error) {
	err = recoverPanic(func() error {
		db, err = bbolt.Open(filepath.Join(dir, databaseFile), 0o400, &bbolt.Options{ReadOnly: true,
			Timeout: 5 * time.Second})
		if err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error {
			if !hasAny(tx.Bucket([]byte(detailBucket))) {
				return errors.New(databaseFile + " has no vulnerabilities in it")
			}
			return nil
		})
	})
	if err != nil && db != nil {
		err = errors.Join(err, db.Close())
	}
	return db, err
}

// comparison collects what differs while it walks over both databases.
type comparison struct {
	ctx             context.Context
	everything      string
	names           map[string]bool
	vulnerabilities []string
	// Ecosystems that lost a source, got one, or kept one.
	removed, added, kept map[string]bool
}

// run walks both files in key order. If a page of either is damaged, everything may differ.
func (c *comparison) run(older, newer *bbolt.DB) error {
	err := recoverPanic(func() error {
		return older.View(func(a *bbolt.Tx) error {
			return newer.View(func(b *bbolt.Tx) error {
				return mergeKeys(a.Cursor(), b.Cursor(), func(name, _, _ []byte) error {
					if c.everything != "" || len(c.names)+len(c.vulnerabilities) > maxChanges {
						return nil
					}
					return c.compareBucket(string(name), a.Bucket(name), b.Bucket(name))
				})
			})
		})
	})
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err != nil {
		c.everything = err.Error()
	}
	return nil
}

func (c *comparison) delta() rescan.Delta {
	if c.everything == "" && len(c.names)+len(c.vulnerabilities) > maxChanges {
		c.everything = fmt.Sprintf("more than %d names and vulnerabilities differ", maxChanges)
	}
	if c.everything != "" {
		return rescan.Delta{Everything: c.everything}
	}
	c.addEcosystems()
	d := rescan.Delta{Vulnerabilities: c.vulnerabilities}
	for k := range c.names {
		d.Names = append(d.Names, k)
	}
	// Any change may affect lists of unknown types.
	if len(d.Names) > 0 {
		d.Names = append(d.Names, key(anyScope, ""))
	}
	slices.Sort(d.Names)
	return d
}

// addEcosystems adds the ecosystems that got their first source or lost their last one. All of
// their lists are affected.
func (c *comparison) addEcosystems() {
	add := func(one, other map[string]bool) {
		for ecosystem := range one {
			if !c.kept[ecosystem] && !other[ecosystem] {
				for _, s := range scopesOf(ecosystem + "::") {
					c.names[key(s, "")] = true
				}
			}
		}
	}
	add(c.removed, c.added)
	add(c.added, c.removed)
}

// compareBucket compares two top-level buckets, of which one may be nil.
func (c *comparison) compareBucket(name string, a, b *bbolt.Bucket) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	switch name {
	case detailBucket:
		return mergeBuckets(a, b, func(id, x, y []byte) error {
			if !bytes.Equal(x, y) {
				c.vulnerabilities = append(c.vulnerabilities, string(id))
			}
			return nil
		})
	case sourceBucket:
		return mergeBuckets(a, b, func(bucket, x, y []byte) error {
			if bytes.Equal(x, y) {
				return nil
			}
			return c.addScopes(string(bucket))
		})
	case redHatCPE:
		if same, err := equal(a, b); same || err != nil {
			return err
		}
		return c.addScopes(name)
	}
	return c.compareSource(name, a, b)
}

// addScopes adds all packages of the scopes that a bucket belongs to.
func (c *comparison) addScopes(bucket string) error {
	scopes := scopesOf(bucket)
	if len(scopes) == 0 {
		return fmt.Errorf("bucket %.80q is not known to this program", bucket)
	}
	for _, s := range scopes {
		c.names[key(s, "")] = true
	}
	return nil
}

// compareSource compares the advisories of one source: each package has a bucket, and each advisory
// a key in it.
func (c *comparison) compareSource(name string, a, b *bbolt.Bucket) error {
	scopes := scopesOf(name)
	if before, now := hasAny(a), hasAny(b); before != now {
		switch ecosystem, _, ok := strings.Cut(name, "::"); {
		case !ok:
			// The release got its first advisories or lost its last ones, which affects all of its
			// packages.
			if err := c.addScopes(name); err != nil {
				return err
			}
		case strings.Contains(ecosystem, " "): // a vendor's, which adds to the ecosystem's own
		case before:
			c.removed[ecosystem] = true
		default:
			c.added[ecosystem] = true
		}
	} else if ecosystem, _, ok := strings.Cut(name, "::"); ok && now {
		c.kept[ecosystem] = true
	}
	return mergeBuckets(a, b, func(pkg, x, y []byte) error {
		if x != nil || y != nil {
			return fmt.Errorf("bucket %.80q has a value, want packages only", name)
		}
		same, err := equal(child(a, pkg), child(b, pkg))
		if same || err != nil {
			return err
		}
		if len(scopes) == 0 {
			return fmt.Errorf("bucket %.80q is not known to this program", name)
		}
		// "nodejs:12::npm" is the package npm of a module.
		unqualified := string(pkg)
		if _, after, ok := strings.Cut(unqualified, "::"); ok && !strings.Contains(name, "::") {
			unqualified = after
		}
		for _, s := range scopes {
			c.names[key(s, unqualified)] = true
			c.names[key(s, string(pkg))] = true
		}
		if len(c.names) > maxChanges {
			return fmt.Errorf("more than %d names differ", maxChanges)
		}
		return c.ctx.Err()
	})
}

func hasAny(b *bbolt.Bucket) bool {
	if b == nil {
		return false
	}
	k, _ := b.Cursor().First()
	return k != nil
}

func child(b *bbolt.Bucket, name []byte) *bbolt.Bucket {
	if b == nil {
		return nil
	}
	return b.Bucket(name)
}

// equal reports whether two buckets have the same content, at all levels.
func equal(a, b *bbolt.Bucket) (bool, error) {
	if (a == nil) != (b == nil) {
		return false, nil
	}
	same := true
	err := mergeBuckets(a, b, func(k, x, y []byte) error {
		switch {
		case !same:
		case x != nil || y != nil:
			same = bytes.Equal(x, y) && (x == nil) == (y == nil)
		default:
			var err error
			same, err = equal(child(a, k), child(b, k))
			return err
		}
		return nil
	})
	return same, err
}

func mergeBuckets(a, b *bbolt.Bucket, fn func(key, x, y []byte) error) error {
	return mergeKeys(cursor(a), cursor(b), fn)
}

func cursor(b *bbolt.Bucket) *bbolt.Cursor {
	if b == nil {
		return nil
	}
	return b.Cursor()
}

// mergeKeys calls fn with each key of either cursor, in order, and its two values. The value of a
// bucket is nil, and so is a value that is missing. A nil cursor has no keys.
func mergeKeys(a, b *bbolt.Cursor, fn func(key, x, y []byte) error) error {
	first := func(c *bbolt.Cursor) (k, v []byte) {
		if c != nil {
			k, v = c.First()
		}
		return k, v
	}
	ka, va := first(a)
	kb, vb := first(b)
	for ka != nil || kb != nil {
		order := bytes.Compare(ka, kb)
		if kb == nil {
			order = -1
		} else if ka == nil {
			order = 1
		}
		var err error
		switch {
		case order < 0:
			err = fn(ka, va, nil)
			ka, va = a.Next()
		case order > 0:
			err = fn(kb, nil, vb)
			kb, vb = b.Next()
		default:
			err = fn(ka, va, vb)
			ka, va = a.Next()
			kb, vb = b.Next()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recoverPanic turns a panic of f into an error. bbolt panics on damaged pages, and missing ones
// fault.
func recoverPanic(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s is damaged: %v", databaseFile, r)
		}
	}()
	return f()
}
