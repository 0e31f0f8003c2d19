package incremental

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/source"
)

// recorder records what is asked of a resolver.
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

// each looks up paths one by one and removes duplicates, as Syft's resolvers do.
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
			if !slices.ContainsFunc(all, func(have file.Location) bool {
				return have.Reference() == l.Reference()
			}) {
				all = append(all, l)
			}
		}
	}
	return all, nil
}

// RelativeFileByPath implements [file.PathResolver]. In a squashed image it is an ordinary look-up.
func (r *recorder) RelativeFileByPath(_ file.Location, p string) *file.Location {
	found, err := r.FilesByPath(p)
	if err != nil || len(found) == 0 {
		return nil
	}
	return &found[0]
}

// FilesByGlob implements [file.PathResolver]. Syft also looks up plain names with it.
func (r *recorder) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if len(patterns) == 1 && literalName(patterns[0]) {
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
	if err != nil || !r.trace.shouldKeep(l.Coordinates) {
		return body, err
	}
	// The reader itself is returned: catalogers copy files into memory that are not seekable.
	file, ok := body.(readSeekerAt)
	if !ok {
		return body, nil
	}
	if content, err := readSmall(file); err == nil && content != nil {
		r.trace.content(l.Coordinates, content)
	}
	return body, nil
}

type readSeekerAt interface {
	io.ReaderAt
	io.Seeker
}

// readSmall returns the content of a file of at most maxContent bytes, nil for a larger one: if a
// cataloger asks for that again, the whole image is read.
func readSmall(f readSeekerAt) ([]byte, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if _, backErr := f.Seek(0, io.SeekStart); err == nil {
		err = backErr
	}
	if err != nil || size > maxContent {
		return nil, err
	}
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return content, err
}

// wrappedSource is a source with a wrapped resolver. If description is set, it describes another
// image.
type wrappedSource struct {
	source.Source
	wrap        func(file.Resolver) file.Resolver
	description *source.Description
}

// FileResolver implements [source.Source].
func (o wrappedSource) FileResolver(scope source.Scope) (file.Resolver, error) {
	r, err := o.Source.FileResolver(scope)
	if err != nil {
		return nil, err
	}
	return o.wrap(r), nil
}

// Describe implements [source.Source].
func (o wrappedSource) Describe() source.Description {
	if o.description != nil {
		return *o.description
	}
	return o.Source.Describe()
}
