package syft

import (
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/source"
)

// trace is what cataloguers asked about an image. What they find depends on the answers and on nothing else,
// so whoever gives the same answers again gets the same catalogue.
type trace struct {
	mu      sync.Mutex
	lookups map[string]struct{} // paths asked for by name
	globs   map[string]struct{}
	types   map[string]struct{} // MIME types
	all     bool                // the whole list of files was asked for
	// answers is what was found by name; contents is what small files among that hold, such as a release file.
	answers  map[string][]file.Location
	absent   map[string]struct{} // what was not found by name
	named    map[file.Coordinates]struct{}
	contents map[file.Coordinates][]byte
	kept     int // bytes of contents
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

// answered returns what was found by a name before. Syft asks for each file of each package more than once.
func (t *trace) answered(p string) (found []file.Location, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, known = t.answers[p]; known {
		return copies(found), true
	}
	_, known = t.absent[p]
	return nil, known
}

func (t *trace) answer(p string, found []file.Location) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(found) == 0 {
		t.absent[p] = struct{}{}
		return
	}
	t.answers[p] = copies(found)
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

// dynamic lists the patterns of t that are not among those of an image without files: they came from what was
// found.
func (t *trace) dynamic(always *trace) []string {
	var found []string
	for p := range t.globs {
		if _, ok := always.globs[p]; !ok {
			found = append(found, p)
		}
	}
	return found
}

// mostContent bounds one file whose content is kept with a trace, mostContents all of them.
const (
	mostContent  = 16 << 10
	mostContents = 1 << 20
)

// recorder notes what is asked of a resolver.
type recorder struct {
	file.Resolver
	trace *trace
}

// HasPath implements [file.PathResolver].
func (r *recorder) HasPath(p string) bool {
	r.trace.look(p)
	return r.Resolver.HasPath(p)
}

// FilesByPath implements [file.PathResolver].
func (r *recorder) FilesByPath(paths ...string) ([]file.Location, error) {
	return each(paths, func(p string) ([]file.Location, error) {
		if known, ok := r.trace.answered(p); ok {
			return known, nil
		}
		r.trace.look(p)
		found, err := r.Resolver.FilesByPath(p)
		if err == nil {
			r.trace.answer(p, found)
		}
		return found, err
	})
}

// each looks paths up one by one and leaves out files that were found before, as Syft's resolvers do.
func each(paths []string, lookup func(string) ([]file.Location, error)) ([]file.Location, error) {
	if len(paths) == 1 {
		return lookup(paths[0])
	}
	var all []file.Location
	for _, p := range paths {
		found, err := lookup(p)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if !slices.ContainsFunc(all, func(have file.Location) bool { return have.Reference() == l.Reference() }) {
				all = append(all, l)
			}
		}
	}
	return all, nil
}

// RelativeFileByPath implements [file.PathResolver]. In a squashed image it is a look-up like any other.
func (r *recorder) RelativeFileByPath(_ file.Location, p string) *file.Location {
	found, err := r.FilesByPath(p)
	if err != nil || len(found) == 0 {
		return nil
	}
	return &found[0]
}

// copies are locations that may be annotated without changing the others.
func copies(locations []file.Location) []file.Location {
	out := slices.Clone(locations)
	for i := range out {
		out[i].Annotations = maps.Clone(out[i].Annotations)
	}
	return out
}

// FilesByGlob implements [file.PathResolver]. Syft also looks up plain names so.
func (r *recorder) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if len(patterns) == 1 && plain(patterns[0]) {
		return r.FilesByPath(patterns[0])
	}
	r.trace.glob(patterns...)
	return r.Resolver.FilesByGlob(patterns...)
}

// FilesByMIMEType implements [file.PathResolver].
func (r *recorder) FilesByMIMEType(types ...string) ([]file.Location, error) {
	r.trace.mime(types...)
	return r.Resolver.FilesByMIMEType(types...)
}

// AllLocations implements [file.LocationResolver].
func (r *recorder) AllLocations(ctx context.Context) <-chan file.Location {
	r.trace.list()
	return r.Resolver.AllLocations(ctx)
}

// FileContentsByLocation implements [file.ContentResolver].
func (r *recorder) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	body, err := r.Resolver.FileContentsByLocation(l)
	if err != nil || !r.trace.wants(l.Coordinates) {
		return body, err
	}
	// The reader is handed on as it is: cataloguers copy a file into memory if they cannot seek in it.
	file, ok := body.(readSeekerAt)
	if !ok {
		return body, nil
	}
	if content, err := small(file); err == nil && content != nil {
		r.trace.content(l.Coordinates, content)
	}
	return body, nil
}

type readSeekerAt interface {
	io.ReaderAt
	io.Seeker
}

// small returns what is in a file of at most mostContent bytes, and nil for a larger one: who needs that again has to
// read the image.
func small(f readSeekerAt) ([]byte, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if _, backErr := f.Seek(0, io.SeekStart); err == nil {
		err = backErr
	}
	if err != nil || size > mostContent {
		return nil, err
	}
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content, err
}

// wants reports whether a file was found by name and its content may be kept.
func (t *trace) wants(c file.Coordinates) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, named := t.named[c]
	_, known := t.contents[c]
	return named && !known && t.kept < mostContents
}

func (t *trace) content(c file.Coordinates, content []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.contents[c] = content
	t.kept += len(content)
}

// observed is a source whose files are asked for through wrap, and which describes another image if
// description is set.
type observed struct {
	source.Source
	wrap        func(file.Resolver) file.Resolver
	description *source.Description
}

// FileResolver implements [source.Source].
func (o observed) FileResolver(scope source.Scope) (file.Resolver, error) {
	r, err := o.Source.FileResolver(scope)
	if err != nil {
		return nil, err
	}
	return o.wrap(r), nil
}

// Describe implements [source.Source].
func (o observed) Describe() source.Description {
	if o.description != nil {
		return *o.description
	}
	return o.Source.Describe()
}

// clean is a path as [paths] has it.
func clean(p string) string { return path.Clean("/" + p) }

// special are the characters that make a pattern of a name.
const special = `*?[{\`

func plain(pattern string) bool { return !strings.ContainsAny(pattern, special) }

// literal is the directory in which a pattern can match: what comes before its first special character.
func literal(pattern string) string {
	if at := strings.IndexAny(pattern, special); at >= 0 {
		pattern = pattern[:at]
		return path.Dir(clean(pattern + "x"))
	}
	return clean(pattern)
}
