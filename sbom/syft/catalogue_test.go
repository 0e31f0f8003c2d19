package syft

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/source/stereoscopesource"
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

// TestCatalogueThatWasCutShort: the scanner fails at an image, and the catalogue that is being made lacks packages. It is
// an error, and nothing is remembered of it.
func TestCatalogueThatWasCutShort(t *testing.T) {
	for range 20 {
		img := smallImage(t)
		read, cleanup, err := open(t.Context(), img, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		made, err := generator.create(ctx, observed{
			Source: stereoscopesource.New(read, reference(img)), wrap: func(r file.Resolver) file.Resolver { return ending{r, cancel} },
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d packages, %v", made.Artifacts.Packages.PackageCount(), err)
		}
		if err := cleanup(); err != nil {
			t.Error(err)
		}
	}
}
