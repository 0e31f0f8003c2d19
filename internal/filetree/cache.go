package filetree

import (
	"context"
	"os"
	"slices"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Image is an image with its layers merged.
type Image struct {
	// Layers are in the order of the manifest, lowest first. A layer that occurs twice is the same
	// pointer twice.
	Layers []*Layer
	Tree   *Tree

	paths map[pratique.Digest]string
	steps int
}

// Resolve follows all links in a path, as Linux does for a process whose root is the tree, and
// returns the path without links and its node; the node is nil if nothing exists there. More links
// than Linux follows are [ErrLoop]. All paths of an image share a bound of steps, beyond which the
// error is Exhausted. It is not safe for concurrent use.
func (i *Image) Resolve(name string) (real string, n *Node, err error) {
	return i.Tree.resolve(name, func(n int) error {
		if i.steps += n; i.steps > maxSteps {
			return pratique.Errorf(pratique.Exhausted, "follow links",
				"it takes more than %d steps", maxSteps)
		}
		return nil
	})
}

// Cache builds the trees of images, and caches recent layers and trees, so that a known base is
// neither read nor built again. It is safe for concurrent use, and builds one tree at a time.
type Cache struct {
	mu     sync.Mutex
	layers []*Layer // least recently used first
	trees  []knownTree
}

// knownTree is the tree of an image's lowest layers.
type knownTree struct {
	chain []*Layer
	tree  *Tree // nil for no layers
}

const (
	// maxEntries bounds the headers of cached layers, at about 300 bytes each; maxTrees bounds the
	// trees.
	maxEntries = 300_000
	maxTrees   = 32
)

// Image reads the headers of layers that are not cached, and merges all layers.
func (m *Cache) Image(ctx context.Context, img layers.Image) (*Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.trim() // also after an error
	out := &Image{paths: map[pratique.Digest]string{}}
	for _, l := range img.Layers {
		out.paths[l.DiffID] = l.Path
		layer, err := m.layer(ctx, l)
		if err != nil {
			return nil, pratique.Wrap(pratique.Unknown, "read layer", l.DiffID.String(), err)
		}
		out.Layers = append(out.Layers, layer)
	}
	tree, err := m.tree(out.Layers)
	if err != nil {
		return nil, err
	}
	out.Tree = tree
	return out, nil
}

// layer returns a layer, and reads its headers unless it is cached.
func (m *Cache) layer(ctx context.Context, l layers.Layer) (*Layer, error) {
	if at := slices.IndexFunc(m.layers, func(have *Layer) bool {
		return have.DiffID == l.DiffID
	}); at >= 0 {
		layer := m.layers[at]
		m.layers = append(slices.Delete(m.layers, at, at+1), layer)
		return layer, nil
	}
	f, err := os.Open(l.Path)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer", "", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer", "", err)
	}
	entries, err := scan(ctx, f, info.Size())
	if err != nil {
		return nil, err
	}
	layer, err := unpack(l.DiffID, entries)
	if err != nil {
		return nil, err
	}
	m.layers = append(m.layers, layer)
	return layer, nil
}

// tree merges layers, starting from the cached tree with most of them. The layers that are shared
// with an earlier image are cached as a tree, because more images with the same base will come.
func (m *Cache) tree(chain []*Layer) (*Tree, error) {
	var base knownTree
	shared := 0
	for _, k := range m.trees {
		n := 0
		for n < min(len(chain), len(k.chain)) && chain[n] == k.chain[n] {
			n++
		}
		shared = max(shared, n)
		if n == len(k.chain) && (base.tree == nil || n > len(base.chain)) {
			base = k
		}
	}
	for _, to := range []int{shared, len(chain)} {
		if to == len(base.chain) && (base.tree != nil || to < len(chain)) {
			continue
		}
		f := newBuilder(base.tree)
		for _, l := range chain[len(base.chain):to] {
			if err := f.add(l); err != nil {
				return nil, pratique.Wrap(pratique.Unknown, "read layer", l.DiffID.String(), err)
			}
		}
		base = knownTree{chain: chain[:to:to], tree: f.done()}
		m.trees = append(m.trees, base)
	}
	return base.tree, nil
}

// trim drops the least recently used layers, and the trees that contain them.
func (m *Cache) trim() {
	total := 0
	for _, l := range m.layers {
		total += len(l.Entries)
	}
	gone := map[*Layer]bool{}
	for len(m.layers) > 0 && total > maxEntries {
		total -= len(m.layers[0].Entries)
		gone[m.layers[0]] = true
		m.layers = slices.Delete(m.layers, 0, 1)
	}
	m.trees = slices.DeleteFunc(m.trees, func(k knownTree) bool {
		return slices.ContainsFunc(k.chain, func(l *Layer) bool { return gone[l] })
	})
	if n := len(m.trees) - maxTrees; n > 0 {
		m.trees = slices.Delete(m.trees, 0, n)
	}
}

// PerLayer caches a value derived from each layer. It keeps about as many headers in memory as
// [Cache]. The zero value is ready. It is not safe for concurrent use.
type PerLayer[T any] struct {
	of      map[*Layer]T
	entries int
}

// Get returns the cached value of a layer, or derives it.
func (d *PerLayer[T]) Get(l *Layer, derive func(*Layer) T) T {
	if known, ok := d.of[l]; ok {
		return known
	}
	made := derive(l)
	if len(l.Entries) > maxEntries {
		return made
	}
	if d.entries += len(l.Entries); d.of == nil || d.entries > maxEntries {
		d.of, d.entries = map[*Layer]T{}, len(l.Entries)
	}
	d.of[l] = made
	return made
}
