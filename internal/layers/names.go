package layers

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// containerd, Docker and containers/storage clean names, and treat a name whose last part begins
// with ".wh." as a whiteout. Names that they interpret differently are refused, because it is not
// known what would run: names that lead out of the image (containerd cuts the dots off, the others
// refuse), whiteouts of nothing or of everything, the private names of AUFS, and entries that only
// one of them unpacks.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// part is one element of a path: the index of its first byte, and of the one after its last.
type part struct{ from, to int }

// cleanPath is a name after cleaning, as its elements.
type cleanPath struct {
	name    []byte
	parts   []part
	escapes bool // it leads out of the image
}

// parsePath cleans a name as path.Clean does. It reuses the memory of parts.
func parsePath(name []byte, parts []part) cleanPath {
	p := cleanPath{name: name, parts: parts[:0]}
	absolute := len(name) > 0 && name[0] == '/'
	for from := 0; from < len(name); {
		to := bytes.IndexByte(name[from:], '/')
		if to < 0 {
			to = len(name) - from
		}
		to += from
		switch text := name[from:to]; {
		case len(text) == 0 || len(text) == 1 && text[0] == '.':
		case len(text) == 2 && text[0] == '.' && text[1] == '.':
			if n := len(p.parts); n > 0 {
				p.parts = p.parts[:n-1]
			} else if !absolute { // there is nothing above the root
				p.escapes = true
			}
		default:
			p.parts = append(p.parts, part{from, to})
		}
		from = to + 1
	}
	return p
}

func (p cleanPath) isRoot() bool { return len(p.parts) == 0 }

// base is the last element.
func (p cleanPath) base() []byte {
	last := p.parts[len(p.parts)-1]
	return p.name[last.from:last.to]
}

// whiteoutPart is the index of the first element with the prefix of a whiteout, -1 if there is
// none.
func (p cleanPath) whiteoutPart() int {
	for i, at := range p.parts {
		if bytes.HasPrefix(p.name[at.from:at.to], []byte(whiteout)) {
			return i
		}
	}
	return -1
}

// tarEntry is a header merged with its extensions.
type tarEntry struct {
	kind       byte
	size       int64
	name, link []byte
	sparse     []byte // another name, which extended headers give to a sparse file
	noDevice   bool   // a device with the numbers 0 and 0
}

// check refuses an entry that runtimes refuse or interpret differently.
func (h *headers) check(e *tarEntry) error {
	if strings.IndexByte("\x00"+"0123456", e.kind) < 0 {
		return errTar("an entry of type %q, which no runtime takes: %.200q", e.kind, e.name)
	}
	if e.size > 0 && strings.IndexByte("123456", e.kind) >= 0 {
		return errTar("a link, device, directory or pipe with content, on which readers do not agree: %.200q", e.name)
	}
	if e.kind == '3' && e.noDevice {
		return errTar("a device with the numbers 0 and 0, which is a whiteout for some runtimes: %.200q", e.name)
	}
	for i, name := range [...][]byte{e.name, e.sparse} {
		if i > 0 && len(name) == 0 {
			continue
		}
		if err := h.checkName(e, name); err != nil {
			return err
		}
	}
	return nil
}

func (h *headers) checkName(e *tarEntry, name []byte) error {
	at := parsePath(name, h.parts)
	h.parts = at.parts
	switch {
	case len(name) == 0:
		return errTar("an entry without a name")
	case at.escapes:
		return errTar("a name that leads out of the image: %.200q", name)
	case at.isRoot():
		if e.kind != '5' {
			return errTar("an entry that puts something else in the place of the root directory: %.200q", name)
		}
		return nil
	case e.kind == '0' && name[len(name)-1] == '/':
		return errTar("a file whose name ends with a slash, which is a directory for some readers: %.200q", name)
	}
	hidden := at.whiteoutPart()
	if hidden >= 0 {
		if err := checkWhiteout(e, at, hidden); err != nil {
			return err
		}
	}
	if e.kind != '1' {
		return nil
	}
	target := parsePath(e.link, at.parts)
	h.parts = target.parts
	switch {
	case target.escapes:
		return errTar("a hard link %.200q to something out of the image: %.200q", name, e.link)
	case target.isRoot():
		return errTar("a hard link %.200q to the root directory, or to nothing", name)
	case hidden < 0 && target.whiteoutPart() >= 0:
		return errTar("a hard link %.200q to a whiteout: %.200q", name, e.link)
	}
	return nil
}

