package pipeline

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// change is what differs between the findings of two reports, and what there is to say of the second.
type change struct {
	added   []pratique.AffectedFinding // gravest first
	counts  pratique.Counts
	fixable int
}

// changes remembers what it found out, since images that share parts share their change, too. The zero value is ready.
type changes struct {
	mu    sync.Mutex
	known map[string][]pratique.AffectedFinding
	parts map[pratique.Digest]tally
}

// tally is what counts of the findings in one part.
type tally struct {
	counts  pratique.Counts
	fixable int
}

// mostChanges bounds what is remembered; a fleet has far fewer at once.
const mostChanges = 10_000

// identity is what makes a finding the same one in another report, whatever else is said of it.
type identity struct{ id, pkg, installed, path string }

func identify(f scanner.Found) identity { return identity{f.ID, f.Package, f.Installed, f.Path} }

// of compares the findings in two lists of documents, each by the parts of an inventory.
func (c *changes) of(ctx context.Context, from scanner.Documents, before, now []pratique.Digest) (change, error) {
	gone, come := without(before, now), without(now, before)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound()
	out := change{counts: pratique.Counts{}}
	for _, d := range now {
		t, ok := c.parts[d]
		if !ok {
			findings, err := scanner.LoadFound(ctx, from, d)
			if err != nil {
				return change{}, orLost(err)
			}
			t = tallyOf(findings)
			c.parts[d] = t
		}
		for severity, n := range t.counts {
			out.counts[severity] += n
		}
		out.fixable += t.fixable
	}
	key := changeKey(gone, come)
	known, ok := c.known[key]
	if !ok {
		old, err := loadAll(ctx, from, gone)
		if err != nil && !isLost(err) {
			return change{}, err
		}
		fresh, err := loadAll(ctx, from, come)
		if err != nil {
			return change{}, err
		}
		known = added(old, fresh)
		c.known[key] = known
	}
	out.added = known
	return out, nil
}

// bound forgets everything when it has become too much. The mutex is held.
func (c *changes) bound() {
	if c.known == nil || len(c.known) > mostChanges || len(c.parts) > mostChanges {
		c.known, c.parts = map[string][]pratique.AffectedFinding{}, map[pratique.Digest]tally{}
	}
}

func tallyOf(all []scanner.Found) tally {
	t := tally{counts: pratique.Counts{}}
	for _, f := range all {
		t.counts[f.Severity]++
		if f.Fixed != "" {
			t.fixable++
		}
	}
	return t
}

func changeKey(gone, come []pratique.Digest) string {
	return joinDigests(gone) + ">" + joinDigests(come)
}

// learn remembers what differs between two documents, and what counts of the second.
func (c *changes) learn(before, now pratique.Digest, added []pratique.AffectedFinding, t tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound()
	c.parts[now] = t
	c.known[changeKey([]pratique.Digest{before}, []pratique.Digest{now})] = added
}

// added returns the findings in come that are not in gone, gravest first.
func added(gone, come []scanner.Found) []pratique.AffectedFinding {
	had := make(map[identity]bool, len(gone))
	for _, f := range gone {
		had[identify(f)] = true
	}
	var out []pratique.AffectedFinding
	for _, f := range come {
		if id := identify(f); !had[id] {
			had[id] = true
			out = append(out, pratique.AffectedFinding{
				ID: f.ID, Package: f.Package, Installed: f.Installed, Fixed: f.Fixed, Severity: f.Severity,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b pratique.AffectedFinding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package))
	})
	return out
}

// loadAll returns the findings of several documents.
func loadAll(ctx context.Context, from scanner.Documents, all []pratique.Digest) ([]scanner.Found, error) {
	var out []scanner.Found
	for _, d := range all {
		findings, err := scanner.LoadFound(ctx, from, d)
		if err != nil {
			return nil, orLost(err)
		}
		out = append(out, findings...)
	}
	return out, nil
}

// without returns the digests of all that are not in others.
func without(all, others []pratique.Digest) []pratique.Digest {
	var out []pratique.Digest
	for _, d := range all {
		if !slices.Contains(others, d) {
			out = append(out, d)
		}
	}
	return out
}

func joinDigests(all []pratique.Digest) string {
	var b strings.Builder
	for _, d := range all {
		b.WriteString(d.Hex())
	}
	return b.String()
}
