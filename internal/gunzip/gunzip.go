// Package gunzip decompresses gzip streams faster than the general libraries. Layers are gzip, and
// everything else waits while a layer is fetched for the first time. It accepts and refuses the
// same streams as compress/gzip, including concatenated members.
//
// The decoder follows the design of libdeflate: a 64-bit bit buffer that is refilled eight bytes at
// a time, and tables that give value, length and number of extra bits of a symbol in one look-up.
package gunzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	inSize  = 256 << 10
	window  = 32 << 10
	outSize = window + 128<<10
	// slack is space after the output, for copies of eight bytes that go beyond their end, and for
	// the longest match.
	slack = 258 + 16
)

// errCorrupt is wrapped by all errors that are the stream's fault.
var errCorrupt = errors.New("damaged gzip stream")

func corrupt(what string) error { return fmt.Errorf("%w: %s", errCorrupt, what) }

// Reader decompresses a gzip stream.
type Reader struct {
	// Member, if set, is called at the start of each member but the first, with its offset in the
	// stream and the number of bytes decoded before it. Its error ends the reading.
	Member func(in, out int64) error

	src io.Reader
	err error // what Read returns when the output is used up

	in    []byte
	base  int64 // offset of in
	total int64 // decoded bytes of this and all earlier members
	pos   int   // of the next byte that is not in bits
	ended error
	bits  uint64
	n     uint // valid bits; those above are the following ones, or zero
	out   []byte
	r, w  int                 // out[r:w] is decoded and not returned yet
	low   int                 // matches must not refer to earlier bytes, of another member
	state func(*Reader) error // nil at the end of a member

	final  bool
	stored int    // bytes left in a stored block
	crc    uint32 // of the member so far, as is size
	size   uint32
	tables tables
}

// NewReader reads the first header from src. It reads ahead.
func NewReader(src io.Reader) (*Reader, error) {
	z := &Reader{src: src, in: make([]byte, 0, inSize), out: make([]byte, outSize+slack)}
	if err := z.header(); err != nil {
		return nil, err
	}
	z.state = (*Reader).block
	return z, nil
}

// Read implements [io.Reader]. A stream that ends too early is [io.ErrUnexpectedEOF].
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for z.r == z.w {
		if z.err != nil {
			return 0, z.err
		}
		z.slide()
		z.err = z.fill()
	}
	n := copy(p, z.out[z.r:z.w])
	z.r += n
	return n, nil
}

// slide keeps the window of matches, and frees the space after it.
func (z *Reader) slide() {
	if z.w > window {
		copy(z.out, z.out[z.w-window:z.w])
		z.low = max(0, z.low-(z.w-window))
		z.w = window
	}
	z.r = z.w
}

// fill decodes until the output is full or the stream is over.
func (z *Reader) fill() error {
	start := z.w
	for z.w < outSize {
		if err := z.state(z); err != nil {
			return err
		}
		if z.state == nil {
			z.account(start)
			start = z.w
			if err := z.trailer(); err != nil {
				return err
			}
		}
	}
	z.account(start)
	return nil
}

func (z *Reader) account(start int) {
	z.crc = crc32.Update(z.crc, crc32.IEEETable, z.out[start:z.w])
	z.total += int64(z.w - start)
	z.size += uint32(z.w - start) //nolint:gosec // modulo 2^32, as the trailer has it
}

// more appends to the buffered input. It returns false at the end, or after an error, which is then
// in z.ended.
func (z *Reader) more() bool {
	if z.ended != nil {
		return false
	}
	back := min(z.pos, 8) // align may give these back
	z.base += int64(z.pos - back)
	left := copy(z.in[:cap(z.in)], z.in[z.pos-back:])
	z.in, z.pos = z.in[:left], back
	for tries := 0; ; tries++ {
		n, err := z.src.Read(z.in[left:cap(z.in)])
		z.in = z.in[:left+n]
		switch {
		case err != nil:
			z.ended = err
		case n == 0 && tries == 100:
			z.ended = io.ErrNoProgress
		case n == 0:
			continue
		}
		return n > 0
	}
}

// early is the error for a stream that ends too early.
func (z *Reader) early() error {
	if z.ended != nil && !errors.Is(z.ended, io.EOF) {
		return z.ended
	}
	return io.ErrUnexpectedEOF
}

// need makes at least n bits valid, n at most 48.
func (z *Reader) need(n uint) error {
	for z.n < n {
		if z.pos == len(z.in) && !z.more() {
			return z.early()
		}
		z.bits |= uint64(z.in[z.pos]) << z.n
		z.pos++
		z.n += 8
	}
	return nil
}

func (z *Reader) take(n uint) uint64 {
	v := z.bits & (1<<n - 1)
	z.bits >>= n
	z.n -= n
	return v
}

// align drops the bits up to the next byte, and gives whole bytes in the bit buffer back.
func (z *Reader) align() {
	z.pos -= int(z.n / 8)
	z.bits, z.n = 0, 0
}

func (z *Reader) byte() (byte, error) {
	if z.pos == len(z.in) && !z.more() {
		return 0, z.early()
	}
	b := z.in[z.pos]
	z.pos++
	return b, nil
}

// trailer checks a member against its checksum and length, and continues with the next one, if any.
func (z *Reader) trailer() error {
	z.align()
	var t [8]byte
	for i := range t {
		var err error
		if t[i], err = z.byte(); err != nil {
			return err
		}
	}
	if binary.LittleEndian.Uint32(t[:4]) != z.crc || binary.LittleEndian.Uint32(t[4:]) != z.size {
		return corrupt("checksum or length is wrong")
	}
	if z.pos == len(z.in) && !z.more() {
		return z.ended // usually io.EOF
	}
	if z.Member != nil {
		if err := z.Member(z.base+int64(z.pos), z.total); err != nil {
			return err
		}
	}
	z.crc, z.size, z.low = 0, 0, z.w
	if err := z.header(); err != nil {
		return err
	}
	z.state = (*Reader).block
	return nil
}

const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// header reads the header of a member. Names and comments are ignored.
func (z *Reader) header() error {
	h := headerReader{z: z}
	magic := h.bytes(10)
	if h.err != nil {
		return h.err
	}
	if magic[0] != 0x1f || magic[1] != 0x8b || magic[2] != 8 {
		return corrupt("no gzip header")
	}
	flags := magic[3]
	if flags&flagExtra != 0 {
		n := h.bytes(2)
		if h.err == nil {
			h.bytes(int(binary.LittleEndian.Uint16(n)))
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag != 0 {
			h.text()
		}
	}
	if flags&flagHeaderCRC != 0 {
		sum := uint16(h.crc) //nolint:gosec // the low half is what the header has
		if n := h.bytes(2); h.err == nil && binary.LittleEndian.Uint16(n) != sum {
			return corrupt("the header's checksum is wrong")
		}
	}
	return h.err
}

// headerReader computes the checksum of what it reads, and keeps the first error.
type headerReader struct {
	z   *Reader
	crc uint32
	err error
}

func (h *headerReader) bytes(n int) []byte {
	all := make([]byte, n)
	for i := range all {
		if h.err != nil {
			return nil
		}
		all[i], h.err = h.z.byte()
	}
	h.crc = crc32.Update(h.crc, crc32.IEEETable, all)
	return all
}

// maxText is the longest name or comment that compress/gzip reads.
const maxText = 512

func (h *headerReader) text() {
	for range maxText {
		if b := h.bytes(1); h.err != nil || b[0] == 0 {
			return
		}
	}
	if h.err == nil {
		h.err = corrupt("a name or comment of more than 512 bytes")
	}
}
