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

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/gunzip"
)

const (
	opExpand   = "expand layer"
	copyBuffer = 256 << 10
	// maxWindow bounds the memory for one zstd stream, of which there may be four for each image that is fetched. The
	// encoder of container tools (klauspost/compress) uses 32 MiB at most, zstd itself 8 unless told otherwise.
	maxWindow = 32 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// expanded is what expand found: the length of the tar stream in bytes, and how many headers it has.
type expanded struct {
	size    int64
	entries int64
}

// expand reads a layer to its end, writes its tar stream to w, and returns what it found if all of it is as
// wanted. Reading, hashing what is read and decompressing go on beside hashing, looking at and writing what comes
// out of it.
func (s *Store) expand(ctx context.Context, body io.Reader, want Descriptor, w io.Writer) (expanded, error) {
	in := &measured{ctx: ctx, r: body, left: want.Size, hash: sha256.New()}
	source := readAhead(in)
	sum := sha256.New()
	limits := s.Limits.withDefaults()
	out := &guarded{limits: limits, in: source}
	seen := newHeaders(limits.Entries)
	err := decompress(source, want.MediaType, out.admit, io.MultiWriter(seen, sum, w))
	// What follows the compressed stream, or follows the damage in it, belongs to the digest. What we refused
	// needs no reading to its end.
	var ours *pratique.Error
	if refused := errors.As(err, &ours); !refused {
		_, _ = io.CopyBuffer(io.Discard, source, make([]byte, copyBuffer)) // in.err says it
	}
	source.Close()
	if in.err != nil {
		return expanded{}, in.err // the network's fault, whatever the decompressor made of it
	}
	if ours != nil {
		return expanded{}, ours
	}
	switch got := digestOf(in.hash); {
	case in.read != want.Size:
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "got %d bytes of %d", in.read, want.Size)
	case got != want.Digest:
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "the bytes have digest %s", got)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return expanded{}, pratique.Errorf(pratique.Exhausted, opExpand, "zstd with a window of more than %d MiB", maxWindow>>20)
	case err != nil:
		return expanded{}, pratique.Wrap(pratique.Corrupt, opExpand, "", err)
	}
	if got := digestOf(sum); got != want.DiffID {
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "the tar stream has digest %s, the configuration says %s", got, want.DiffID)
	}
	return expanded{size: out.written, entries: seen.entries}, seen.end()
}

// decompress goes by the first bytes, as runtimes do. A layer that is declared plain and is compressed all
// the same is refused, because on that they do not agree.
func decompress(in io.Reader, mediaType string, admit func(n int) error, out io.Writer) error {
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
		z, err := gunzip.NewReader(buffered)
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
	return pump(from, admit, out)
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
	in      *ahead
	written int64
}

func (g *guarded) admit(n int) error {
	g.written += int64(n)
	if g.written > g.limits.ExpandedBytes {
		return errWider("the limit of", g.limits.ExpandedBytes)
	}
	if g.written > g.limits.RatioFloor && g.written/g.limits.Ratio > g.in.given {
		return errWider(fmt.Sprintf("%d times its", g.limits.Ratio), g.in.given)
	}
	return nil
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
