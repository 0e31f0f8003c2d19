package layers

import (
	"bytes"
	"errors"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pratique-dev/pratique"
)

var (
	_ v1.Image = (*diskImage)(nil)
	_ v1.Layer = (*diskLayer)(nil)
)

var errCompressed = errors.New("the layer store keeps decompressed layers only")

// V1 returns the image for go-containerregistry, over the layer files on disk. Nothing is fetched:
// manifest and configuration are the stored bytes, Uncompressed opens the layer's tar file,
// Compressed is an error. If manifest, configuration and layers do not belong together, or the
// manifest is not the subject's, the error is Corrupt.
func (i Image) V1() (v1.Image, error) {
	const op = "open image"
	if got := pratique.DigestOf(i.Manifest); got != i.Subject.Digest {
		return nil, pratique.Wrap(pratique.Corrupt, op, i.Subject.String(),
			errors.New("the manifest is that of "+got.String()))
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(i.Manifest))
	if err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, op, i.Subject.String(), err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(i.Config))
	if err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, op, i.Subject.String(), err)
	}
	img := &diskImage{image: i, config: config, manifest: manifest}
	if err := img.check(); err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, op, i.Subject.String(), err)
	}
	for _, l := range i.Layers {
		img.layers = append(img.layers, &diskLayer{layer: l})
	}
	return img, nil
}

// diskImage is a v1.Image over an [Image].
type diskImage struct {
	image    Image
	manifest *v1.Manifest
	config   *v1.ConfigFile
	layers   []v1.Layer
}

// check compares configuration and layers with the manifest, and replaces other names by sha256
// digests, so that all scanners use the same name. The raw documents do not change.
func (d *diskImage) check() error {
	if id, err := pratique.ParseContentID(d.manifest.Config.Digest.String()); err != nil ||
		!id.Of(d.image.Config) {
		return errors.New("the configuration is not the one that the manifest names")
	}
	d.manifest.Config.Digest = hash(pratique.DigestOf(d.image.Config))
	if len(d.image.Layers) != len(d.manifest.Layers) ||
		len(d.image.Layers) != len(d.config.RootFS.DiffIDs) {
		return errors.New("manifest, configuration and layers on disk differ in number")
	}
	for n, l := range d.image.Layers {
		if nameOf(l.Digest, l.DigestName).String() != d.manifest.Layers[n].Digest.String() {
			return errors.New("layer " + l.Digest.String() + " is not where the manifest has it")
		}
		if nameOf(l.DiffID, l.DiffIDName).String() != d.config.RootFS.DiffIDs[n].String() {
			return errors.New("layer " + l.Digest.String() +
				" has another diff id than the configuration says")
		}
		d.manifest.Layers[n].Digest, d.config.RootFS.DiffIDs[n] = hash(l.Digest), hash(l.DiffID)
	}
	return nil
}

func (d *diskImage) Layers() ([]v1.Layer, error) { return d.layers, nil }

func (d *diskImage) MediaType() (types.MediaType, error) {
	return types.MediaType(d.image.MediaType), nil
}

func (d *diskImage) Size() (int64, error) { return int64(len(d.image.Manifest)), nil }

func (d *diskImage) ConfigName() (v1.Hash, error) { return d.manifest.Config.Digest, nil }

func (d *diskImage) ConfigFile() (*v1.ConfigFile, error) { return d.config.DeepCopy(), nil }

func (d *diskImage) RawConfigFile() ([]byte, error) { return d.image.Config, nil }

func (d *diskImage) Digest() (v1.Hash, error) { return hash(d.image.Subject.Digest), nil }

func (d *diskImage) Manifest() (*v1.Manifest, error) { return d.manifest.DeepCopy(), nil }

func (d *diskImage) RawManifest() ([]byte, error) { return d.image.Manifest, nil }

func (d *diskImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == d.manifest.Config.Digest {
		return partial.ConfigLayer(d)
	}
	return d.find(func(l Layer) bool { return l.Digest.String() == h.String() }, h)
}

func (d *diskImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return d.find(func(l Layer) bool { return l.DiffID.String() == h.String() }, h)
}

func (d *diskImage) find(match func(Layer) bool, h v1.Hash) (v1.Layer, error) {
	for n, l := range d.image.Layers {
		if match(l) {
			return d.layers[n], nil
		}
	}
	return nil, pratique.Errorf(pratique.NotFound, "find layer", "%s is not a layer of %s", h,
		d.image.Subject)
}

// diskLayer is a v1.Layer over a [Layer]. Trivy inspects it by reflection, so it has to be a
// pointer to a struct.
type diskLayer struct{ layer Layer }

func (d *diskLayer) Digest() (v1.Hash, error) { return hash(d.layer.Digest), nil }

func (d *diskLayer) DiffID() (v1.Hash, error) { return hash(d.layer.DiffID), nil }

func (d *diskLayer) Compressed() (io.ReadCloser, error) { return nil, errCompressed }

func (d *diskLayer) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(d.layer.Path)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer", d.layer.DiffID.String(), err)
	}
	return f, nil
}

func (d *diskLayer) Size() (int64, error) { return d.layer.Size, nil }

func (d *diskLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(d.layer.MediaType), nil
}

func hash(d pratique.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }
