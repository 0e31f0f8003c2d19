package incremental

import (
	"slices"

	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"

	"github.com/pratique-dev/pratique/internal/layers"
	plain "github.com/pratique-dev/pratique/sbom/syft"
)

func metadata(read *image.Image) []image.LayerMetadata {
	all := make([]image.LayerMetadata, len(read.Layers))
	for i, l := range read.Layers {
		all[i] = l.Metadata
	}
	return all
}

// description is Syft's description of an image as a whole.
type description struct{ source.Description }

// describe returns the description of an image whose layers were read before.
func describe(img layers.Image, meta []image.LayerMetadata) (description, error) {
	disk, err := img.V1()
	if err != nil {
		return description{}, err
	}
	config, err := disk.ConfigFile()
	if err != nil {
		return description{}, err
	}
	id, err := disk.ConfigName()
	if err != nil {
		return description{}, err
	}
	mediaType, err := disk.MediaType()
	if err != nil {
		return description{}, err
	}
	unread := image.New(disk, nil, "")
	unread.Metadata = image.Metadata{
		ID: id.String(), Config: *config, MediaType: mediaType,
		RawManifest: img.Manifest, ManifestDigest: img.Subject.Digest.String(),
		RawConfig: img.Config, RepoDigests: []string{img.Subject.String()},
		Architecture: config.Architecture, Variant: config.Variant, OS: config.OS,
	}
	all, err := disk.Layers()
	if err != nil {
		return description{}, err
	}
	for i, m := range meta {
		// The same layer may be compressed differently here.
		if m.MediaType, err = all[i].MediaType(); err != nil {
			return description{}, err
		}
		unread.Metadata.Size += m.Size
		unread.Layers = append(unread.Layers, &image.Layer{Metadata: m})
	}
	return description{plain.Source(img, unread).Describe()}, nil
}

// describes returns a catalog with this description.
func (d description) describes(s *syftsbom.SBOM) *syftsbom.SBOM {
	out := *s
	out.Source = d.Description
	out.Relationships = slices.Clone(s.Relationships)
	for i, r := range out.Relationships {
		switch r.From.(type) {
		case pkg.Package, *pkg.Package, file.Coordinates:
		default:
			out.Relationships[i].From = imageID(d.ID)
		}
	}
	return &out
}

// imageID represents the image in relationships, as a type of Syft does that only has an id.
type imageID artifact.ID

// ID implements [artifact.Identifiable].
func (i imageID) ID() artifact.ID { return artifact.ID(i) }
