package layers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/toc"
)

// frames decompresses a zstd stream frame by frame and records where each frame begins. Only
// zstd:chunked may have skippable frames, a few at the end: decoders ignore them, while lazy
// runtimes rely on them.
type frames struct {
	in   *bufio.Reader
	blob *toc.Blob
	z    *zstd.Decoder
	at   int64 // bytes read from in
	out  int64
	open bool

	left     int64 // bytes of the frame before the next block header
	blocks   bool  // more blocks follow these
	checksum bool
}

func newFrames(in *bufio.Reader, blob *toc.Blob) (*frames, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	return &frames{in: in, blob: blob, z: z}, err
}

func (f *frames) close() { f.z.Close() }

// Read implements [io.Reader].
func (f *frames) Read(p []byte) (int, error) {
	for {
		if !f.open {
			if err := f.begin(); err != nil {
				return 0, err
			}
			if err := f.z.Reset(frame{f}); err != nil {
				return 0, err
			}
			f.open = true
		}
		n, err := f.z.Read(p)
		f.out += int64(n)
		if errors.Is(err, io.EOF) {
			if f.left > 0 || f.blocks || f.checksum {
				return n, io.ErrUnexpectedEOF
			}
			f.open, err = false, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// begin moves to the next frame with data; io.EOF is the end of the stream.
func (f *frames) begin() error {
	for {
		head, err := f.in.Peek(8)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case len(head) == 0:
			return io.EOF
		case len(head) < 8:
			return io.ErrUnexpectedEOF
		case head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
			if err := f.skip(int64(binary.LittleEndian.Uint32(head[4:]))); err != nil {
				return err
			}
		case !bytes.Equal(head[:4], zstdMagic):
			return errors.New("something other than zstd follows a zstd stream")
		case len(f.blob.Skipped) > 0:
			return errors.New("skippable frames that are not those of zstd:chunked: data follows them")
		default:
			f.header(head[4])
			return addStart(f.blob, f.at, f.out)
		}
	}
}

// skip reads a skippable frame. The first may be a table of contents and the last a footer, so
// their content is kept.
func (f *frames) skip(size int64) error {
	const footer = 64
	if len(f.blob.Skipped) == 3 {
		return errors.New("skippable frames that are not those of zstd:chunked: there are too many")
	}
	if _, err := f.in.Discard(8); err != nil {
		return err
	}
	skipped := toc.Frame{At: f.at + 8, Size: size}
	first := len(f.blob.Skipped) == 0
	if first && size > toc.MaxFrame {
		return pratique.Errorf(pratique.Exhausted, opExpand,
			"a table of contents of %d bytes, at most %d are read", size, toc.MaxFrame)
	}
	var err error
	if first || size <= footer {
		var content bytes.Buffer
		_, err = io.CopyN(&content, f.in, size)
		skipped.Content = content.Bytes()
		if size == 0 {
			skipped.Content = []byte{}
		}
	} else {
		_, err = io.CopyN(io.Discard, f.in, size)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	f.at += 8 + size
	f.blob.Skipped = append(f.blob.Skipped, skipped)
	return err
}

// header computes the length of a frame's header from its descriptor.
func (f *frames) header(descriptor byte) {
	single := descriptor>>5&1 == 1
	size := int64(5) + []int64{0, 1, 2, 4}[descriptor&3] + []int64{0, 2, 4, 8}[descriptor>>6]
	if !single || descriptor>>6 == 0 { // a window, or a content size of one byte in its place
		size++
	}
	f.left, f.blocks, f.checksum = size, true, descriptor>>2&1 == 1
}

// frame reads the compressed bytes of one frame.
type frame struct{ *frames }

// Read implements [io.Reader].
func (f frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.block(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := f.in.Read(p)
	f.left -= int64(n)
	f.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// block moves to the next block, or to the checksum.
func (f frame) block() error {
	switch {
	case f.blocks:
		head, err := f.in.Peek(3)
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		word := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
		f.blocks = word&1 == 0
		size := word >> 3
		switch word >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3:
			return errors.New("a zstd block of the reserved type")
		}
		f.left = 3 + size
	case f.checksum:
		f.checksum, f.left = false, 4
	default:
		return io.EOF
	}
	return nil
}