// checkWhiteout accepts empty files, and hard links, which AUFS used.
func checkWhiteout(e *tarEntry, at cleanPath, hidden int) error {
	base := string(at.base())
	switch of := strings.TrimPrefix(base, whiteout); {
	case hidden < len(at.parts)-1:
		return errTar("something within a whiteout: %.200q", at.name)
	case strings.IndexByte("\x00"+"01", e.kind) < 0:
		return errTar("a whiteout that is no file: %.200q", at.name)
	case e.size > 0:
		return errTar("a whiteout with content: %.200q", at.name)
	case base == opaque && len(at.parts) == 1:
		return errTar("a whiteout of the root directory: %.200q", at.name)
	case base == opaque:
		return nil
	case of == "" || of == "." || of == "..":
		return errTar("a whiteout without a name, for which some runtimes delete the directory and others refuse the image: %.200q", at.name)
	case strings.HasPrefix(of, whiteout):
		return errTar("a whiteout of a whiteout, on which runtimes do not agree: %.200q", at.name)
	}
	return nil
}

// checkGlobal refuses a global header with an unusual name. Some readers apply such a header to the
// following entries and some do not, and containerd deletes the file with its name.
func (h *headers) checkGlobal(name []byte) error {
	at := parsePath(name, h.parts)
	h.parts = at.parts
	if !at.escapes && !at.isRoot() {
		base := string(at.base())
		if base == "pax_global_header" || base == "@PaxHeader" || strings.HasPrefix(base, "GlobalHead") {
			return nil
		}
	}
	return errTar("a global header with the name of something else: %.200q", name)
}

// changesFile reports whether a record of a global header would change a file.
func changesFile(key string) bool {
	switch key {
	case "path", "linkpath", "size", "uid", "gid", "uname", "gname":
		return true
	}
	return strings.HasPrefix(key, "GNU.") || strings.HasPrefix(key, "SCHILY.") ||
		strings.HasPrefix(key, "LIBARCHIVE.")
}

// isOverlayAttribute reports whether an extended attribute makes an overlay file system show
// something else.
func isOverlayAttribute(key string) bool {
	key, ok := strings.CutPrefix(key, "SCHILY.xattr.")
	return ok && (strings.HasPrefix(key, "trusted.overlay.") || strings.HasPrefix(key, "user.overlay.") ||
		strings.Contains(key, "fuseoverlayfs."))
}

// ustarName returns the name in a header itself, as archive/tar reads it. It reuses the memory of
// buffer.
func ustarName(b, buffer []byte) []byte {
	var prefix []byte
	switch magic := string(b[257:265]); {
	case strings.HasPrefix(magic, "ustar\x00") && string(b[508:]) == "tar\x00":
		prefix = cString(b[345:476])
	case strings.HasPrefix(magic, "ustar\x00"):
		prefix = cString(b[345:500])
	// a writer once put a prefix there
	case magic == "ustar  \x00" && !(gnuTime(b[345:357]) && gnuTime(b[357:369])):
		if text := cString(b[345:500]); ascii(text) {
			prefix = text
		}
	}
	buffer = buffer[:0]
	if len(prefix) > 0 {
		buffer = append(append(buffer, prefix...), '/')
	}
	return append(buffer, cString(b[:100])...)
}

func gnuTime(field []byte) bool {
	if field[0] == 0 {
		return true
	}
	_, ok := tarNumber(field)
	return ok
}

func cString(field []byte) []byte {
	text, _, _ := bytes.Cut(field, []byte{0})
	return text
}

func ascii(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
