package incremental

import (
	"maps"
	"slices"
	"sync"

	"github.com/anchore/syft/syft/file"
)

// maxContent bounds one file whose content is kept with a trace, maxContents all of them.
const (
	// maxContent bounds a file whose content is kept in a trace, maxContents all of them.
	maxContent  = 16 << 10
	maxContents = 1 << 20
)

// trace records what catalogers asked about an image. Their results depend on the answers only, so
// equal answers give the same catalog.
type trace struct {
	mu      sync.Mutex
	lookups map[string]struct{} // paths asked for by name
	globs   map[string]struct{}
	types   map[string]struct{} // MIME types
	all     bool                // the list of all files was requested
	// answers are the results of look-ups by name; contents are the small files among them, such as
	// a release file.
	answers  map[string][]file.Location
	absent   map[string]struct{} // names that were not found
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

// answered returns the result of an earlier look-up. Syft looks up each file of each package more
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

// ownGlobs returns the patterns that are not in the baseline: they depended on what was found.
func (t *trace) ownGlobs(always *trace) []string {
	var found []string
	for p := range t.globs {
		if _, ok := always.globs[p]; !ok {
			found = append(found, p)
		}
	}
	return found
}

// shouldKeep reports whether the content of a file should be kept.
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

// cloneLocations copies locations, so that their annotations can be changed.
func cloneLocations(locations []file.Location) []file.Location {
	out := slices.Clone(locations)
	for i := range out {
		out[i].Annotations = maps.Clone(out[i].Annotations)
	}
	return out
}
