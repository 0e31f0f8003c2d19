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

// Comparisons compares the findings of reports, and caches the results: images that share lists
// also share the differences. The zero value is ready.
type Comparisons struct {
	totals cache[Totals] // by the document of a list's findings
	added  cache[Added]  // by the documents that are on one side only
}

// Put caches how a list's findings differ from the previous ones.
func (c *Comparisons) Put(before, now pratique.Digest, d Difference) {
	c.totals.put(now.Hex(), d.Totals)
	c.added.put(comparisonKey([]pratique.Digest{before}, []pratique.Digest{now}), d.Added)
}

// Compare returns the difference between two reports, each given by the documents of its lists'
// findings. If a previous document is missing or damaged, all of them are ignored.
func (c *Comparisons) Compare(ctx context.Context, from scanner.Documents, before,
	now []pratique.Digest) (Difference, error) {
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
	gone, come := minus(before, now), minus(now, before)
	var err error
	d.Added, err = c.added.get(comparisonKey(gone, come), func() (Added, error) {
		old, err := loadAll(ctx, from, gone)
		if err != nil && !missingOrDamaged(err) {
			return Added{}, err
		}
		found, err := loadAll(ctx, from, come)
		return added(old, found), err
	})
	return d, err
}

// minus returns the digests in all that are not in others.
func minus(all, others []pratique.Digest) []pratique.Digest {
	return slices.DeleteFunc(slices.Clone(all), func(d pratique.Digest) bool {
		return slices.Contains(others, d)
	})
}

func comparisonKey(gone, come []pratique.Digest) string {
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

// cache caches values, and computes a value once for concurrent callers.
type cache[T any] struct {
	mu       sync.Mutex // not held while a value is made
	values   map[string]T
	inFlight singleflight.Group
}

// maxRemembered bounds a cache. Far fewer values are in use at a time.
const maxRemembered = 10_000

func (m *cache[T]) put(key string, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= maxRemembered {
		m.values = map[string]T{}
	}
	m.values[key] = value
}

func (m *cache[T]) get(key string, make func() (T, error)) (T, error) {
	m.mu.Lock()
	value, ok := m.values[key]
	m.mu.Unlock()
	if ok {
		return value, nil
	}
	made, err, _ := m.inFlight.Do(key, func() (any, error) {
		value, err := make()
		if err == nil {
			m.put(key, value)
		}
		return value, err
	})
	value, _ = made.(T)
	return value, err
}
