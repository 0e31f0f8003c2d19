package toc

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/contextio"
)

// comparison walks over a tar and its table in parallel: builders write the entries of the table in
// the order of the tar.
type comparison struct {
	table  *table
	starts []Start
	tar    io.ReaderAt
	end    int64 // offset of the table's own entry in the tar, -1 if there is none
	inner  bool  // content may start within a member
	names  names
}

var typeNames = map[byte]string{
	tar.TypeReg: "reg", tar.TypeLink: "hardlink", tar.TypeSymlink: "symlink", tar.TypeDir: "dir",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

const xattrRecord = "SCHILY.xattr."

func (c *comparison) run(ctx context.Context, size int64) error {
	stop := size
	if c.end >= 0 {
		stop = c.end
	}
	section := io.NewSectionReader(c.tar, 0, stop)
	r := tar.NewReader(section)
	for {
		if err := context.Cause(ctx); err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errTable("the tar cannot be read: %w", err)
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return pratique.Wrap(pratique.Unavailable, op, "", err)
		}
		if err := c.one(ctx, h, at); err != nil {
			return err
		}
	}
	e, err := c.table.peek()
	if err == nil && e != nil {
		err = errTable("the table has an entry for %.200q, and the tar has none", e.Name)
	}
	return err
}

// one compares an entry of the tar, whose content is at an offset, with the next entry of the
// table.
func (c *comparison) one(ctx context.Context, h *tar.Header, at int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return errTable("a layer for lazy runtimes with a global header")
	}
	e, err := c.table.peek()
	if err != nil {
		return err
	}
	if e == nil {
		return errTable("the tar has an entry for %.200q, and the table has none", h.Name)
	}
	c.table.take()
	if what := differs(h, e); what != "" {
		return errTable("the table and the tar differ in the %s of %.200q (%.200q in the table)",
			what, h.Name, e.Name)
	}
	if err := c.names.add(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errTable("a sparse file in a layer for lazy runtimes: %.200q", h.Name)
		}
	}
	return c.content(ctx, h, e, at)
}

// differs returns the first field in which a header and an entry differ; "" if there is none.
func differs(h *tar.Header, e *entry) string {
	kind := typeNames[h.Typeflag]
	link := h.Typeflag == tar.TypeLink || h.Typeflag == tar.TypeSymlink
	device := h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock
	switch {
	case h.Name != e.Name:
		return "name"
	case kind == "" || kind != e.Type:
		return "type"
	case h.Mode != e.Mode:
		return "mode"
	case h.Uid != e.UID || h.Gid != e.GID:
		return "owner"
	case h.Size != e.Size:
		return "size"
	case link && h.Linkname != e.LinkName || !link && e.LinkName != "":
		return "target"
	case device && (h.Devmajor != e.DevMajor || h.Devminor != e.DevMinor):
		return "device"
	}
	attributes := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		attributes++
		if has, ok := e.Xattrs[name]; !ok || !bytes.Equal(has, []byte(value)) {
			return "attributes"
		}
	}
	if attributes != len(e.Xattrs) {
		return "attributes"
	}
	return ""
}

// content compares, piece by piece, the offsets in the table with the real ones, and the digests by
// which runtimes take a piece from another layer with its bytes. At most two pieces are in memory:
// a table may have millions.
func (c *comparison) content(ctx context.Context, h *tar.Header, first *entry, at int64) error {
	next, err := c.piece(h)
	if err != nil {
		return err
	}
	if h.Size == 0 {
		if next != nil || first.ChunkSize != 0 || first.ChunkOffset != 0 || first.Digest != "" &&
			first.Digest != pratique.DigestOf(nil).String() {
			return differ(h, "pieces")
		}
		return nil
	}
	whole, several := sha256.New(), next != nil
	done := int64(0)
	for p := first; p != nil; {
		size := p.ChunkSize
		if size == 0 && next == nil {
			size = h.Size - done
		}
		if p.ChunkOffset != done || size <= 0 || size > h.Size-done {
			return differ(h, "pieces")
		}
		also := io.Discard
		if several {
			also = whole
		}
		digest, err := c.compareBytes(ctx, h, p, at+done, size, also)
		if err != nil {
			return err
		}
		done += size
		if !several && first.Digest != "" && first.Digest != digest {
			return differ(h, "bytes")
		}
		if p = next; p != nil {
			if next, err = c.piece(h); err != nil {
				return err
			}
		}
	}
	if done != h.Size {
		return differ(h, "pieces")
	}
	if several && first.Digest != "" && first.Digest != digestOf(whole) {
		return differ(h, "bytes")
	}
	return nil
}

// piece returns the next entry if it is a further piece of the file, otherwise nil.
func (c *comparison) piece(h *tar.Header) (*entry, error) {
	next, err := c.table.peek()
	if err != nil || next == nil || next.Type != "chunk" {
		return nil, err
	}
	if next.Name != h.Name || next.Digest != "" {
		return nil, differ(h, "pieces")
	}
	c.table.take()
	return next, nil
}

// compareBytes compares a piece of size bytes at an offset of the tar, and returns its digest. It
// also writes the bytes to also.
func (c *comparison) compareBytes(ctx context.Context, h *tar.Header, p *entry, at, size int64,
	also io.Writer) (string, error) {
	start, ok := c.start(p.Offset)
	if !ok || p.InnerOffset < 0 || p.InnerOffset != 0 && !c.inner || start > at ||
		start+p.InnerOffset != at {
		return "", differ(h, "place")
	}
	if p.ChunkType != "" && p.ChunkType != "zeros" {
		return "", differ(h, "pieces")
	}
	sum, zeros := sha256.New(), &zeroChecker{}
	look := io.MultiWriter(sum, also)
	if p.ChunkType == "zeros" {
		look = io.MultiWriter(look, zeros)
	}
	if n, err := io.Copy(look,
		contextio.NewReader(ctx, io.NewSectionReader(c.tar, at, size))); err != nil || n != size {
		return "", pratique.Wrap(pratique.Unavailable, op, "", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	digest := digestOf(sum)
	if p.ChunkDigest != "" && p.ChunkDigest != digest || zeros.other {
		return "", differ(h, "bytes")
	}
	return digest, nil
}

func differ(h *tar.Header, what string) error {
	return errTable("the table and the tar differ in the %s of %.200q", what, h.Name)
}

func digestOf(sum hash.Hash) string {
	return pratique.DigestFromSum([sha256.Size]byte(sum.Sum(nil))).String()
}

// start returns the offset in the tar at which the member or frame at an offset of the blob begins.
func (c *comparison) start(in int64) (out int64, ok bool) {
	i, ok := slices.BinarySearchFunc(c.starts, in, func(s Start, in int64) int {
		return cmp.Compare(s.In, in)
	})
	if !ok {
		return 0, false
	}
	return c.starts[i].Out, true
}

type zeroChecker struct{ other bool }

func (z *zeroChecker) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != 0 {
			z.other = true
		}
	}
	return len(p), nil
}
