package incremental

import (
	"slices"
	"sync"

	"github.com/pratique-dev/pratique"
)

// cache has the images that were cataloged last, by their layers. The zero value is empty.
type cache struct {
	mu    sync.Mutex
	bases []*base // least recently used first
}

const (
	// maxBases and maxPaths bound a cache. A path takes about 150 bytes.
	maxBases = 16
	maxPaths = 300_000
)

// find returns the cached image with the most layers that an image is built on, nil if there is
// none.
func (c *cache) find(chain []pratique.Digest) *base {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *base
	for _, b := range c.bases {
		n := len(b.chain)
		if n <= len(chain) && slices.Equal(b.chain, chain[:n]) && (found == nil || n > len(found.chain)) {
			found = b
		}
	}
	if found != nil {
		c.use(found)
	}
	return found
}

// use moves a base to the end of the list, after the bases below it.
func (c *cache) use(b *base) {
	if b.below != nil {
		c.use(b.below)
	}
	if at := slices.Index(c.bases, b); at >= 0 {
		c.bases = append(slices.Delete(c.bases, at, at+1), b)
	}
}

// shared returns the number of lowest layers that an image shares with a cached one.
func (c *cache) shared(chain []pratique.Digest) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0
	for _, b := range c.bases {
		n := 0
		for n < min(len(chain), len(b.chain)) && chain[n] == b.chain[n] {
			n++
		}
		most = max(most, n)
	}
	return most
}

// add caches an image, unless it is nil. If its base is no longer cached, neither is the image: it
// would keep the base in memory, beyond the bound.
func (c *cache) add(b *base) {
	if b == nil || len(b.paths.here) > maxPaths {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.below != nil && !slices.Contains(c.bases, b.below) {
		return
	}
	if at := slices.IndexFunc(c.bases, func(old *base) bool {
		return slices.Equal(old.chain, b.chain)
	}); at >= 0 {
		if old := c.bases[at]; b.any(func(below *base) bool { return below == old }) {
			return
		}
		c.drop(c.bases[at])
	}
	c.bases = append(c.bases, b)
	for len(c.bases) > maxBases || c.paths() > maxPaths {
		c.drop(c.bases[0])
	}
}

func (c *cache) paths() int {
	total := 0
	for _, b := range c.bases {
		total += len(b.paths.here)
	}
	return total
}

// drop removes a base, and those built on it.
func (c *cache) drop(gone *base) {
	c.bases = slices.DeleteFunc(c.bases, func(b *base) bool {
		return b.any(func(below *base) bool { return below == gone })
	})
}
