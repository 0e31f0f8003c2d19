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

// imageCache is the layer cache as one image sees it. What is kept of a layer says nothing about the image it was
// seen in; what Trivy wants to know of that is added here.
type imageCache struct {
	*layerCache
	known    scanner.Cache
	redactor redactor
	layers   []layers.Layer
	tree     *tree
	keys     []string // of the layers, in their order
	// base are the diff ids of the layers that Trivy takes for the base image's, once that is to be regarded.
	base map[string]bool

	mu       sync.Mutex
	missing  map[string]pratique.Digest // diff ids by Trivy's key, of the layers that known does not have
	analyzed map[string]bool            // keys of the layers that were analyzed for this image
	// linked is what was found in files that only links lead to, by key.
	linked  map[string]ftypes.BlobInfo
	streams []readStream // that were read for linked
}

func newImageCache(c *layerCache, h redactor, img layers.Image, t *tree, known scanner.Cache) *imageCache {
	return &imageCache{
		layerCache: c, known: known, redactor: h, layers: img.Layers, tree: t,
		missing: map[string]pratique.Digest{}, analyzed: map[string]bool{}, linked: map[string]ftypes.BlobInfo{},
	}
}

// MissingBlobs implements [cache.ArtifactCache]. The keys are those of the image's layers, in their order.
func (v *imageCache) MissingBlobs(ctx context.Context, artifactID string, keys []string) (bool, []string, error) {
	v.keys = keys
	for i, key := range keys {
		if i < len(v.layers) {
			v.load(key, v.layers[i].DiffID)
		}
	}
	return v.layerCache.MissingBlobs(ctx, artifactID, keys)
}

// load brings what is kept of a layer into the cache. What does not serve is as good as not kept.
func (v *imageCache) load(key string, diffID pratique.Digest) {
	if v.known == nil {
		return
	}
	raw, ok := v.known.Load(diffID)
	if ok && v.has(key) {
		return
	}
	var info ftypes.BlobInfo
	if ok && json.Unmarshal(raw, &info) == nil && info.SchemaVersion == ftypes.BlobJSONSchemaVersion && info.DiffID == diffID.String() {
		v.put(key, info)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missing[key] = diffID
}

// PutBlob implements [cache.ArtifactCache].
func (v *imageCache) PutBlob(_ context.Context, key string, info ftypes.BlobInfo) error {
	info.Digest, info.CreatedBy = "", "" // they are the image's
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

// discard drops what was analyzed for an image that could not be read to its end.
func (v *imageCache) discard() {
	keys := make([]string, 0, len(v.analyzed))
	for key := range v.analyzed {
		keys = append(keys, key)
	}
	v.remove(keys)
}

// store gives the cache what it does not have.
func (v *imageCache) store() error {
	for key, diffID := range v.missing {
		info, ok := v.peek(key)
		if !ok {
			continue
		}
		raw, err := json.Marshal(info)
		if err != nil {
			return pratique.Wrap(pratique.Internal, "keep analysis", diffID.String(), err)
		}
		if err := v.known.Store(diffID, raw); err != nil {
			return err
		}
	}
	return nil
}

// linkedCache takes what Trivy finds in files that only links lead to. It holds for one image, and is the layer's whose
// files they are.
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

// withoutConfig has Trivy leave the image's configuration alone.
type withoutConfig struct{ *imageCache }

// MissingBlobs implements [cache.ArtifactCache].
func (l withoutConfig) MissingBlobs(ctx context.Context, artifactID string, keys []string) (bool, []string, error) {
	_, missing, err := l.imageCache.MissingBlobs(ctx, artifactID, keys)
	return false, missing, err
}

// baseLayers are the diff ids of the layers that Trivy takes for those of a base image.
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
			return nil // the history is not that of these layers
		}
		base[config.RootFS.DiffIDs[next].String()] = true
		next++
	}
	return base
}
