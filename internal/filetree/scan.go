// Package filetree computes the file system that a container sees: it reads the headers of an
// image's layers and merges the layers as runtimes do. The last of two entries with one path wins,
// and links are resolved within a layer and across layers. If runtimes unpack an image differently,
// and that matters, it is an error.
//
// The rules are those of containerd, Docker and CRI-O on overlayfs: each layer is unpacked into an
// empty directory, and the directories are merged.
package filetree

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Entry is a header of a layer's tar stream.
type Entry struct {
	// Name is clean and has no leading slash; the root's is empty.
	Name string
	// Link is the target of a symbolic or hard link, as written.
	Link string
	Type byte // a type flag of archive/tar
	Mode fs.FileMode
	Size int64
	// Head and End are the offsets at which its headers begin and its content, with padding, ends.
	Head, End int64
}

const (
	opRead   = "read file tree"
	tarBlock = 512
	// windowSize is the size of a read: a header, and often the following ones.
	windowSize = 4 << 10
	// checkInterval is the number of headers between two checks of the context.
	checkInterval = 1 << 12
)

// scan lists the headers of a tar stream of size bytes. Content is skipped.
func scan(ctx context.Context, from io.ReaderAt, size int64) ([]Entry, error) {
	at := &cursor{from: from, size: size}
	stream := tar.NewReader(at)
	var all []Entry
	for {
		if len(all)%checkInterval == 0 && ctx.Err() != nil {
			return nil, pratique.Wrap(pratique.Unavailable, opRead, "", context.Cause(ctx))
		}
		at.head = -1
		h, err := stream.Next()
		if n := len(all); n > 0 {
			all[n-1].End = at.head
			if at.head < 0 {
				all[n-1].End = at.at
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			if at.failed != nil {
				return nil, pratique.Wrap(pratique.Unavailable, opRead, "", at.failed)
			}
			return nil, pratique.Wrap(pratique.Corrupt, opRead, "", err)
		}
		all = append(all, Entry{
			Name: strings.TrimPrefix(path.Clean("/"+h.Name), "/"), Link: h.Linkname, Type: h.Typeflag,
			Mode: h.FileInfo().Mode().Perm(), Size: h.Size, Head: at.head,
		})
	}
}

// cursor reads and seeks in a file without a system call for each header. It records the offset of
// the first block that is read after head was set to -1: headers are read as whole blocks, and
// nothing before them is.
type cursor struct {
	from   io.ReaderAt
	size   int64
	at     int64
	head   int64
	buffer [windowSize]byte
	start  int64 // offset of the buffer
	have   int
	failed error
}

// Read implements [io.Reader].
func (c *cursor) Read(p []byte) (int, error) {
	if c.head < 0 && len(p) == tarBlock {
		c.head = c.at
	}
	if c.at >= c.size {
		return 0, io.EOF
	}
	if c.at < c.start || c.at >= c.start+int64(c.have) {
		n, err := c.from.ReadAt(c.buffer[:min(windowSize, c.size-c.at)], c.at)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.failed = err
			return 0, err
		}
		c.start, c.have = c.at, n
	}
	n := copy(p, c.buffer[c.at-c.start:c.have])
	c.at += int64(n)
	return n, nil
}

// Seek implements [io.Seeker].
func (c *cursor) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 || offset > c.size {
		return 0, io.ErrUnexpectedEOF
	}
	c.at = offset
	return offset, nil
}
