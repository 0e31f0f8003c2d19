//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/aquasecurity/trivy/pkg/cache"
	"github.com/aquasecurity/trivy/pkg/fanal/analyzer"
	"github.com/aquasecurity/trivy/pkg/fanal/applier"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact/image"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	xos "github.com/aquasecurity/trivy/pkg/x/os"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

// Analyze implements [scanner.Analyzer]. The error is Corrupt if the image, or a package database
// of its operating system, cannot be parsed, or if it names two releases; it is Unavailable for a
// problem of this machine (no space, no layer file), and if ctx ends.
func (s *Scanner) Analyze(ctx context.Context, img layers.Image,
	known scanner.Cache) (scanner.Analysis, error) {
	const op = "analyze image"
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, err := img.V1()
	if err != nil {
		return scanner.Analysis{}, err
	}
	files, err := s.trees.Image(ctx, img)
	if err != nil {
		return scanner.Analysis{}, pratique.Wrap(pratique.Unknown, op, img.Subject.String(), err)
	}
	defer s.layers.trim(maxWeight)
	tree := s.tree(files)
	view := newImageCache(s.layers, s.redactor, img, tree, known)
	s.logErrors.reset()
	detail, err := s.detail(ctx, trivyImage{Image: disk, name: img.Subject.String(), tree: tree}, view)
	if cleanErr := cleanTemp(); err == nil {
		err = cleanErr
	}
	if err == nil {
		// Trivy logs the failure of a single file and continues, also when ctx ends.
		err = cmp.Or(ctx.Err(), s.logErrors.machineError())
	}
	if err == nil {
		err = view.checkDatabasesRead(ctx, s.logErrors)
	}
	if err == nil {
		err = s.checkRelease(files, &detail)
	}
	if err != nil {
		view.discard()
		return scanner.Analysis{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	analysis := scanner.Analysis{}
	if analysis.Extras, err = s.extras(ctx, detail); err != nil {
		return scanner.Analysis{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	analysis.Inventory = toInventory(detail)
	return analysis, view.store()
}

// detail analyzes the layers that are not cached and merges all layers.
func (s *Scanner) detail(ctx context.Context, img trivyImage,
	view *imageCache) (ftypes.ArtifactDetail, error) {
	if s.cfg.looksFor(pratique.ExtraSecrets) {
		// Trivy does not look for secrets in layers of the base image, which depends on the image.
		// What is cached must not depend on it: all layers are analyzed, and the cache leaves those
		// secrets out.
		if _, err := s.inspect(ctx, withoutHistory{img}, withoutConfig{view}); err != nil {
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
	keys, err := s.analyzeLinked(ctx, img, view)
	if err != nil {
		return ftypes.ArtifactDetail{}, err
	}
	detail, err := applier.NewApplier(view).ApplyLayers(ctx, ref.ID, slices.Concat(ref.BlobIDs, keys))
	switch {
	case errors.Is(err, analyzer.ErrUnknownOS):
		// Images from scratch have no distribution. As in Trivy, packages without an OS are kept,
		// and an Alpine repository file replaces the release file.
		if len(detail.Packages) > 0 {
			detail.OS = ftypes.OS{Family: familyNone}
		}
		if detail.Repository != nil {
			detail.OS = ftypes.OS{Family: detail.Repository.Family, Name: detail.Repository.Release}
		}
	case errors.Is(err, analyzer.ErrNoPkgsDetected):
		// A distribution without packages: the inventory names the OS and has no list for it. A
		// policy decides.
	case err != nil:
		return ftypes.ArtifactDetail{}, err
	}
	return detail, nil
}

// analyzeLinked analyzes the files that can only be reached by links, and returns the cache keys of
// the results.
func (s *Scanner) analyzeLinked(ctx context.Context, img trivyImage, view *imageCache) ([]string, error) {
	all, err := img.tree.findLinked(s.analyzers)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, l := range all {
		at := slices.IndexFunc(view.layers, func(have layers.Layer) bool {
			return have.DiffID == l.layer.layer.DiffID
		})
		if at < 0 {
			return nil, pratique.Errorf(pratique.Internal, "follow links",
				"they lead to no layer of the image")
		}
		of := linkedImage{trivyImage: img, linked: l}
		ref, err := s.inspectWith(ctx, of, linkedCache{imageCache: view, layer: view.layers[at]},
			packageOption(s.option))
		if err != nil {
			return nil, err
		}
		keys = append(keys, ref.BlobIDs...)
		view.streams = append(view.streams, readStream{
			open: of.open, info: view.linked[ref.BlobIDs[0]],
			hasApk: slices.ContainsFunc(l.items, func(i filetree.Item) bool { return isApk(i.Path) }),
		})
	}
	return keys, nil
}

func (s *Scanner) inspect(ctx context.Context, img ftypes.Image,
	c cache.ArtifactCache) (artifact.Reference, error) {
	return s.inspectWith(ctx, img, c, s.option)
}

func (s *Scanner) inspectWith(ctx context.Context, img ftypes.Image, c cache.ArtifactCache,
	option artifact.Option) (artifact.Reference, error) {
	a, err := image.NewArtifact(img, c, option)
	if err != nil {
		return artifact.Reference{}, err
	}
	return a.Inspect(ctx)
}

// cleanTemp empties Trivy's temporary directory, which Trivy chooses once per process.
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
