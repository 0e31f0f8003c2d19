//go:build goexperiment.jsonv2

package trivy

import (
	"context"
	"errors"
	"slices"
	"sync"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

var errNotCached = errors.New("not in the layer cache")

// maxWeight bounds the cache between images, in packages and installed files; most of it are files,
// of about a hundred bytes each.
const maxWeight = 1_000_000

// layerCache keeps the analysis of layers, by Trivy's key, which is derived from the diff id, so
// that a known base image is not read again. It grows while an image is analyzed and is trimmed
// afterwards.
type layerCache struct {
	mu       sync.Mutex
	blobs    map[string]*cachedLayer
	artifact map[string]ftypes.ArtifactInfo
	clock    int64
}

type cachedLayer struct {
	info   ftypes.BlobInfo
	weight int
	used   int64
}

func newLayerCache() *layerCache {
	return &layerCache{blobs: map[string]*cachedLayer{}, artifact: map[string]ftypes.ArtifactInfo{}}
}

// trim removes the images, and the least recently used layers beyond the limit.
func (c *layerCache) trim(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.artifact)
	total := 0
	keys := make([]string, 0, len(c.blobs))
	for k, l := range c.blobs {
		total += l.weight
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return int(c.blobs[a].used - c.blobs[b].used) })
	for _, k := range keys {
		if total <= limit {
			return
		}
		total -= c.blobs[k].weight
		delete(c.blobs, k)
	}
}

// MissingBlobs implements [cache.ArtifactCache].
func (c *layerCache) MissingBlobs(_ context.Context, artifactID string,
	blobIDs []string) (bool, []string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.artifact[artifactID]
	var missing []string
	for _, id := range blobIDs {
		// An image may have a layer twice; Trivy must not analyze both concurrently.
		if c.blobs[id] == nil && !slices.Contains(missing, id) {
			missing = append(missing, id)
		}
	}
	return !known, missing, nil
}

// PutArtifact implements [cache.ArtifactCache].
func (c *layerCache) PutArtifact(_ context.Context, id string, info ftypes.ArtifactInfo) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.artifact[id] = info
	return nil
}

func (c *layerCache) put(id string, info ftypes.BlobInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	c.blobs[id] = &cachedLayer{info: info, weight: weight(info), used: c.clock}
}

func (c *layerCache) has(id string) bool {
	_, ok := c.peek(id)
	return ok
}

// peek returns the cached analysis itself, which must not be changed.
func (c *layerCache) peek(id string) (ftypes.BlobInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.blobs[id]
	if !ok {
		return ftypes.BlobInfo{}, false
	}
	return l.info, true
}

func (c *layerCache) remove(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.blobs, id)
	}
}

// DeleteBlobs implements [cache.ArtifactCache].
func (c *layerCache) DeleteBlobs(_ context.Context, ids []string) error {
	c.remove(ids)
	return nil
}

// GetArtifact implements [cache.LocalArtifactCache].
func (c *layerCache) GetArtifact(_ context.Context, id string) (ftypes.ArtifactInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.artifact[id]
	if !ok {
		return info, errNotCached
	}
	return info, nil
}

// GetBlob implements [cache.LocalArtifactCache]. Packages are copied, because merging layers writes
// into them what depends on the image: the package's layer and its identifiers.
func (c *layerCache) GetBlob(_ context.Context, id string) (ftypes.BlobInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.blobs[id]
	if !ok {
		return ftypes.BlobInfo{}, errNotCached
	}
	c.clock++
	l.used = c.clock
	info := l.info
	info.PackageInfos = slices.Clone(info.PackageInfos)
	for i := range info.PackageInfos {
		info.PackageInfos[i].Packages = slices.Clone(info.PackageInfos[i].Packages)
	}
	info.Applications = slices.Clone(info.Applications)
	for i := range info.Applications {
		info.Applications[i].Packages = slices.Clone(info.Applications[i].Packages)
	}
	info.Secrets = slices.Clone(info.Secrets)
	for i := range info.Secrets {
		info.Secrets[i].Findings = slices.Clone(info.Secrets[i].Findings)
	}
	return info, nil
}

// Close implements [cache.LocalArtifactCache].
func (c *layerCache) Close() error { return nil }

// Clear implements [cache.LocalArtifactCache].
func (c *layerCache) Clear(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.blobs)
	clear(c.artifact)
	return nil
}

func weight(info ftypes.BlobInfo) int {
	n := 1 + len(info.WhiteoutFiles) + len(info.Licenses) +
		10*(len(info.Secrets)+len(info.Misconfigurations))
	for _, p := range info.PackageInfos {
		for _, pkg := range p.Packages {
			n += 1 + len(pkg.InstalledFiles) + len(pkg.DependsOn)
		}
	}
	for _, a := range info.Applications {
		for _, pkg := range a.Packages {
			n += 1 + len(pkg.InstalledFiles) + len(pkg.DependsOn)
		}
	}
	return n
}
