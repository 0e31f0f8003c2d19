package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pratique-dev/pratique"
)

// Layer returns the bytes of a layer. If they do not have the size and digest of the descriptor, the
// error is Corrupt. They are not cached.
func (s *Session) Layer(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	s.mu.Lock()
	content, ok := s.known[desc.Digest]
	s.mu.Unlock()
	if ok {
		return content, s.Check(ctx, desc, false)
	}
	var read bytes.Buffer
	if err := s.fetch(ctx, desc, false, func() io.Writer {
		read.Grow(int(desc.Size) + 1)
		return &read
	}); err != nil {
		return nil, err
	}
	return read.Bytes(), nil
}

// layerRead is a layer that is read until that succeeds once.
type layerRead struct {
	mu       sync.Mutex
	verified bool // the registry has it with this size and digest
}

// Check reads a layer once, without keeping it. Errors are those of [Session.Layer]. A layer of our
// own does not count against what may be read, because others could use that up.
func (s *Session) Check(ctx context.Context, desc v1.Descriptor, own bool) error {
	key := KeyOf(desc)
	s.mu.Lock()
	r := s.checked[key]
	if r == nil {
		r = &layerRead{}
		s.checked[key] = r
	}
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verified {
		return nil
	}
	err := s.fetch(ctx, desc, own, func() io.Writer { return io.Discard })
	r.verified = err == nil
	return err
}

// fetch writes a layer to the writer that to returns. It calls to after it has checked that the size
// is within the limits.
func (s *Session) fetch(ctx context.Context, desc v1.Descriptor, own bool, to func() io.Writer) error {
	const op = "read attached layer of"
	if err := s.allow(op, desc, own); err != nil {
		return err
	}
	// The library's reader would hash the bytes a second time.
	resp, err := s.do(ctx, http.MethodGet, s.address("blobs/"+desc.Digest.String()), nil, http.StatusOK)
	if err != nil {
		return s.Fail(op, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing was written
	sum := sha256.New()
	// One byte more than expected, so that a longer layer is noticed and not read.
	n, err := io.Copy(io.MultiWriter(to(), sum), io.LimitReader(resp.Body, desc.Size+1))
	if err != nil {
		return s.Fail(op, err)
	}
	if n != desc.Size || desc.Digest.String() != "sha256:"+hex.EncodeToString(sum.Sum(nil)) {
		return s.Errorf(pratique.Corrupt, op, "layer %s does not have its size and digest", desc.Digest)
	}
	return nil
}

// allow subtracts a layer's size from what may still be read.
func (s *Session) allow(op string, desc v1.Descriptor, own bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case desc.Size < 0:
		return s.Errorf(pratique.Corrupt, op, "layer %s has %d bytes", desc.Digest, desc.Size)
	case desc.Size > s.limits.BlobBytes:
		return s.Errorf(pratique.Exhausted, op, "layer %s has %d bytes, the limit is %d", desc.Digest,
			desc.Size, s.limits.BlobBytes)
	case own:
		return nil
	case desc.Size > s.left:
		return s.Errorf(pratique.Exhausted, op, "layers of more than %d bytes together",
			s.limits.TotalBytes)
	}
	s.left -= desc.Size
	return nil
}
