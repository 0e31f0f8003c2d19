package rescan

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Comparisons compare the findings of reports, and remember the result: images that share lists share the
// difference, too. The zero value is ready.
type Comparisons struct {
	totals memo[Totals] // by the document of a list's findings
	added  memo[Added]  // by the documents of which none is on both sides
}

// Learn remembers how a list's findings differ from those before.
func (c *Comparisons) Learn(before, now pratique.Digest, d Difference) {
	c.totals.put(now.Hex(), d.Totals)
	c.added.put(comparison([]pratique.Digest{before}, []pratique.Digest{now}), d.Added)
}

// Compare returns the difference between two reports, each given by the documents of its lists' findings.
// Of those before, none counts if one is gone or damaged.
func (c *Comparisons) Compare(ctx context.Context, from scanner.Documents, before, now []pratique.Digest) (Difference, error) {
	d := Difference{Totals: Totals{Counts: pratique.Counts{}}}
	for _, list := range now {
		t, err := c.totals.get(list.Hex(), func() (Totals, error) {
			found, err := loadAll(ctx, from, []pratique.Digest{list})
			return totals(found), err
		})
		if err != nil {
			return Difference{}, err
		}
		for severity, n := range t.Counts {
			d.Counts[severity] += n
		}
		d.Fixable += t.Fixable
	}
	gone, come := without(before, now), without(now, before)
	var err error
	d.Added, err = c.added.get(comparison(gone, come), func() (Added, error) {
		old, err := loadAll(ctx, from, gone)
		if err != nil && !lost(err) {
			return Added{}, err
		}
		found, err := loadAll(ctx, from, come)
		return added(old, found), err
	})
	return d, err
}

// without returns the digests of all that are not in others.
func without(all, others []pratique.Digest) []pratique.Digest {
	return slices.DeleteFunc(slices.Clone(all), func(d pratique.Digest) bool { return slices.Contains(others, d) })
}

func comparison(gone, come []pratique.Digest) string {
	var key strings.Builder
	for _, d := range gone {
		key.WriteString(d.Hex())
	}
	key.WriteByte('>')
	for _, d := range come {
		key.WriteString(d.Hex())
	}
	return key.String()
}

// memo remembers values, and has those that several goroutines want at once made once.
type memo[T any] struct {
	mu     sync.Mutex // not held while a value is made
	values map[string]T
	making singleflight.Group
}

// mostRemembered bounds a memo. Far fewer values are in use at once.
const mostRemembered = 10_000

func (m *memo[T]) put(key string, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= mostRemembered {
		m.values = map[string]T{}
	}
	m.values[key] = value
}

func (m *memo[T]) get(key string, make func() (T, error)) (T, error) {
	m.mu.Lock()
	value, ok := m.values[key]
	m.mu.Unlock()
	if ok {
		return value, nil
	}
	made, err, _ := m.making.Do(key, func() (any, error) {
		value, err := make()
		if err == nil {
			m.put(key, value)
		}
		return value, err
	})
	value, _ = made.(T)
	return value, err
}
