package pipeline

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// change is what differs between the findings of two reports, and what there is to say of the second.
type change struct {
	added
	counts  pratique.Counts
	fixable int
}

// added is what came new: how much, and the gravest of it, at most [pratique.MaxAffected].
type added struct {
	total   int
	gravest []pratique.AffectedFinding
}

// changes remembers what it found out, since images that share parts share their change, too. The zero value is ready.
type changes struct {
	mu    sync.Mutex // never held while a document is read
	known map[string]added
	parts map[pratique.Digest]tally
	// Those who ask for the same at one time read it once.
	reading singleflight.Group
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
	out := change{counts: pratique.Counts{}}
	for _, d := range now {
		t, err := c.tally(ctx, from, d)
		if err != nil {
			return change{}, err
		}
		for severity, n := range t.counts {
			out.counts[severity] += n
		}
		out.fixable += t.fixable
	}
	var err error
	out.added, err = c.added(ctx, from, without(before, now), without(now, before))
	return out, err
}

// tally counts the findings of a document.
func (c *changes) tally(ctx context.Context, from scanner.Documents, d pratique.Digest) (tally, error) {
	c.mu.Lock()
	t, ok := c.parts[d]
	c.mu.Unlock()
	if ok {
		return t, nil
	}
	read, err, _ := c.reading.Do("tally "+d.Hex(), func() (any, error) {
		findings, _, err := scanner.LoadFound(ctx, from, d)
		return tallyOf(findings), orLost(err)
	})
	if err != nil {
		return tally{}, err
	}
	t, _ = read.(tally)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound()
	c.parts[d] = t
	return t, nil
}

// added compares documents of which none is on both sides.
func (c *changes) added(ctx context.Context, from scanner.Documents, gone, come []pratique.Digest) (added, error) {
	key := changeKey(gone, come)
	c.mu.Lock()
	known, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	read, err, _ := c.reading.Do("added "+key, func() (any, error) {
		old, err := loadAll(ctx, from, gone)
		if err != nil && !isLost(err) {
			return added{}, err
		}
		fresh, err := loadAll(ctx, from, come)
		return compare(old, fresh), err
	})
	if err != nil {
		return added{}, err
	}
	known, _ = read.(added)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound()
	c.known[key] = known
	return known, nil
}

// bound forgets everything when it has become too much. The mutex is held.
func (c *changes) bound() {
	if c.known == nil || len(c.known) > mostChanges || len(c.parts) > mostChanges {
		c.known, c.parts = map[string]added{}, map[pratique.Digest]tally{}
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
func (c *changes) learn(before, now pratique.Digest, a added, t tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound()
	c.parts[now] = t
	c.known[changeKey([]pratique.Digest{before}, []pratique.Digest{now})] = a
}

// compare returns the findings in come that are not in gone, gravest first. The texts are excerpts: an image chose them.
func compare(gone, come []scanner.Found) added {
	had := make(map[identity]bool, len(gone))
	for _, f := range gone {
		had[identify(f)] = true
	}
	var out []pratique.AffectedFinding
	for _, f := range come {
		if id := identify(f); !had[id] {
			had[id] = true
			out = append(out, pratique.AffectedFinding{
				ID: pratique.Excerpt(f.ID, mostName), Package: pratique.Excerpt(f.Package, mostName),
				Installed: pratique.Excerpt(f.Installed, mostName), Fixed: pratique.Excerpt(f.Fixed, mostName), Severity: f.Severity,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b pratique.AffectedFinding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package))
	})
	return added{total: len(out), gravest: slices.Clone(out[:min(len(out), pratique.MaxAffected)])}
}

// loadAll returns the findings of several documents.
func loadAll(ctx context.Context, from scanner.Documents, all []pratique.Digest) ([]scanner.Found, error) {
	var out []scanner.Found
	for _, d := range all {
		findings, _, err := scanner.LoadFound(ctx, from, d)
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
