package layers

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	tarBlock = 512
	// maxSpecial bounds the records before an entry: long names and extended headers. archive/tar
	// has the same bound.
	maxSpecial = 1 << 20
	// PATH_MAX of Linux, and more nested directories than any real image has.
	maxPathBytes = 4096
	maxPathDepth = 512
)

// headers checks the headers of the tar stream that is written to it, and refuses what no parser
// should see: too many entries, negative sizes, paths that are too long or too deep, headers that
// archive/tar would not read, entries that runtimes interpret differently, and data after the end
// marker. It keeps at most one header in memory and skips content.
type headers struct {
	limit   int64
	entries int64

	block   [tarBlock]byte
	have    int   // bytes in block
	skip    int64 // bytes until the next header
	special []byte
	kind    byte  // the type of the record in special, 0 if none
	missing int   // bytes still to be read into special
	size    int64 // from an extended header, for the next entry; -1 if it gave none
	zero    bool  // the last block was all zeros
	ended   bool

	// The names in extended headers and long-name records for the next entry.
	path, link, sparse, longName, longLink []byte

	name  []byte // reused for the name in a header
	parts []part // reused for the parts of a path
}

func newHeaders(most int64) *headers { return &headers{limit: most, size: -1} }

func (h *headers) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		switch {
		case h.ended:
			take := min(tarBlock, len(p))
			if !bytes.Equal(p[:take], zeroBlock[:take]) {
				return 0, errTar("something other than zeros follows the end of the tar")
			}
			p = p[take:]
		case h.missing > 0:
			take := min(h.missing, len(p))
			h.special = append(h.special, p[:take]...)
			h.missing -= take
			p = p[take:]
			if h.missing == 0 {
				if err := h.record(); err != nil {
					return 0, err
				}
			}
		case h.skip > 0:
			take := min(h.skip, int64(len(p)))
			h.skip -= take
			p = p[take:]
		default:
			take := copy(h.block[h.have:], p)
			h.have += take
			p = p[take:]
			if h.have == tarBlock {
				h.have = 0
				if err := h.header(); err != nil {
					return 0, err
				}
			}
		}
	}
	return n, nil
}

// end checks that the stream ended between two entries. The end marker may be missing, as for
// archive/tar.
func (h *headers) end() error {
	if !h.ended && (h.have > 0 || h.skip > 0 || h.missing > 0 || h.kind != 0) {
		return errTar("the tar stream ends within an entry")
	}
	return nil
}

func errTar(format string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "read tar headers", format, args...)
}

var zeroBlock [tarBlock]byte

// header checks a block that has to be a header.
func (h *headers) header() error {
	b := h.block[:]
	if bytes.Equal(b, zeroBlock[:]) {
		h.ended, h.zero = h.zero, true
		return nil
	}
	if h.zero {
		return errTar("a block of zeros between two entries")
	}
	if h.entries++; h.entries > h.limit {
		return pratique.Errorf(pratique.Exhausted, "read tar headers",
			"more than %d entries in one layer", h.limit)
	}
	if !checksumMatches(b) {
		return errTar("header %d has a wrong checksum", h.entries)
	}
	size, ok := tarNumber(b[124:136])
	if !ok || size < 0 {
		return errTar("header %d gives no size, or one below zero", h.entries)
	}
	kind := b[156]
	if strings.IndexByte("xgLK", kind) >= 0 {
		if size > maxSpecial {
			return pratique.Errorf(pratique.Exhausted, "read tar headers",
				"an extended header of %d bytes, at most %d are read", size, maxSpecial)
		}
		if kind == 'g' {
			if err := h.checkGlobal(ustarName(b, h.name)); err != nil {
				return err
			}
		}
		h.kind, h.special, h.missing, h.skip = kind, h.special[:0], int(size), padding(size)
		if size == 0 {
			return h.record()
		}
		return nil
	}
	if h.size >= 0 {
		size = h.size
	}
	if err := h.entry(b, kind, size); err != nil {
		return err
	}
	if strings.IndexByte("123456", kind) >= 0 { // links, devices, directories and pipes have no content
		size = 0
	}
	if size > math.MaxInt64-tarBlock {
		return errTar("header %d gives a size that no file has", h.entries)
	}
	h.skip = size + padding(size)
	return nil
}

// entry checks a header with its extensions, and resets these.
func (h *headers) entry(b []byte, kind byte, size int64) error {
	e := h.assemble(b, kind, size)
	err := h.check(&e)
	h.size = -1
	h.path, h.link, h.sparse, h.longName, h.longLink = h.path[:0], h.link[:0], h.sparse[:0],
		h.longName[:0], h.longLink[:0]
	return err
}

