package syft

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/source"
)

// ending ends a context as soon as a package database is read.
type ending struct {
	file.Resolver
	end context.CancelFunc
}

// FileContentsByLocation implements [file.ContentResolver].
func (e ending) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	if l.RealPath == "/var/lib/dpkg/status" {
		e.end()
	}
	return e.Resolver.FileContentsByLocation(l)
}

type endingSource struct {
	source.Source
	end context.CancelFunc
}

// FileResolver implements [source.Source].
func (e endingSource) FileResolver(scope source.Scope) (file.Resolver, error) {
	r, err := e.Source.FileResolver(scope)
	return ending{r, e.end}, err
}

// TestCatalogThatWasCutShort: the scanner fails at an image, and the catalog that is being made
// lacks packages. It is an error.
func TestCatalogThatWasCutShort(t *testing.T) {
	for range 20 {
		img := smallImage(t)
		read, cleanup, err := open(t.Context(), img, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		found, err := generator.Catalog(ctx, endingSource{Source(img, read), cancel}, generator.Config())
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d packages, %v", found.Artifacts.Packages.PackageCount(), err)
		}
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	}
}
