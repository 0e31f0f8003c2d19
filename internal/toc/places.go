package toc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

// The footers of eStargz, of its predecessor stargz, and of a table in another image; each is an
// empty gzip member.
const (
	stargzFooter   = 51
	oldFooter      = 47
	externalFooter = 46
	stargz         = "STARGZ"
	external       = "STARGZEXTERNALTOC"
	tableName      = "stargz.index.json"
)

// The magic of the footers of zstd:chunked, as containers/storage and stargz-snapshotter write it.
// Its position depends on the size of the footer: stargz-snapshotter and containers/storage before
// 1.47 write 40 bytes; the latter wrote 56 for some months after that, and has written 64 since.
var chunkedMagic = [][]byte{[]byte("GNUlInUx"), []byte("GnUlInUx")}

func magicAt(footer []byte) []byte {
	switch len(footer) {
	case 40, 56:
		return footer[32:40]
	case 64:
		return footer[56:]
	}
	return nil
}

// findFooter looks for a footer of eStargz in the last bytes, whatever precedes them, as
// snapshotters do. Bytes that could be mistaken for a footer are refused.
func findFooter(b Blob) (at int64, footer int, err error) {
	for _, size := range []int{stargzFooter, oldFooter, externalFooter} {
		if len(b.Tail) < size {
			continue
		}
		// Only the header is read. The library's own function panics without an extra field.
		z, err := gzip.NewReader(bytes.NewReader(b.Tail[len(b.Tail)-size:]))
		if err != nil || !bytes.HasSuffix(z.Extra, []byte(stargz)) &&
			!bytes.HasSuffix(z.Extra, []byte(external)) {
			continue
		}
		if bytes.HasSuffix(z.Extra, []byte(external)) {
			return 0, 0, pratique.Errorf(pratique.Invalid, op,
				"its table of contents for lazy runtimes is in another image, where nothing can check it: convert the image without --estargz-external-toc")
		}
		hex := bytes.TrimSuffix(z.Extra, []byte(stargz))
		if len(hex) > 16 {
			hex = hex[len(hex)-16:]
		}
		place, err := strconv.ParseInt(string(hex), 16, 64)
		if err != nil || footer != 0 || !b.Gzip {
			return 0, 0, errTable("it ends like a layer for lazy runtimes, and is none")
		}
		at, footer = place, size
	}
	for _, magic := range chunkedMagic {
		if bytes.HasSuffix(b.Tail, magic) && len(b.Skipped) == 0 {
			return 0, 0, errTable("it ends like a zstd:chunked layer, and is none")
		}
	}
	return at, footer, nil
}

// checkStargz reads the table of an eStargz layer. It is the last entry of the tar, in the last
// member with data; the footer is a member of its own after that.
func checkStargz(ctx context.Context, b Blob, at int64, footer int, stream io.ReaderAt,
	size int64) (Found, error) {
	n := len(b.Starts)
	if n < 2 || b.Starts[n-1] != (Start{In: b.Size - int64(footer), Out: size}) ||
		b.Starts[n-2].In != at {
		return Found{}, errTable("its footer points to no table of contents at the end of the layer")
	}
	from := b.Starts[n-2].Out
	r := tar.NewReader(io.NewSectionReader(stream, from, size-from))
	h, err := r.Next()
	if err != nil || h.Name != tableName || h.Typeflag != tar.TypeReg {
		return Found{}, errTable("its footer points to something other than %s", tableName)
	}
	if h.Size > maxJSON {
		return Found{}, errLarge()
	}
	table := newTable(ctx, r)
	c := comparison{table: table, starts: b.Starts[:n-2], tar: stream, end: from, inner: true}
	if err := c.run(ctx, size); err != nil {
		return Found{}, err
	}
	return Found{Digest: table.digest()}, nil
}

// checkChunked reads the table of a zstd:chunked layer: the first of two or three skippable frames
// at its end. The last one is the footer; between them may be the description of the tar
// (tar-split), which containers/storage compares with the table itself and does not unpack.
func checkChunked(ctx context.Context, b Blob, stream io.ReaderAt, size int64) (Found, error) {
	n := len(b.Skipped)
	first, last := b.Skipped[0], b.Skipped[n-1]
	if n < 2 || n > 3 || first.Content == nil || last.At+last.Size != b.Size ||
		magicAt(last.Content) == nil {
		return Found{}, errTable("skippable frames that are not those of zstd:chunked")
	}
	word := func(i int) int64 {
		return int64(binary.LittleEndian.Uint64(last.Content[8*i:])) //nolint:gosec // compared only
	}
	magic := magicAt(last.Content)
	if !bytes.Equal(magic, chunkedMagic[0]) && !bytes.Equal(magic, chunkedMagic[1]) ||
		word(0) != first.At || word(1) != first.Size || word(3) != 1 {
		return Found{}, errTable("the footer of zstd:chunked does not point to the first skippable frame")
	}
	found := Found{
		Checksum: pratique.DigestOf(first.Content),
		Position: fmt.Sprintf("%d:%d:%d:%d", word(0), word(1), word(2), word(3)),
	}
	if n == 3 {
		split := b.Skipped[1]
		if last.Size == 64 && (word(4) != split.At || word(5) != split.Size) {
			return Found{}, errTable("the footer of zstd:chunked does not point to the second skippable frame")
		}
		found.Split = fmt.Sprintf("%d:%d:", split.At, split.Size)
	}
	if word(2) > maxJSON || word(2) < 0 {
		return Found{}, errLarge()
	}
	z, err := zstd.NewReader(bytes.NewReader(first.Content), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(MaxFrame))
	if err != nil {
		return Found{}, errTable("%w", err)
	}
	defer z.Close()
	table := newTable(ctx, io.LimitReader(z, maxJSON+1))
	c := comparison{table: table, starts: b.Starts, tar: stream, end: -1}
	if err := c.run(ctx, size); err != nil {
		return Found{}, err
	}
	if table.input.n != word(2) {
		return Found{}, errTable("the table has %d bytes, its footer says %d", table.input.n, word(2))
	}
	found.Digest = table.digest()
	return found, nil
}

func errLarge() error {
	return pratique.Errorf(pratique.Exhausted, op, "a table of more than %d bytes", maxJSON)
}

// same reports whether two spellings are one name for readers that ignore case.
func same(a, b string) bool { return a != b && strings.EqualFold(a, b) }
