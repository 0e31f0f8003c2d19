package rescan

import (
	"context"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Lookup has what an adapter knows about how its scanner looks packages up.
type Lookup struct {
	// AffectedPackages returns the indexes of the packages of a list that have one of the keys of a
	// delta, or one of the names. ok is false if the whole list has to be matched. Only the names
	// of packages are known.
	AffectedPackages func(list pratique.Inventory, keys, names map[string]bool) (indexes []int, ok bool)
	// Comparable reports whether the scanner can certainly compare a version of a package in a list
	// of that type. Which other versions it can compare is part of the coverage of the whole list.
	Comparable func(listType, version string) bool
}

// Change is a delta by which only parts of lists have to be matched. A nil Change has no
// information.
type Change struct {
	// To is the digest of the new database.
	To pratique.Digest

	lookup                 Lookup
	names, vulnerabilities map[string]bool

	// Builds of an application share most packages and findings. So answers are cached by the key
	// of their query, and findings in shared documents by digest.
	mu             sync.Mutex // not held while a document is read
	cachedFindings map[pratique.Digest][]scanner.FindingCore
	size           int
}

// NewChange returns the change that a delta describes; nil if the delta may affect everything.
func NewChange(to pratique.Digest, d Delta, lookup Lookup) *Change {
	if d.Everything != "" {
		return nil
	}
	return &Change{To: to, lookup: lookup, names: toSet(d.Names),
		vulnerabilities: toSet(d.Vulnerabilities)}
}

func toSet(all []string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, s := range all {
		m[s] = true
	}
	return m
}

// affectedPackages returns the indexes of the packages that have to be matched again. ok is false
// if they cannot be matched separately.
func (c *Change) affectedPackages(list pratique.Inventory, previous *Previous) (indexes []int, ok bool) {
	if c == nil || previous == nil || previous.Coverage.Failed() {
		return nil, false
	}
	packages := map[string]bool{}
	for _, f := range previous.Findings {
		if c.vulnerabilities[f.ID] {
			packages[f.Package] = true
		}
	}
	return c.lookup.AffectedPackages(list, c.names, packages)
}

// comparable reports whether the scanner can certainly compare the versions of all packages.
func (c *Change) comparable(inv pratique.Inventory) bool {
	for _, l := range inv.Lists {
		for _, p := range l.Packages {
			if !c.lookup.Comparable(l.Type, p.Version) {
				return false
			}
		}
	}
	return true
}

// maxFindings bounds the cache of a change.
const maxFindings = 50_000

// cached returns the findings with a key.
func (c *Change) cached(key pratique.Digest) (found []scanner.FindingCore, ok bool) {
	if c == nil || key.IsZero() {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok = c.cachedFindings[key]
	return found, ok
}

// cache stores findings, which must not be changed. If there are too many it drops all others.
func (c *Change) cache(key pratique.Digest, found []scanner.FindingCore) {
	if c == nil || key.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += 1 + len(found); c.size > maxFindings || c.cachedFindings == nil {
		c.cachedFindings, c.size = map[pratique.Digest][]scanner.FindingCore{}, 1+len(found)
	}
	c.cachedFindings[key] = found
}

// loadCores is [scanner.LoadUnlocated], once for a document that lists share.
func (c *Change) loadCores(ctx context.Context, from scanner.Documents,
	d pratique.Digest) ([]scanner.FindingCore, error) {
	if found, ok := c.cached(d); ok {
		return found, nil
	}
	found, err := scanner.LoadUnlocated(ctx, from, d)
	if err == nil {
		c.cache(d, found)
	}
	return found, err
}
