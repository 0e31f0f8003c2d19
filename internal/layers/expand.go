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
	// maxWindow bounds the memory for one zstd stream, of which there may be four for each image that is fetched. The
	// encoder of container tools (klauspost/compress) uses 32 MiB at most, zstd itself 8 unless told otherwise.
	maxWindow = 32 << 20
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// expanded is what expand found: the length of the tar stream in bytes, how many headers it has, and where in the
// compressed bytes its parts are.
type expanded struct {
	// digest and diffID are the sha256 sums of the compressed bytes and of the tar stream, by whatever name they were asked for.
	digest, diffID pratique.Digest

	size    int64
	entries int64
	blob    toc.Blob
}

// form describes the compressed form that was expanded, whose tar stream is in a file, once its table of contents agrees.
func (e expanded) form(ctx context.Context, want Descriptor, tar io.ReaderAt) (compressed, error) {
	table, err := toc.Check(ctx, e.blob, tar, e.size)
	return compressed{Digest: want.Digest, MediaType: want.MediaType, Size: want.Size, Table: table, SHA256: e.digest, DiffID: e.diffID}, err
}

// expand reads a layer to its end, writes its tar stream to w, and returns what it found if all of it is as
// wanted. Reading, hashing what is read and decompressing go on beside hashing, looking at and writing what comes
// out of it.
func (s *Store) expand(ctx context.Context, body io.Reader, want Descriptor, w io.Writer) (expanded, error) {
	var found expanded
	in := &verifyingReader{ctx: ctx, r: body, left: want.Size, hash: newContentHash(want.ID())}
	source := newReadAheadReader(in)
	sum := newContentHash(want.diffID())
	limits := s.Limits.withDefaults()
	out := &expansionLimit{limits: limits, in: source}
	seen := newHeaders(limits.Entries)
	err := decompress(source, want.MediaType, &found.blob, out.admit, io.MultiWriter(seen, sum, w))
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
	switch {
	case in.read != want.Size:
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "got %d bytes of %d", in.read, want.Size)
	case !in.hash.matches():
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "the bytes have digest %s", in.hash.digest())
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return expanded{}, pratique.Errorf(pratique.Exhausted, opExpand, "zstd with a window of more than %d MiB", maxWindow>>20)
	case err != nil:
		return expanded{}, pratique.Wrap(pratique.Corrupt, opExpand, "", err)
	}
	if !sum.matches() {
		return expanded{}, pratique.Errorf(pratique.Corrupt, opExpand, "the tar stream has digest %s, the configuration says %s", sum.digest(), want.diffID())
	}
	found.digest, found.diffID = in.hash.digest(), sum.digest()
	found.size, found.entries = out.written, seen.entries
	found.blob.Size, found.blob.Tail = in.read, in.tail
	return found, seen.end()
}

// decompress goes by the first bytes, as runtimes do. A layer that is declared plain and is compressed all
// the same is refused, because on that they do not agree.
func decompress(in io.Reader, mediaType string, blob *toc.Blob, admit func(n int) error, out io.Writer) (err error) {
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

// maxStarts bounds the members or frames of a layer. Those for lazy runtimes have one or a few for each file.
const maxStarts = 4_000_000

// addStart keeps where a member or a frame begins.
func addStart(blob *toc.Blob, in, out int64) error {
	if len(blob.Starts) == maxStarts {
		return pratique.Errorf(pratique.Exhausted, opExpand, "it is made of more than %d streams", maxStarts)
	}
	blob.Starts = append(blob.Starts, toc.Start{In: in, Out: out})
	return nil
}

// verifyingReader hashes and counts what it reads, ends with the context, and never reads more than one byte too many.
type verifyingReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
	read int64
	hash *contentHash
	tail []byte // the last bytes of those read
	err  error  // what the reader failed with, other than its end
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

// expansionLimit stops a stream that grows beyond the limits while it grows.
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
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, contextio.NewReader(ctx, f), make([]byte, copyBuffer)); err != nil {
		return pratique.Digest{}, err
	}
	return digestOf(h), nil
}

func digestOf(h hashing.Hash) pratique.Digest {
	return pratique.DigestFromSum([sha256.Size]byte(h.Sum(nil)))
}
