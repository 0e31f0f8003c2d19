package incremental

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/anchore/syft/syft/file"
)

// upperResolver resolves for an image whose base is cached. Lists and searches only cover the upper
// layers; look-ups by name are answered for the whole image. A question that it cannot answer is
// refused, and then the result is not used.
type upperResolver struct {
	file.Resolver   // of the upper layers
	base            *base
	added           map[string]struct{}
	layers          map[string]struct{} // the ids of the upper layers
	trace, baseline *trace

	mu  sync.Mutex
	why string
}

// errRefused is returned to a cataloger. It may ignore it, so refuse keeps the question.
var errRefused = errors.New("it cannot be answered without the base")

func (u *upperResolver) refuse(question string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.why = question
}

func (u *upperResolver) refused() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.why
}

// where returns which part has a path: the upper layers, or the base with its entry.
func (u *upperResolver) where(p string) (upper bool, e entry, there bool) {
	name := clean(p)
	if under(name, u.added) {
		return true, entry{}, true
	}
	end, ok := u.base.paths.resolve(name)
	if !ok || end != name && under(end, u.added) {
		u.refuse(p)
		return false, entry{}, false
	}
	e, there = u.base.paths.at(end)
	return false, e, there
}

// HasPath implements [file.PathResolver].
func (u *upperResolver) HasPath(p string) bool {
	u.trace.look(p)
	upper, _, there := u.where(p)
	if upper {
		return u.Resolver.HasPath(p)
	}
	return there
}

// FilesByPath implements [file.PathResolver].
func (u *upperResolver) FilesByPath(paths ...string) ([]file.Location, error) {
	u.trace.look(paths...)
	return each(paths, u.filesByPath)
}

func (u *upperResolver) filesByPath(p string) ([]file.Location, error) {
	upper, e, there := u.where(p)
	if upper {
		return u.Resolver.FilesByPath(p)
	}
	if found, ok := u.base.answers[p]; ok {
		return cloneLocations(found), nil
	}
	if there && !e.dir {
		u.refuse(p)
		return nil, errRefused
	}
	return nil, nil
}

// RelativeFileByPath implements [file.PathResolver].
func (u *upperResolver) RelativeFileByPath(_ file.Location, p string) *file.Location {
	found, err := u.FilesByPath(p)
	if err != nil || len(found) == 0 {
		return nil
	}
	return &found[0]
}

// FilesByGlob implements [file.PathResolver]. The patterns of the baseline were answered for the
// base when that was cataloged; other ones must not match there.
func (u *upperResolver) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if len(patterns) == 1 && literalName(patterns[0]) {
		return u.FilesByPath(patterns[0])
	}
	u.trace.glob(patterns...)
	for _, p := range patterns {
		if _, ok := u.baseline.globs[p]; !ok && !under(literal(p), u.added) && u.base.mayMatch(p) {
			u.refuse(p)
		}
	}
	return u.Resolver.FilesByGlob(patterns...)
}

// FilesByMIMEType implements [file.PathResolver].
func (u *upperResolver) FilesByMIMEType(types ...string) ([]file.Location, error) {
	u.trace.mime(types...)
	for _, t := range types {
		if _, ok := u.baseline.types[t]; !ok {
			u.refuse("type " + t)
		}
	}
	return u.Resolver.FilesByMIMEType(types...)
}

// AllLocations implements [file.LocationResolver].
func (u *upperResolver) AllLocations(ctx context.Context) <-chan file.Location {
	u.trace.list()
	if !u.baseline.all {
		u.refuse("all files")
	}
	return u.Resolver.AllLocations(ctx)
}

// FileContentsByLocation implements [file.ContentResolver].
func (u *upperResolver) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	if _, ok := u.layers[l.FileSystemID]; ok {
		return u.Resolver.FileContentsByLocation(l)
	}
	if content, ok := u.base.contents[l.Coordinates]; ok {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	u.refuse("content of " + l.RealPath)
	return nil, errRefused
}

// FileMetadataByLocation implements [file.MetadataResolver].
func (u *upperResolver) FileMetadataByLocation(l file.Location) (file.Metadata, error) {
	if _, ok := u.layers[l.FileSystemID]; ok || strings.TrimPrefix(l.RealPath, "/") == "" {
		return u.Resolver.FileMetadataByLocation(l)
	}
	u.refuse("metadata of " + l.RealPath)
	return file.Metadata{}, errRefused
}
