//go:build goexperiment.jsonv2

package trivy

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/aquasecurity/trivy/pkg/cache"
	"github.com/aquasecurity/trivy/pkg/fanal/analyzer"
	"github.com/aquasecurity/trivy/pkg/fanal/applier"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact/image"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	xos "github.com/aquasecurity/trivy/pkg/x/os"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// Analyze implements [scanner.Analyzer]. The error is Corrupt when the image, or a package database of its operating
// system, cannot be parsed, Unavailable when this machine is in the way (no space, no layer file) or ctx ends.
func (s *Scanner) Analyze(ctx context.Context, img layers.Image, kept scanner.Kept) (scanner.Analysis, error) {
	const op = "analyse image"
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, err := img.V1()
	if err != nil {
		return scanner.Analysis{}, err
	}
	defer s.layers.trim(maxWeight)
	view := newView(s.layers, s.hider, img, kept)
	s.swallowed.clear()
	detail, err := s.detail(ctx, trivyImage{Image: disk, name: img.Subject.String()}, view)
	if cleanErr := cleanTemp(); err == nil {
		err = cleanErr
	}
	if err == nil {
		// Trivy logs what goes wrong with a single file and goes on. It does so too when ctx ends.
		err = cmp.Or(ctx.Err(), s.swallowed.trouble())
	}
	if err == nil {
		err = view.unread(ctx, s.swallowed)
	}
	if err != nil {
		view.forget()
		return scanner.Analysis{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	analysis := scanner.Analysis{}
	if analysis.Sections, err = s.sections(ctx, detail); err != nil {
		return scanner.Analysis{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	analysis.Inventory = toInventory(detail)
	return analysis, view.store()
}

// detail analyses the layers that are not known and lays all of them over each other.
func (s *Scanner) detail(ctx context.Context, img trivyImage, view *view) (ftypes.ArtifactDetail, error) {
	if s.cfg.looksFor(pratique.SectionSecrets) {
		// Trivy leaves secrets out of the layers that it takes for the base image's, which hangs on the image.
		// What is kept of a layer must not: all of it is analysed here, and view leaves those secrets out.
		if _, err := s.inspect(ctx, withoutHistory{img}, layersOnly{view}); err != nil {
			return ftypes.ArtifactDetail{}, err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return ftypes.ArtifactDetail{}, err
		}
		view.base = baseLayers(config)
	}
	ref, err := s.inspect(ctx, img, view)
	if err != nil {
		return ftypes.ArtifactDetail{}, err
	}
	detail, err := applier.NewApplier(view).ApplyLayers(ctx, ref.ID, ref.BlobIDs)
	switch {
	case errors.Is(err, analyzer.ErrUnknownOS):
		// No distribution, no error: images from scratch have none. As Trivy does, packages without an OS
		// are kept, and an Alpine repository file stands in for the release file.
		if len(detail.Packages) > 0 {
			detail.OS = ftypes.OS{Family: "none"}
		}
		if detail.Repository != nil {
			detail.OS = ftypes.OS{Family: detail.Repository.Family, Name: detail.Repository.Release}
		}
	case errors.Is(err, analyzer.ErrNoPkgsDetected):
		// A distribution without packages. Whether that is acceptable is for a policy to say: the inventory
		// names the OS and has no list for it.
	case err != nil:
		return ftypes.ArtifactDetail{}, err
	}
	return detail, nil
}

func (s *Scanner) inspect(ctx context.Context, img ftypes.Image, c cache.ArtifactCache) (artifact.Reference, error) {
	a, err := image.NewArtifact(img, c, s.option)
	if err != nil {
		return artifact.Reference{}, err
	}
	return a.Inspect(ctx)
}

// trivyImage is a v1.Image with the names that Trivy asks for; none of them reaches an inventory.
type trivyImage struct {
	v1.Image
	name string
}

func (i trivyImage) Name() string          { return i.name }
func (i trivyImage) RepoTags() []string    { return nil }
func (i trivyImage) RepoDigests() []string { return nil }

func (i trivyImage) ID() (string, error) {
	h, err := i.ConfigName()
	return h.String(), err
}

// LayerByDiffID reads in larger steps than the tar reader, which takes a system call for every header.
func (i trivyImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	l, err := i.Image.LayerByDiffID(h)
	return &bufferedLayer{l}, err
}

// bufferedLayer has to be a pointer to a struct, see [layers.Image.V1].
type bufferedLayer struct{ v1.Layer }

const layerBuffer = 256 << 10

func (l *bufferedLayer) Uncompressed() (io.ReadCloser, error) {
	r, err := l.Layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(r, layerBuffer), r}, nil
}

// withoutHistory is an image of which no layer is taken for a base image's.
type withoutHistory struct{ trivyImage }

func (i withoutHistory) ConfigFile() (*v1.ConfigFile, error) {
	config, err := i.trivyImage.ConfigFile()
	if err == nil {
		config.History = nil
	}
	return config, err
}

// cleanTemp empties Trivy's temporary directory, whose name it settles once per process.
func cleanTemp() error {
	dir := xos.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
