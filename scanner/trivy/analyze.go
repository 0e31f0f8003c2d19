//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/aquasecurity/trivy/pkg/fanal/analyzer"
	"github.com/aquasecurity/trivy/pkg/fanal/applier"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact"
	"github.com/aquasecurity/trivy/pkg/fanal/artifact/image"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	xos "github.com/aquasecurity/trivy/pkg/x/os"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// parallelFiles is the number of files of one layer, and of layers, that Trivy looks at together: its default.
const parallelFiles = 5

// Analyze implements [scanner.Analyzer]. The error is Corrupt when the image cannot be parsed, Unavailable
// when this machine is in the way (no space, no layer file) or ctx ends.
func (s *Scanner) Analyze(ctx context.Context, img layers.Image) (pratique.Inventory, error) {
	const op = "analyse image"
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, err := img.V1()
	if err != nil {
		return pratique.Inventory{}, err
	}
	defer s.layers.trim(maxWeight)
	detail, err := s.detail(ctx, trivyImage{Image: disk, name: img.Subject.String()})
	if cleanErr := cleanTemp(); err == nil {
		err = cleanErr
	}
	if err != nil {
		return pratique.Inventory{}, pratique.Wrap(layers.KindOf(ctx, err), op, img.Subject.String(), err)
	}
	return toInventory(detail), nil
}

// detail analyses the layers that are not cached and lays all of them over each other.
func (s *Scanner) detail(ctx context.Context, img ftypes.Image) (ftypes.ArtifactDetail, error) {
	a, err := image.NewArtifact(img, s.layers, option())
	if err != nil {
		return ftypes.ArtifactDetail{}, err
	}
	ref, err := a.Inspect(ctx)
	if err != nil {
		return ftypes.ArtifactDetail{}, err
	}
	detail, err := applier.NewApplier(s.layers).ApplyLayers(ctx, ref.ID, ref.BlobIDs)
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

// option is what the command line's image scan with the vulnerability scanner alone amounts to.
func option() artifact.Option {
	disabled := slices.Concat(analyzer.TypeLockfiles, analyzer.TypeConfigFiles, []analyzer.Type{
		analyzer.TypeApkCommand, analyzer.TypeSecret, analyzer.TypeImageConfigSecret, analyzer.TypeLicenseFile,
		analyzer.TypeHistoryDockerfile, analyzer.TypeExecutable, analyzer.TypeRpmArchive,
	})
	return artifact.Option{
		DisabledAnalyzers: disabled,
		Parallel:          parallelFiles,
		NoProgress:        true,
		Offline:           true,
		DetectionPriority: ftypes.PriorityPrecise,
	}
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
