package incremental

import (
	"bytes"
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// subimage returns an image of the layers from index from up to, but not including, index to. Its
// configuration lists these layers only.
func subimage(img layers.Image, from, to int) (layers.Image, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(img.Config))
	if err != nil {
		return layers.Image{}, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(img.Manifest))
	if err != nil {
		return layers.Image{}, err
	}
	if len(config.RootFS.DiffIDs) != len(img.Layers) || len(manifest.Layers) != len(img.Layers) {
		return layers.Image{}, pratique.Errorf(pratique.Corrupt, "select layers",
			"manifest, configuration and layers differ in number")
	}
	config.RootFS.DiffIDs = config.RootFS.DiffIDs[from:to]
	config.History = nil
	manifest.Layers = manifest.Layers[from:to]
	out := layers.Image{Platform: img.Platform, MediaType: img.MediaType, Layers: img.Layers[from:to]}
	if out.Config, err = json.Marshal(config); err != nil {
		return layers.Image{}, err
	}
	if manifest.Config.Digest, manifest.Config.Size, err = v1.SHA256(bytes.NewReader(out.Config)); err != nil {
		return layers.Image{}, err
	}
	if out.Manifest, err = json.Marshal(manifest); err != nil {
		return layers.Image{}, err
	}
	out.Subject = img.Subject.Sibling(pratique.DigestOf(out.Manifest))
	return out, nil
}
