package layers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	hashing "hash"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

const (
	opExpand   = "expand layer"
	copyBuffer = 256 << 10
	// maxWindow bounds the memory for one zstd stream; encoders use 8 MiB at most unless told otherwise.
	maxWindow = 128 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// expand reads a layer to its end, writes its tar stream to w, and returns the stream's length if all of it
// is as wanted.
func (s *Store) expand(ctx context.Context, body io.Reader, want Descriptor, w io.Writer) (int64, error) {
	in := &measured{ctx: ctx, r: body, left: want.Size, hash: sha256.New()}
	sum := sha256.New()
	out := &guarded{limits: s.Limits.withDefaults(), in: in, to: io.MultiWriter(sum, w)}
	err := decompress(in, want.MediaType, out)
	if in.err != nil {
		return 0, in.err // the network's fault, whatever the decompressor made of it
	}
	var ours *pratique.Error
	if errors.As(err, &ours) {
		return 0, ours
	}
	// What follows the compressed stream, or follows the damage in it, belongs to the digest.
	if _, rest := io.CopyBuffer(io.Discard, in, make([]byte, copyBuffer)); rest != nil {
		return 0, rest
	}
	switch got := digestOf(in.hash); {
	case in.read != want.Size:
		return 0, pratique.Errorf(pratique.Corrupt, opExpand, "got %d bytes of %d", in.read, want.Size)
	case got != want.Digest:
		return 0, pratique.Errorf(pratique.Corrupt, opExpand, "the bytes have digest %s", got)
	case err != nil:
		return 0, pratique.Wrap(pratique.Corrupt, opExpand, "", err)
	}
	if got := digestOf(sum); got != want.DiffID {
		return 0, pratique.Errorf(pratique.Corrupt, opExpand, "the tar stream has digest %s, the configuration says %s", got, want.DiffID)
	}
	return out.written, nil
}

// decompress goes by the first bytes, as runtimes do. A layer that is declared plain and is compressed all
// the same is refused, because on that they do not agree.
func decompress(in io.Reader, mediaType string, out io.Writer) error {
	buffered := bufio.NewReaderSize(in, copyBuffer)
	magic, err := buffered.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	isGzip, isZstd := bytes.HasPrefix(magic, gzipMagic), bytes.HasPrefix(magic, zstdMagic)
	if (isGzip || isZstd) && slices.Contains(plainTypes, mediaType) {
		return fmt.Errorf("declared as %s, but compressed", mediaType)
	}
	var from io.Reader = buffered
	switch {
	case isGzip:
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		from = z
	case isZstd:
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		from = struct{ io.Reader }{z} // hides WriteTo, whose buffers are as large as the frame
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, from, make([]byte, copyBuffer))
	return err
}

// measured hashes and counts what it reads, ends with the context, and never reads more than one byte too many.
type measured struct {
	ctx  context.Context
	r    io.Reader
	left int64
	read int64
	hash hashing.Hash
	err  error // what the reader failed with, other than its end
}

func (m *measured) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if err := context.Cause(m.ctx); err != nil {
		m.err = pratique.Wrap(pratique.Unavailable, "fetch layer", "", err)
		return 0, m.err
	}
	if int64(len(p)) > m.left+1 {
		p = p[:m.left+1]
	}
	n, err := m.r.Read(p)
	m.hash.Write(p[:n])
	m.read += int64(n)
	m.left -= int64(n)
	switch {
	case m.left < 0:
		m.err = pratique.Errorf(pratique.Corrupt, "fetch layer", "longer than the manifest says")
	case err != nil && !errors.Is(err, io.EOF) && pratique.KindOf(err) == pratique.Unknown:
		m.err = pratique.Wrap(pratique.Unavailable, "fetch layer", "", err)
	case err != nil && !errors.Is(err, io.EOF):
		m.err = err
	}
	if m.err != nil {
		err = m.err
	}
	return n, err
}

// guarded stops a stream that grows beyond the limits while it grows.
type guarded struct {
	limits  Limits
	in      *measured
	to      io.Writer
	written int64
}

func (g *guarded) Write(p []byte) (int, error) {
	g.written += int64(len(p))
	if g.written > g.limits.ExpandedBytes {
		return 0, errWider("the limit of", g.limits.ExpandedBytes)
	}
	if g.written > g.limits.RatioFloor && g.written/g.limits.Ratio > g.in.read {
		return 0, errWider(fmt.Sprintf("%d times its", g.limits.Ratio), g.in.read)
	}
	return g.to.Write(p)
}

func hashFile(ctx context.Context, path string) (pratique.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return pratique.Digest{}, err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, &contextReader{ctx: ctx, r: f}, make([]byte, copyBuffer)); err != nil {
		return pratique.Digest{}, err
	}
	return digestOf(h), nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func digestOf(h hashing.Hash) pratique.Digest {
	return pratique.DigestFromSum([sha256.Size]byte(h.Sum(nil)))
}
