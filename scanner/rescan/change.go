package rescan

import (
	"context"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Lookup is what an adapter knows of how its scanner looks packages up.
type Lookup struct {
	// Concerned returns the numbers of the packages of a list that have one of the keys of a delta, or one
	// of the names in packages. ok is false if the whole list has to be matched. Of the packages nothing
	// but the names are known.
	Concerned func(list pratique.Inventory, keys, packages map[string]bool) (numbers []int, ok bool)
	// Comparable says whether the scanner certainly compares a version of a package in a list of that
	// type. Which others it compares is part of the coverage, which is the whole list's.
	Comparable func(listType, version string) bool
}

// Change is a delta that allows to match less than whole lists. A nil Change knows nothing.
type Change struct {
	// To is the digest of the new database.
	To pratique.Digest

	lookup                 Lookup
	names, vulnerabilities map[string]bool

	// Builds of one application share most of their packages, and the findings in them. So answers are
	// remembered by the key of their query, and the findings in shared documents by digest.
	mu       sync.Mutex // not held while a document is read
	findings map[pratique.Digest][]scanner.FindingCore
	size     int
}

// NewChange returns the change that a delta describes; nil if the delta may affect everything.
func NewChange(to pratique.Digest, d Delta, lookup Lookup) *Change {
	if d.Everything != "" {
		return nil
	}
	return &Change{To: to, lookup: lookup, names: set(d.Names), vulnerabilities: set(d.Vulnerabilities)}
}

func set(all []string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, s := range all {
		m[s] = true
	}
	return m
}

// concerned returns the numbers of the packages that have to be matched again. ok is false if they cannot
// be matched apart from the list.
func (c *Change) concerned(list pratique.Inventory, previous *Previous) (numbers []int, ok bool) {
	if c == nil || previous == nil || previous.Coverage.Failed() {
		return nil, false
	}
	packages := map[string]bool{}
	for _, f := range previous.Findings {
		if c.vulnerabilities[f.ID] {
			packages[f.Package] = true
		}
	}
	return c.lookup.Concerned(list, c.names, packages)
}

// comparable says whether the scanner certainly compares the versions of all packages.
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

// mostFindings bounds what a change remembers.
const mostFindings = 50_000

// recall returns the findings under a key.
func (c *Change) recall(key pratique.Digest) (found []scanner.FindingCore, ok bool) {
	if c == nil || key.IsZero() {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok = c.findings[key]
	return found, ok
}

// remember keeps findings, which nobody changes. It forgets everything before if that is too much.
func (c *Change) remember(key pratique.Digest, found []scanner.FindingCore) {
	if c == nil || key.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += 1 + len(found); c.size > mostFindings || c.findings == nil {
		c.findings, c.size = map[pratique.Digest][]scanner.FindingCore{}, 1+len(found)
	}
	c.findings[key] = found
}

// loadCores is [scanner.LoadUnlocated], once for a document that lists share.
func (c *Change) loadCores(ctx context.Context, from scanner.Documents, d pratique.Digest) ([]scanner.FindingCore, error) {
	if found, ok := c.recall(d); ok {
		return found, nil
	}
	found, err := scanner.LoadUnlocated(ctx, from, d)
	if err == nil {
		c.remember(d, found)
	}
	return found, err
}
