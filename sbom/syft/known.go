package syft

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/file"
	syftsbom "github.com/anchore/syft/syft/sbom"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// known is an image that was catalogued, with all that decides whether an image that lies on top of it has
// the same catalogue and more.
type known struct {
	chain  []pratique.Digest // diff ids, lowest first
	sbom   *syftsbom.SBOM
	found  packageSet // of sbom
	layers []image.LayerMetadata
	paths  paths
	// ends are the places where there is nothing, but a look-up or a link led there: a file that appears there
	// changes an answer.
	ends map[string]struct{}
	// doors are the directories to which a link leads: what lies in them has more than one path.
	doors map[string]struct{}
	// names are the last parts of all paths.
	names map[string]struct{}
	// globs are the patterns that came from what was found.
	globs    []string
	answers  map[string][]file.Location
	contents map[file.Coordinates][]byte
	model    atomic.Pointer[spdxPart] // nil until it is made
}

// newKnown takes what was asked and found. With a base, these are of the layers on top of it. It is nil for an
// image whose links go in circles: what such a look-up answers is anybody's guess.
func newKnown(img layers.Image, s *syftsbom.SBOM, found packageSet, meta []image.LayerMetadata, all paths, asked, always *trace, base *known) *known {
	k := &known{
		chain: chainOf(img), sbom: s, found: found, layers: meta, paths: all, ends: map[string]struct{}{}, doors: map[string]struct{}{},
		names: map[string]struct{}{}, globs: asked.dynamic(always),
		answers: asked.answers, contents: asked.contents,
	}
	if base != nil {
		k.paths = union(base.paths, all)
		k.globs = append(k.globs, base.globs...)
		k.answers, k.contents = base.answers, base.contents
		maps.Copy(k.ends, base.ends)
		maps.Copy(k.doors, base.doors)
		maps.Copy(k.names, base.names)
	}
	for p, e := range all {
		k.names[path.Base(p)] = struct{}{}
		if e.link == "" {
			continue
		}
		end, ok := k.paths.resolve(p)
		if !ok {
			return nil
		}
		to, there := k.paths[end]
		switch {
		case !there:
			k.ends[end] = struct{}{}
		case to.dir:
			k.doors[end] = struct{}{}
		}
	}
	for p := range asked.lookups {
		end, ok := k.paths.resolve(clean(p))
		if !ok {
			return nil
		}
		if _, there := k.paths[end]; !there {
			k.ends[end] = struct{}{}
		}
	}
	return k
}

// memory keeps the images catalogued last, by their layers.
type memory struct {
	mu   sync.Mutex
	kept []*known // the one used last is last
}

const (
	// mostKnown and mostPaths bound a memory: together the images have that many paths, at about 150 bytes each.
	mostKnown = 16
	mostPaths = 300_000
)

// base is the known image with the most layers that the image is built on, nil if there is none.
func (m *memory) base(chain []pratique.Digest) *known {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := -1
	for i, k := range m.kept {
		if len(k.chain) <= len(chain) && slices.Equal(k.chain, chain[:len(k.chain)]) && (at < 0 || len(k.chain) > len(m.kept[at].chain)) {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	k := m.kept[at]
	m.kept = append(slices.Delete(m.kept, at, at+1), k)
	return k
}

// shared is the number of lowest layers that the image has in common with a known one.
func (m *memory) shared(chain []pratique.Digest) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	most := 0
	for _, k := range m.kept {
		n := 0
		for n < min(len(chain), len(k.chain)) && chain[n] == k.chain[n] {
			n++
		}
		most = max(most, n)
	}
	return most
}

// keep remembers an image; nil is nothing.
func (m *memory) keep(k *known) {
	if k == nil || len(k.paths) > mostPaths {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = slices.DeleteFunc(m.kept, func(old *known) bool { return slices.Equal(old.chain, k.chain) })
	m.kept = append(m.kept, k)
	total := 0
	for _, k := range m.kept {
		total += len(k.paths)
	}
	for len(m.kept) > mostKnown || total > mostPaths {
		total -= len(m.kept[0].paths)
		m.kept = slices.Delete(m.kept, 0, 1)
	}
}

// chainOf is an image's layers, lowest first.
func chainOf(img layers.Image) []pratique.Digest {
	chain := make([]pratique.Digest, len(img.Layers))
	for i, l := range img.Layers {
		chain[i] = l.DiffID
	}
	return chain
}

// whiteout marks a name that a layer removes.
const whiteout = ".wh."

// removed returns what a whiteout file takes away: a name, or all that was in its directory.
func removed(dir, base string) (string, bool) {
	name, ok := strings.CutPrefix(base, whiteout)
	if !ok {
		return "", false
	}
	if strings.HasPrefix(name, whiteout) { // .wh..wh..opq and its kin
		return clean(dir), true
	}
	return clean(dir + "/" + name), true
}
