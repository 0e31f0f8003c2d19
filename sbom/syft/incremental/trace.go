package incremental

import (
	"maps"
	"slices"
	"sync"

	"github.com/anchore/syft/syft/file"
)

// maxContent bounds one file whose content is kept with a trace, maxContents all of them.
const (
	maxContent  = 16 << 10
	maxContents = 1 << 20
)

// trace is what catalogers asked about an image. What they find depends on the answers and on nothing
// else, so the same answers give the same catalog.
type trace struct {
	mu      sync.Mutex
	lookups map[string]struct{} // paths asked for by name
	globs   map[string]struct{}
	types   map[string]struct{} // MIME types
	all     bool                // the whole list of files was asked for
	// answers is what was found by name; contents is what small files among these hold, such as a
	// release file.
	answers  map[string][]file.Location
	absent   map[string]struct{} // what was not found by name
	named    map[file.Coordinates]struct{}
	contents map[file.Coordinates][]byte
	size     int // bytes of contents
}

func newTrace() *trace {
	return &trace{
		lookups: map[string]struct{}{}, globs: map[string]struct{}{}, types: map[string]struct{}{},
		answers: map[string][]file.Location{}, absent: map[string]struct{}{},
		named: map[file.Coordinates]struct{}{}, contents: map[file.Coordinates][]byte{},
	}
}

func (t *trace) look(paths ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range paths {
		t.lookups[p] = struct{}{}
	}
}

// answered returns what was found by a name before. Syft asks for each file of each package more
// than once.
func (t *trace) answered(p string) (found []file.Location, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok = t.answers[p]; ok {
		return cloneLocations(found), true
	}
	_, ok = t.absent[p]
	return nil, ok
}

func (t *trace) answer(p string, found []file.Location) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(found) == 0 {
		t.absent[p] = struct{}{}
		return
	}
	t.answers[p] = cloneLocations(found)
	for _, l := range found {
		t.named[l.Coordinates] = struct{}{}
	}
}

func (t *trace) glob(patterns ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range patterns {
		t.globs[p] = struct{}{}
	}
}

func (t *trace) mime(types ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range types {
		t.types[p] = struct{}{}
	}
}

func (t *trace) list() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = true
}

// ownGlobs lists the patterns of t that are not among those of an image without files: they came from
// what was found.
func (t *trace) ownGlobs(always *trace) []string {
	var found []string
	for p := range t.globs {
		if _, ok := always.globs[p]; !ok {
			found = append(found, p)
		}
	}
	return found
}

// shouldKeep reports whether a file was found by name and its content may be kept.
func (t *trace) shouldKeep(c file.Coordinates) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, named := t.named[c]
	_, known := t.contents[c]
	return named && !known && t.size < maxContents
}

func (t *trace) content(c file.Coordinates, content []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contents[c] = content
	t.size += len(content)
}

// cloneLocations are locations that may be annotated without changing the others.
func cloneLocations(locations []file.Location) []file.Location {
	out := slices.Clone(locations)
	for i := range out {
		out[i].Annotations = maps.Clone(out[i].Annotations)
	}
	return out
}
