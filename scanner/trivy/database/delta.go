package database

import (
	"bytes"
	"context"
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

// maxChanges bounds a delta. Beyond it looking for the lists costs more than matching them.
const maxChanges = 200_000

const (
	detailBucket = "vulnerability"
	sourceBucket = "data-source"
	redHatCPE    = "Red Hat CPE" // tables that the advisories of Red Hat refer to by number
)

// Diff compares the databases in two directories of generations. What it does not understand, and an old database that
// is not there or damaged, makes a delta of everything. A new one that cannot be read is an error of kind Unavailable.
func Diff(ctx context.Context, oldDir, newDir string) (rescan.Delta, error) {
	const op = "compare vulnerability databases"
	newer, err := openForDiff(newDir)
	if err != nil {
		return rescan.Delta{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = newer.Close() }() // only read
	older, err := openForDiff(oldDir)
	if err != nil {
		return rescan.Delta{Everything: "the database before cannot be read: " + err.Error()}, nil
	}
	defer func() { _ = older.Close() }() // only read
	w := &comparison{ctx: ctx, names: map[string]bool{}, removed: map[string]bool{}, added: map[string]bool{}, kept: map[string]bool{}}
	if err := w.run(older, newer); err != nil {
		return rescan.Delta{}, pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return w.delta(), nil
}

func openForDiff(dir string) (*bbolt.DB, error) {
	file := filepath.Join(dir, databaseFile)
	if err := inspectAdvisories(file); err != nil {
		return nil, err
	}
	return bbolt.Open(file, 0o400, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
}

type comparison struct {
	ctx             context.Context
	everything      string
	names           map[string]bool
	vulnerabilities []string
	// removed, come and stays are ecosystems of which a source went, came or stayed.
	removed, added, kept map[string]bool
}

// run walks both files in key order. A page that is damaged, in either of them, ends it with everything.
func (w *comparison) run(older, newer *bbolt.DB) error {
	err := recoverPanic(func() error {
		return older.View(func(a *bbolt.Tx) error {
			return newer.View(func(b *bbolt.Tx) error {
				return mergeKeys(a.Cursor(), b.Cursor(), func(name, _, _ []byte) error {
					if w.everything != "" || len(w.names)+len(w.vulnerabilities) > maxChanges {
						return nil
					}
					return w.compareBucket(string(name), a.Bucket(name), b.Bucket(name))
				})
			})
		})
	})
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	if err != nil {
		w.everything = err.Error()
	}
	return nil
}

func (w *comparison) delta() rescan.Delta {
	if w.everything == "" && len(w.names)+len(w.vulnerabilities) > maxChanges {
		w.everything = fmt.Sprintf("more than %d names and vulnerabilities differ", maxChanges)
	}
	if w.everything != "" {
		return rescan.Delta{Everything: w.everything}
	}
	w.addEcosystems()
	d := rescan.Delta{Vulnerabilities: w.vulnerabilities}
	for k := range w.names {
		d.Names = append(d.Names, k)
	}
	// Of lists that no table knows everything may differ as soon as anything does.
	if len(d.Names) > 0 {
		d.Names = append(d.Names, key(anyScope, ""))
	}
	slices.Sort(d.Names)
	return d
}

// addEcosystems notes those for which there are advisories from now on, or no more: that concerns all of their lists.
func (w *comparison) addEcosystems() {
	note := func(one, other map[string]bool) {
		for ecosystem := range one {
			if !w.kept[ecosystem] && !other[ecosystem] {
				for _, s := range scopesOf(ecosystem + "::") {
					w.names[key(s, "")] = true
				}
			}
		}
	}
	note(w.removed, w.added)
	note(w.added, w.removed)
}

// compareBucket compares one bucket of the first level; one of the two may be nil.
func (w *comparison) compareBucket(name string, a, b *bbolt.Bucket) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	switch name {
	case detailBucket:
		return mergeBuckets(a, b, func(id, x, y []byte) error {
			if !bytes.Equal(x, y) {
				w.vulnerabilities = append(w.vulnerabilities, string(id))
			}
			return nil
		})
	case sourceBucket:
		return mergeBuckets(a, b, func(bucket, x, y []byte) error {
			if bytes.Equal(x, y) {
				return nil
			}
			return w.addScopes(string(bucket))
		})
	case redHatCPE:
		if same, err := equal(a, b); same || err != nil {
			return err
		}
		return w.addScopes(name)
	}
	return w.compareSource(name, a, b)
}

// addScopes notes that everything about the scopes of a bucket may differ.
func (w *comparison) addScopes(bucket string) error {
	scopes := scopesOf(bucket)
	if len(scopes) == 0 {
		return fmt.Errorf("bucket %.80q is none that this program knows", bucket)
	}
	for _, s := range scopes {
		w.names[key(s, "")] = true
	}
	return nil
}

// compareSource compares the advisories of one source: a bucket for each package, an advisory in each key of it.
func (w *comparison) compareSource(name string, a, b *bbolt.Bucket) error {
	scopes := scopesOf(name)
	if before, now := hasAny(a), hasAny(b); before != now {
		switch ecosystem, _, ok := strings.Cut(name, "::"); {
		case !ok:
			// There are advisories for the release from now on, or no more, which concerns all of its packages.
			if err := w.addScopes(name); err != nil {
				return err
			}
		case strings.Contains(ecosystem, " "): // a vendor's, which adds to those that count
		case before:
			w.removed[ecosystem] = true
		default:
			w.added[ecosystem] = true
		}
	} else if ecosystem, _, ok := strings.Cut(name, "::"); ok && now {
		w.kept[ecosystem] = true
	}
	return mergeBuckets(a, b, func(pkg, x, y []byte) error {
		if x != nil || y != nil {
			return fmt.Errorf("bucket %.80q has a value where packages are expected", name)
		}
		same, err := equal(child(a, pkg), child(b, pkg))
		if same || err != nil {
			return err
		}
		if len(scopes) == 0 {
			return fmt.Errorf("bucket %.80q is none that this program knows", name)
		}
		// "nodejs:12::npm" is npm of a module.
		plain := string(pkg)
		if _, after, ok := strings.Cut(plain, "::"); ok && !strings.Contains(name, "::") {
			plain = after
		}
		for _, s := range scopes {
			w.names[key(s, plain)] = true
			w.names[key(s, string(pkg))] = true
		}
		if len(w.names) > maxChanges {
			return fmt.Errorf("more than %d names differ", maxChanges)
		}
		return w.ctx.Err()
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

// equal says whether two buckets hold the same, at all levels.
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

// mergeKeys calls fn with every key of either cursor in order, and its values; nil for a bucket and for what is not there.
// A nil cursor has no keys.
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

// recoverPanic turns a panic of f into an error: damaged pages make bbolt panic, and missing ones fault.
func recoverPanic(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s is damaged: %v", databaseFile, r)
		}
	}()
	return f()
}