// assemble merges a header and its extensions as archive/tar does.
func (h *headers) assemble(b []byte, kind byte, size int64) tarEntry {
	h.name = ustarName(b, h.name)
	e := tarEntry{kind: kind, size: size, name: h.name, link: cString(b[157:257]), sparse: h.sparse}
	if len(h.path) > 0 {
		e.name = h.path
	}
	if len(h.link) > 0 {
		e.link = h.link
	}
	if len(h.longName) > 0 {
		e.name = h.longName
	}
	if len(h.longLink) > 0 {
		e.link = h.longLink
	}
	if kind == '3' {
		major, _ := tarNumber(b[329:337])
		minor, _ := tarNumber(b[337:345])
		e.noDevice = major == 0 && minor == 0
	}
	if kind == 0 && bytes.HasSuffix(e.name, []byte("/")) { // old archives have no type for directories
		e.kind = '5'
	}
	return e
}

// record reads an extended header or a long-name record.
func (h *headers) record() error {
	kind := h.kind
	h.kind = 0
	if kind == 'L' || kind == 'K' {
		name := cString(h.special)
		if kind == 'L' {
			h.longName = append(h.longName[:0], name...)
		} else {
			h.longLink = append(h.longLink[:0], name...)
		}
		return checkPath(name)
	}
	// A record replaces the previous one; a global header resets everything.
	h.size, h.path, h.link, h.sparse = -1, h.path[:0], h.link[:0], h.sparse[:0]
	if kind == 'g' {
		h.longName, h.longLink = h.longName[:0], h.longLink[:0]
	}
	for rest := h.special; len(rest) > 0; {
		key, value, after, ok := paxRecord(rest)
		if !ok {
			return errTar("an extended header that cannot be read")
		}
		rest = after
		switch {
		case kind == 'g' && changesFile(key):
			return errTar("a global header with %.100q, which readers interpret differently", key)
		case isOverlayAttribute(key):
			return errTar("an extended attribute that changes what an overlay file system shows: %.100q", key)
		}
		switch key {
		case "path", "linkpath", "GNU.sparse.name":
			if err := checkPath(value); err != nil {
				return err
			}
			h.setPath(key, value)
		case "size":
			if len(value) == 0 { // resets an earlier record
				h.size = -1
				continue
			}
			size, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || size < 0 {
				return errTar("an extended header gives a size below zero, or none")
			}
			h.size = size
		}
	}
	return nil
}

// setPath keeps a path of an extended header; an empty one resets an earlier record.
func (h *headers) setPath(key string, value []byte) {
	switch key {
	case "path":
		h.path = append(h.path[:0], value...)
	case "linkpath":
		h.link = append(h.link[:0], value...)
	default:
		h.sparse = append(h.sparse[:0], value...)
	}
}

func checkPath(path []byte) error {
	const op = "read tar headers"
	if len(path) > maxPathBytes {
		return pratique.Errorf(pratique.Exhausted, op, "a path of %d bytes, at most %d are read",
			len(path), maxPathBytes)
	}
	if depth := bytes.Count(path, []byte("/")); depth > maxPathDepth {
		return pratique.Errorf(pratique.Exhausted, op,
			"a path of %d directories, at most %d are read", depth, maxPathDepth)
	}
	if bytes.IndexByte(path, 0) >= 0 {
		return errTar("a path with a zero byte")
	}
	return nil
}

// paxRecord splits "LENGTH KEY=VALUE\\n" off the front of b.
func paxRecord(b []byte) (key string, value, rest []byte, ok bool) {
	digits, _, found := bytes.Cut(b, []byte(" "))
	n, err := strconv.Atoi(string(digits))
	if !found || err != nil || n < len(digits)+3 || n > len(b) || b[n-1] != '\n' {
		return "", nil, nil, false
	}
	k, v, found := bytes.Cut(b[len(digits)+1:n-1], []byte("="))
	return string(k), v, b[n:], found
}

// tarNumber reads a numeric field: octal digits, or two's complement where the first bit is set.
func tarNumber(field []byte) (int64, bool) {
	if field[0]&0x80 != 0 {
		negative := field[0]&0x40 != 0
		var n uint64
		for i, c := range field {
			if i == 0 {
				c &= 0x7f
			}
			if negative {
				if c = ^c; i == 0 {
					c &= 0x7f
				}
			}
			if n>>56 != 0 {
				return 0, false
			}
			n = n<<8 | uint64(c)
		}
		if n > math.MaxInt64 {
			return 0, false
		}
		if negative {
			return ^int64(n), true
		}
		return int64(n), true
	}
	text := bytes.Trim(field, " \x00")
	text, _, _ = bytes.Cut(text, []byte{0})
	if len(text) == 0 {
		return 0, true
	}
	n, err := strconv.ParseUint(string(text), 8, 63)
	return int64(n), err == nil
}

// checksumMatches compares the checksum of a header, which writers compute in two ways.
func checksumMatches(b []byte) bool {
	want, ok := tarNumber(b[148:156])
	var unsigned, signed int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return ok && (want == unsigned || want == signed)
}

func padding(size int64) int64 { return -size & (tarBlock - 1) }
