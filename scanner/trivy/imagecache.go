//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/aquasecurity/trivy/pkg/cache"
	fimage "github.com/aquasecurity/trivy/pkg/fanal/image"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
	"github.com/pratique-dev/pratique/scanner"
)

var (
	_ cache.Cache         = (*imageCache)(nil)
	_ cache.ArtifactCache = withoutConfig{}
	_ cache.ArtifactCache = linkedCache{}
)

// imageCache is the layer cache as seen by one image. A cached analysis does not depend on the
// image; this type adds what Trivy needs to know about that.
type imageCache struct {
	*layerCache
	known    scanner.Cache
	redactor redactor
	layers   []layers.Layer
	tree     *tree
	keys     []string // of the layers, in order
	// base are the diff ids of the base image's layers, once they matter.
	base map[string]bool

	mu       sync.Mutex
	missing  map[string]pratique.Digest // diff ids by Trivy's key, of layers that are not in known
	analyzed map[string]bool            // keys of layers that were analyzed for this image
	// linked are the analyses of files that can only be reached by links, by key.
	linked  map[string]ftypes.BlobInfo
	streams []readStream // that were read for linked
}

func newImageCache(c *layerCache, h redactor, img layers.Image, t *tree,
	known scanner.Cache) *imageCache {
	return &imageCache{
		layerCache: c, known: known, redactor: h, layers: img.Layers, tree: t,
		missing: map[string]pratique.Digest{}, analyzed: map[string]bool{},
		linked: map[string]ftypes.BlobInfo{},
	}
}

// MissingBlobs implements [cache.ArtifactCache]. The keys are those of the image's layers, in
// order.
func (v *imageCache) MissingBlobs(ctx context.Context, artifactID string,
	keys []string) (bool, []string, error) {
	v.keys = keys
	for i, key := range keys {
		if i < len(v.layers) {
			v.load(key, v.layers[i].DiffID)
		}
	}
	return v.layerCache.MissingBlobs(ctx, artifactID, keys)
}

// load copies a known analysis into the cache. One that cannot be used counts as missing.
func (v *imageCache) load(key string, diffID pratique.Digest) {
	if v.known == nil {
		return
	}
	raw, ok := v.known.Load(diffID)
	if ok && v.has(key) {
		return
	}
	var info ftypes.BlobInfo
	if ok && json.Unmarshal(raw, &info) == nil &&
		info.SchemaVersion == ftypes.BlobJSONSchemaVersion && info.DiffID == diffID.String() {
		v.put(key, info)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missing[key] = diffID
}

// PutBlob implements [cache.ArtifactCache].
func (v *imageCache) PutBlob(_ context.Context, key string, info ftypes.BlobInfo) error {
	info.Digest, info.CreatedBy = "", "" // they depend on the image
	v.redactor.redactLayer(&info)
	v.put(key, info)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.analyzed[key] = true
	return nil
}

// GetBlob implements [cache.LocalArtifactCache].
func (v *imageCache) GetBlob(ctx context.Context, key string) (ftypes.BlobInfo, error) {
	if info, ok := v.linked[key]; ok {
		return info, nil
	}
	info, err := v.layerCache.GetBlob(ctx, key)
	if err != nil {
		return info, err
	}
	if at := slices.Index(v.keys, key); at >= 0 && at < len(v.tree.layers) {
		v.removeHidden(&info, v.tree.layers[at])
	}
	for _, l := range v.layers {
		if l.DiffID.String() == info.DiffID {
			info.Digest = l.Digest.String()
			break
		}
	}
	if v.base[info.DiffID] {
		info.Secrets = nil
	}
	return info, nil
}

// discard removes the analyses that were made for an image that could not be read completely.
func (v *imageCache) discard() {
	keys := make([]string, 0, len(v.analyzed))
	for key := range v.analyzed {
		keys = append(keys, key)
	}
	v.remove(keys)
}

// store adds the missing analyses to known.
func (v *imageCache) store() error {
	for key, diffID := range v.missing {
		info, ok := v.peek(key)
		if !ok {
			continue
		}
		raw, err := json.Marshal(info)
		if err != nil {
			return pratique.Wrap(pratique.Internal, "store analysis", diffID.String(), err)
		}
		if err := v.known.Store(diffID, raw); err != nil {
			return err
		}
	}
	return nil
}

// linkedCache takes the analyses of files that can only be reached by links. They are valid for one
// image, and belong to the layer of the files.
type linkedCache struct {
	*imageCache
	layer layers.Layer
}

// MissingBlobs implements [cache.ArtifactCache].
func (l linkedCache) MissingBlobs(_ context.Context, _ string, keys []string) (bool, []string, error) {
	return false, keys, nil
}

// PutBlob implements [cache.ArtifactCache].
func (l linkedCache) PutBlob(_ context.Context, key string, info ftypes.BlobInfo) error {
	info.Digest, info.DiffID, info.CreatedBy = l.layer.Digest.String(), l.layer.DiffID.String(), ""
	l.mu.Lock()
	defer l.mu.Unlock()
	l.linked[key] = info
	return nil
}

// withoutConfig makes Trivy ignore the image's configuration.
type withoutConfig struct{ *imageCache }

// MissingBlobs implements [cache.ArtifactCache].
func (l withoutConfig) MissingBlobs(ctx context.Context, artifactID string,
	keys []string) (bool, []string, error) {
	_, missing, err := l.imageCache.MissingBlobs(ctx, artifactID, keys)
	return false, missing, err
}

// baseLayers returns the diff ids of the layers that Trivy considers the base image's.
func baseLayers(config *v1.ConfigFile) map[string]bool {
	last, next := fimage.GuessBaseImageIndex(config.History), 0
	base := map[string]bool{}
	for i, h := range config.History {
		if i > last {
			break
		}
		if h.EmptyLayer {
			continue
		}
		if next >= len(config.RootFS.DiffIDs) {
			return nil // the history does not match the layers
		}
		base[config.RootFS.DiffIDs[next].String()] = true
		next++
	}
	return base
}
