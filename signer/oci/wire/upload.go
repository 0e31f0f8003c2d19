package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
)

// Concurrency is how many blobs are transferred at a time.
const Concurrency = 8

// Blob is content and its descriptor.
type Blob struct {
	Descriptor v1.Descriptor
	Content    []byte
}

// NewBlob returns the blob of some content.
func NewBlob(mediaType types.MediaType, content []byte) Blob {
	return Blob{v1.Descriptor{MediaType: mediaType, Digest: HashOf(content), Size: int64(len(content))},
		content}
}

// HashOf is the digest of content as the library has it.
func HashOf(content []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf(content).Hex()}
}

// Write uploads the new blobs of a manifest and its configuration, and then moves the tag to the
// manifest. Overwrites says that the tag exists.
func (s *Session) Write(ctx context.Context, tag name.Tag, m v1.Manifest, config Blob, fresh []Blob,
	overwrites bool) error {
	const op = "attach to"
	m.Config = config.Descriptor
	g, uploading := errgroup.WithContext(ctx)
	g.SetLimit(Concurrency)
	var layerRead sync.WaitGroup
	defer layerRead.Wait()
	for _, b := range fresh {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			if err := s.upload(uploading, b); err != nil {
				return err
			}
			layerRead.Go(func() { s.readAhead(ctx, b) })
			return nil
		})
	}
	g.Go(func() error {
		return s.send(uploading, &blob{content: config.Content, digest: m.Config.Digest})
	})
	if err := g.Wait(); err != nil {
		return s.Fail(op, err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return s.Errorf(pratique.Internal, op, "%w", err)
	}
	if len(raw) > s.limits.ManifestBytes {
		return s.Errorf(pratique.Exhausted, op, "the manifest of %s would have %d bytes, the limit is %d",
			tag, len(raw), s.limits.ManifestBytes)
	}
	return s.put(ctx, tag, raw, overwrites)
}

// Upload uploads a blob ahead of [Session.Write] and reads it back. Until Write, no manifest names
// it.
func (s *Session) Upload(ctx context.Context, b Blob) error {
	if err := s.upload(ctx, b); err != nil {
		return s.Fail("upload attestation of", err)
	}
	s.readAhead(ctx, b)
	return nil
}

// upload is a blob that is uploaded once.
type upload struct {
	mu   sync.Mutex
	done bool
}

// upload uploads a blob unless it has been uploaded.
func (s *Session) upload(ctx context.Context, b Blob) error {
	digest := b.Descriptor.Digest
	s.mu.Lock()
	u := s.uploads[digest]
	if u == nil {
		u = &upload{}
		s.uploads[digest] = u
	}
	s.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return nil
	}
	err := s.send(ctx, &blob{content: b.Content, digest: digest})
	u.done = err == nil
	return err
}

// readAhead reads a blob back while others are uploaded. Some registries serve only what a manifest
// names; then the blob is read after the manifest.
func (s *Session) readAhead(ctx context.Context, b Blob) {
	var err error
	defer pratique.Caught(pratique.Corrupt, "read back", &err)
	_ = s.Check(ctx, b.Descriptor, true)
}

type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// blob is a layer that is known to be new, because no two signatures are the same. It returns its
// digest only once the upload has begun, as a streamed layer does, so the library does not ask
// whether the registry has it.
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
