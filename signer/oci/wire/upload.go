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

// Concurrency is how many blobs travel at once.
const Concurrency = 8

// Blob is a content with what a manifest says of it.
type Blob struct {
	Descriptor v1.Descriptor
	Content    []byte
}

// NewBlob describes a content.
func NewBlob(mediaType types.MediaType, content []byte) Blob {
	return Blob{v1.Descriptor{MediaType: mediaType, Digest: HashOf(content), Size: int64(len(content))},
		content}
}

// HashOf is the digest of a content in the library's form.
func HashOf(content []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: pratique.DigestOf(content).Hex()}
}

// Write uploads the blobs of a manifest that are new and its configuration, then moves the tag to
// it. Overwrites says that the tag exists.
func (s *Session) Write(ctx context.Context, tag name.Tag, m v1.Manifest, config Blob, fresh []Blob,
	overwrites bool) error {
	const op = "attach to"
	m.Config = config.Descriptor
	g, uploading := errgroup.WithContext(ctx)
	g.SetLimit(Concurrency)
	var reading sync.WaitGroup
	defer reading.Wait()
	for _, b := range fresh {
		g.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, op, &err)
			if err := s.upload(uploading, b); err != nil {
				return err
			}
			reading.Go(func() { s.readAhead(ctx, b) })
			return nil
		})
	}
	g.Go(func() error { return s.send(uploading, &blob{content: config.Content, digest: m.Config.Digest}) })
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

// Upload sends a blob and reads it back ahead of [Session.Write]. Nobody finds it before.
func (s *Session) Upload(ctx context.Context, b Blob) error {
	if err := s.upload(ctx, b); err != nil {
		return s.Fail("upload attestation of", err)
	}
	s.readAhead(ctx, b)
	return nil
}

// upload is the sending of one blob, which happens once.
type upload struct {
	mu   sync.Mutex
	done bool
}

// upload sends a blob, unless it was sent before.
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

// readAhead reads back what was sent while others are under way. Some registries hand out only what
// a manifest names, so what cannot be read yet is read after the manifest.
func (s *Session) readAhead(ctx context.Context, b Blob) {
	var err error
	defer pratique.Caught(pratique.Corrupt, "read back", &err)
	_ = s.Check(ctx, b.Descriptor, true)
}

type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// blob is a layer that is known to be new: a signature is never the same twice. It names its digest
// only once the upload has begun, as a streamed layer does, which saves the question whether the
// registry has it.
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
