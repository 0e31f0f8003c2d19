package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

// uploads is how many blobs travel at once.
const uploads = 8

// write uploads the new layers and a configuration that fits, then moves the tag to the manifest. Overwrites says
// that the tag exists.
func (s *session) write(ctx context.Context, suffix string, m v1.Manifest, items []item, overwrites bool) error {
	const op = "attach to"
	config, err := newConfig(m.Layers)
	if err != nil {
		return s.errorf(pratique.Internal, op, "%w", err)
	}
	m.Config = describe(types.OCIConfigJSON, config)
	g, uploading := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	var reading sync.WaitGroup
	defer reading.Wait()
	for _, i := range items {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			if err := s.upload(uploading, i); err != nil {
				return err
			}
			reading.Go(func() { s.readAhead(ctx, i) })
			return nil
		})
	}
	g.Go(func() error { return s.send(uploading, &blob{content: config, digest: m.Config.Digest}) })
	if err := g.Wait(); err != nil {
		return s.fail(op, err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return s.errorf(pratique.Internal, op, "%w", err)
	}
	if len(raw) > s.limits.ManifestBytes {
		return s.errorf(pratique.Exhausted, op, "the manifest of %s would have %d bytes, the limit is %d", s.tag(suffix), len(raw), s.limits.ManifestBytes)
	}
	return s.put(ctx, suffix, raw, overwrites)
}

// upload is the sending of one layer, which happens once.
type upload struct {
	mu   sync.Mutex
	done bool
}

// upload sends a layer, unless it was sent before.
func (s *session) upload(ctx context.Context, i item) error {
	s.mu.Lock()
	u := s.uploads[i.desc.Digest]
	if u == nil {
		u = &upload{}
		s.uploads[i.desc.Digest] = u
	}
	s.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return nil
	}
	err := s.send(ctx, &blob{content: i.content, digest: i.desc.Digest})
	u.done = err == nil
	return err
}

// readAhead reads back what was sent while others are under way. Some registries hand out only what a manifest names, so
// what cannot be read yet is read after the manifest.
func (s *session) readAhead(ctx context.Context, i item) {
	var err error
	defer pratique.Caught(pratique.Corrupt, "read back", &err)
	_ = s.check(ctx, i.desc, true)
}

// newConfig is the image configuration that cosign would write for these layers: they are not compressed, so
// their digests are their diff ids.
func newConfig(layers []v1.Descriptor) ([]byte, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		config.History = append(config.History, v1.History{})
	}
	return json.Marshal(config)
}

func describe(mediaType types.MediaType, content []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: hashOf(content), Size: int64(len(content))}
}

func hashOf(content []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf(content).Hex()}
}

type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// blob is a layer that is known to be new: a signature is never the same twice. It names its digest only once
// the upload has begun, as a streamed layer does, which saves the question whether the registry has it.
type blob struct {
	content []byte
	digest  v1.Hash
	begun   atomic.Bool
}

func (b *blob) Digest() (v1.Hash, error) {
	if !b.begun.Load() {
		return v1.Hash{}, stream.ErrNotComputed
	}
	return b.digest, nil
}

func (b *blob) DiffID() (v1.Hash, error) { return b.Digest() }

func (b *blob) Compressed() (io.ReadCloser, error) {
	b.begun.Store(true)
	return io.NopCloser(bytes.NewReader(b.content)), nil
}

func (b *blob) Uncompressed() (io.ReadCloser, error) { return b.Compressed() }
func (b *blob) Size() (int64, error)                 { return int64(len(b.content)), nil }
func (b *blob) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
