package syft

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/anchore/syft/syft/file"
)

// masked shows an image whose lower part is known: what is listed or searched for is found in the upper layers
// only, what is asked for by name is answered for the whole image. A question that it cannot answer so is kept,
// and everything found since is worth nothing.
type masked struct {
	file.Resolver // of the upper layers
	base          *known
	added         map[string]struct{}
	layers        map[string]struct{} // the ids of the upper layers
	trace, always *trace

	mu  sync.Mutex
	why string
}

// errMasked is what a cataloguer hears; what counts is that the question is kept.
var errMasked = errors.New("not to be answered without the base")

func (m *masked) refuse(question string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.why = question
}

func (m *masked) refused() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// where says who knows about a path: the upper layers, or the base, which has something there or not.
func (m *masked) where(p string) (upper bool, e entry, there bool) {
	name := clean(p)
	if under(name, m.added) {
		return true, entry{}, true
	}
	end, ok := m.base.paths.resolve(name)
	if !ok || end != name && under(end, m.added) {
		m.refuse(p)
		return false, entry{}, false
	}
	e, there = m.base.paths[end]
	return false, e, there
}

// HasPath implements [file.PathResolver].
func (m *masked) HasPath(p string) bool {
	m.trace.look(p)
	upper, _, there := m.where(p)
	if upper {
		return m.Resolver.HasPath(p)
	}
	return there
}

// FilesByPath implements [file.PathResolver].
func (m *masked) FilesByPath(paths ...string) ([]file.Location, error) {
	m.trace.look(paths...)
	return each(paths, m.filesByPath)
}

func (m *masked) filesByPath(p string) ([]file.Location, error) {
	upper, e, there := m.where(p)
	if upper {
		return m.Resolver.FilesByPath(p)
	}
	if known, ok := m.base.answers[p]; ok {
		return copies(known), nil
	}
	if there && !e.dir {
		m.refuse(p)
		return nil, errMasked
	}
	return nil, nil
}

// RelativeFileByPath implements [file.PathResolver].
func (m *masked) RelativeFileByPath(_ file.Location, p string) *file.Location {
	found, err := m.FilesByPath(p)
	if err != nil || len(found) == 0 {
		return nil
	}
	return &found[0]
}

// FilesByGlob implements [file.PathResolver]. A pattern that any image is searched for was answered for the base
// when that was catalogued; any other one must not match there.
func (m *masked) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if len(patterns) == 1 && plain(patterns[0]) {
		return m.FilesByPath(patterns[0])
	}
	m.trace.glob(patterns...)
	for _, p := range patterns {
		if _, ok := m.always.globs[p]; !ok && !under(literal(p), m.added) && m.base.mayMatch(p) {
			m.refuse(p)
		}
	}
	return m.Resolver.FilesByGlob(patterns...)
}

// FilesByMIMEType implements [file.PathResolver].
func (m *masked) FilesByMIMEType(types ...string) ([]file.Location, error) {
	m.trace.mime(types...)
	for _, t := range types {
		if _, ok := m.always.types[t]; !ok {
			m.refuse("type " + t)
		}
	}
	return m.Resolver.FilesByMIMEType(types...)
}

// AllLocations implements [file.LocationResolver].
func (m *masked) AllLocations(ctx context.Context) <-chan file.Location {
	m.trace.list()
	if !m.always.all {
		m.refuse("all files")
	}
	return m.Resolver.AllLocations(ctx)
}

// FileContentsByLocation implements [file.ContentResolver].
func (m *masked) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	if _, ok := m.layers[l.FileSystemID]; ok {
		return m.Resolver.FileContentsByLocation(l)
	}
	if content, ok := m.base.contents[l.Coordinates]; ok {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	m.refuse("content of " + l.RealPath)
	return nil, errMasked
}

// FileMetadataByLocation implements [file.MetadataResolver].
func (m *masked) FileMetadataByLocation(l file.Location) (file.Metadata, error) {
	if _, ok := m.layers[l.FileSystemID]; ok || strings.TrimPrefix(l.RealPath, "/") == "" {
		return m.Resolver.FileMetadataByLocation(l)
	}
	m.refuse("metadata of " + l.RealPath)
	return file.Metadata{}, errMasked
}
