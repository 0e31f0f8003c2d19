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
	"github.com/pratique-dev/pratique/internal/contextio"
	"github.com/pratique-dev/pratique/internal/gunzip"
	"github.com/pratique-dev/pratique/internal/toc"
)

const (
	opExpand   = "expand layer"
	copyBuffer = 256 << 10
	// maxWindow bounds the memory of one zstd stream. Up to four streams per image are open at a
	// time. The encoder of container tools (klauspost/compress) uses at most 32 MiB, zstd itself 8
	// by default.
	maxWindow = 32 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// expanded is the result of expand: digests, the length of the tar stream, the number of its
// headers, and where in the compressed bytes its parts are.
type expanded struct {
	// digest and diffID are the sha256 digests of the compressed bytes and of the tar stream,
	// whatever algorithm the manifest uses.
	digest, diffID pratique.Digest

	size    int64
	entries int64
	blob    toc.Blob
}

// form describes the compressed form that was expanded, whose tar stream is in a file, once its
// table of contents agrees.
func (e expanded) form(ctx context.Context, want Descriptor, tar io.ReaderAt) (compressed, error) {
	table, err := toc.Check(ctx, e.blob, tar, e.size)
	return compressed{Digest: want.Digest, MediaType: want.MediaType, Size: want.Size, Table: table,
		SHA256: e.digest, DiffID: e.diffID}, err
}

// expand reads a layer to its end and writes its tar stream to w. It returns what it found if
// digests and sizes match. Reading, hashing and decompressing the input run concurrently with
// checking, hashing and writing the output.
func (s *Store) expand(ctx context.Context, body io.Reader, want Descriptor,
	w io.Writer) (expanded, error) {
	var found expanded
	in := &verifyingReader{ctx: ctx, r: body, left: want.Size, hash: newContentHash(want.ID())}
	source := newReadAheadReader(in)
	sum := newContentHash(want.diffID())
	limits := s.Limits.withDefaults()
	out := &expansionLimit{limits: limits, in: source}
	seen := newHeaders(limits.Entries)
	err := decompress(source, want.MediaType, &found.blob, out.admit, io.MultiWriter(seen, sum, w))
	// The digest covers all bytes, also those after the compressed stream or after damage. A layer
	// that we refused is not read to its end.
	var ours *pratique.Error
	if refused := errors.As(err, &ours); !refused {
		_, _ = io.CopyBuffer(io.Discard, source, make([]byte, copyBuffer)) // the error is in in.err
	}
	source.Close()
	if in.err != nil {
		return expanded{}, in.err // a network error, whatever the decompressor made of it
	}
	if ours != nil {
		return expanded{}, ours
	}
	switch {
	case in.read != want.Size:
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "got %d bytes of %d",
			in.read, want.Size)
	case !in.hash.matches():
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand,
			"the compressed bytes have digest %s", in.hash.digest())
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return expanded{}, pratique.Errorf(pratique.Exhausted, opExpand,
			"the zstd window is larger than %d MiB", maxWindow>>20)
	case err != nil:
		return expanded{}, pratique.Wrap(pratique.Corrupt, opExpand, "", err)
	}
	if !sum.matches() {
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand,
			"the tar stream has digest %s, the configuration says %s", sum.digest(), want.diffID())
	}
	found.digest, found.diffID = in.hash.digest(), sum.digest()
	found.size, found.entries = out.written, seen.entries
	found.blob.Size, found.blob.Tail = in.read, in.tail
	return found, seen.end()
}

// decompress detects the compression from the first bytes, as runtimes do. Runtimes disagree on a
// layer that is declared as plain and is compressed, so that is refused.
func decompress(in io.Reader, mediaType string, blob *toc.Blob, admit func(n int) error,
	out io.Writer) (err error) {
	defer pratique.Caught(pratique.Corrupt, opExpand, &err)
	buffered := bufio.NewReaderSize(in, copyBuffer)
	magic, err := buffered.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	blob.Gzip, blob.Zstd = bytes.HasPrefix(magic, gzipMagic), bytes.HasPrefix(magic, zstdMagic)
	if (blob.Gzip || blob.Zstd) && slices.Contains(plainTypes, mediaType) {
		return fmt.Errorf("declared as %s, but compressed", mediaType)
	}
	var from io.Reader = buffered
	switch {
	case blob.Gzip:
		z, err := gunzip.NewReader(buffered)
		if err != nil {
			return err
		}
		blob.Starts = append(blob.Starts, toc.Start{})
		z.Member = func(in, out int64) error { return addStart(blob, in, out) }
		from = z
	case blob.Zstd:
		z, err := newFrames(buffered, blob)
		if err != nil {
			return err
		}
		defer z.close()
		from = z
	}
	return pump(from, admit, out)
}

// maxStarts bounds the members or frames of a layer. Layers for lazy runtimes have one or a few for
// each file.
const maxStarts = 4_000_000

// addStart records where a member or a frame begins.
func addStart(blob *toc.Blob, in, out int64) error {
	if len(blob.Starts) == maxStarts {
		return pratique.Errorf(pratique.Exhausted, opExpand, "more than %d compressed streams", maxStarts)
	}
	blob.Starts = append(blob.Starts, toc.Start{In: in, Out: out})
	return nil
}

// verifyingReader hashes and counts what it reads, ends with its context, and reads at most one
// byte too many.
type verifyingReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
	read int64
	hash *contentHash
	tail []byte // the last bytes that were read
	err  error  // the first error other than io.EOF
}

func (m *verifyingReader) Read(p []byte) (int, error) {
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
	_, _ = m.hash.Write(p[:n]) // a hash never fails to write
	m.keepTail(p[:n])
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

func (m *verifyingReader) keepTail(p []byte) {
	if len(p) < toc.TailBytes {
		m.tail = append(m.tail, p...)
		p = m.tail[max(0, len(m.tail)-toc.TailBytes):]
	}
	p = p[max(0, len(p)-toc.TailBytes):]
	m.tail = append(m.tail[:0], p...)
}

// expansionLimit stops a stream as soon as it grows beyond the limits.
type expansionLimit struct {
	limits  Limits
	in      *readAheadReader
	written int64
}

func (g *expansionLimit) admit(n int) error {
	g.written += int64(n)
	if g.written > g.limits.ExpandedBytes {
		return errExpands("the limit of", g.limits.ExpandedBytes)
	}
	if g.written > g.limits.RatioFloor && g.written/g.limits.Ratio > g.in.consumed {
		return errExpands(fmt.Sprintf("%d times its", g.limits.Ratio), g.in.consumed)
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
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, contextio.NewReader(ctx, f),
		make([]byte, copyBuffer)); err != nil {
		return pratique.Digest{}, err
	}
	return digestOf(h), nil
}

func digestOf(h hashing.Hash) pratique.Digest {
	return pratique.DigestFromSum([sha256.Size]byte(h.Sum(nil)))
}
