package filetree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/pratique-dev/pratique"
)

// Item is an entry of a rewritten layer.
type Item struct {
	Path string
	// Entry is the original header. With AsIs, header and content are copied unchanged.
	Entry Entry
	AsIs  bool
	// Content is the file with its content, which may be another layer's; nil for the content of
	// Entry.
	Content *File
	// Type and Link, if set, replace those of Entry: for a link, or an empty file.
	Type byte
	Link string
}

// Open returns a tar stream of the items, in order. Items that are AsIs are not copied in memory.
func (i *Image) Open(l *Layer, items []Item) (io.ReadCloser, error) {
	s := &stream{image: i, layer: l, rest: items, files: map[pratique.Digest]*os.File{}}
	if _, err := s.file(l); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenFile returns the content of a file. The layer was readable before, so an error is
// Unavailable.
func (i *Image) OpenFile(f *File) (io.ReadCloser, error) {
	layer, err := i.Open(f.Layer, []Item{{Path: "content", Content: f}})
	if err != nil {
		return nil, err
	}
	content := tar.NewReader(layer)
	if _, err := content.Next(); err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Unavailable, "open file", "", err), layer.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{content, layer}, nil
}

// OpenLayer returns the unchanged layer.
func (i *Image) OpenLayer(l *Layer) (io.ReadCloser, error) {
	f, err := os.Open(i.paths[l.DiffID])
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer", l.DiffID.String(), err)
	}
	return f, nil
}

// stream produces a tar stream piece by piece.
type stream struct {
	image *Image
	layer *Layer
	rest  []Item
	files map[pratique.Digest]*os.File
	now   io.Reader
	ended bool
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.now != nil {
			n, err := s.now.Read(p)
			if errors.Is(err, io.EOF) {
				s.now, err = nil, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if s.ended {
			return 0, io.EOF
		}
		if len(s.rest) == 0 {
			s.ended, s.now = true, bytes.NewReader(make([]byte, 2*tarBlock))
			continue
		}
		var err error
		if s.now, err = s.piece(); err != nil {
			return 0, err
		}
	}
}

// piece returns the next item, or all following ones that are AsIs and adjacent in the layer.
func (s *stream) piece() (io.Reader, error) {
	item := s.rest[0]
	s.rest = s.rest[1:]
	if !item.AsIs {
		return s.rewrite(item)
	}
	end := item.Entry.End
	for len(s.rest) > 0 && s.rest[0].AsIs && s.rest[0].Entry.Head == end {
		end = s.rest[0].Entry.End
		s.rest = s.rest[1:]
	}
	f, err := s.file(s.layer)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f, item.Entry.Head, end-item.Entry.Head), nil
}

// rewrite returns an item with a new header.
func (s *stream) rewrite(item Item) (io.Reader, error) {
	if item.Type != 0 {
		return header(&tar.Header{Typeflag: item.Type, Name: item.Path, Linkname: item.Link, Mode: 0o777})
	}
	of, at := s.layer, item.Entry
	if item.Content != nil {
		of, at = item.Content.Layer, item.Content.Head()
	}
	f, err := s.file(of)
	if err != nil {
		return nil, err
	}
	content := tar.NewReader(io.NewSectionReader(f, at.Head, at.End-at.Head))
	h, err := content.Next()
	if err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, opRead, quoteName(item.Path), err)
	}
	h = &tar.Header{
		Typeflag: h.Typeflag, Name: item.Path, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode,
		Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime,
		Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	if h.Size > at.End-at.Head { // it would be written without holes
		return nil, pratique.Errorf(pratique.Exhausted, opRead,
			"%s is a sparse file of %d bytes that has to be read by another name",
			quoteName(item.Path), h.Size)
	}
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if item.Content != nil {
		h.Mode = int64(item.Content.Mode)
	}
	head, err := header(h)
	if err != nil || h.Typeflag != tar.TypeReg {
		return head, err
	}
	return io.MultiReader(head, exactly(content, h.Size),
		bytes.NewReader(make([]byte, -h.Size&(tarBlock-1)))), nil
}

func header(h *tar.Header) (io.Reader, error) {
	h.Format = tar.FormatPAX
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(h); err != nil {
		return nil, pratique.Wrap(pratique.Corrupt, opRead, quoteName(h.Name), err)
	}
	return &out, nil
}

// exactly reads n bytes, and fails if there are fewer.
func exactly(r io.Reader, n int64) io.Reader { return &exact{r: r, left: n} }

type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; e.left > 0 && n == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (s *stream) file(l *Layer) (*os.File, error) {
	if f := s.files[l.DiffID]; f != nil {
		return f, nil
	}
	f, err := os.Open(s.image.paths[l.DiffID])
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer", l.DiffID.String(), err)
	}
	s.files[l.DiffID] = f
	return f, nil
}

// Close implements [io.Closer].
func (s *stream) Close() error {
	var all error
	for _, f := range s.files {
		all = errors.Join(all, f.Close())
	}
	return all
}
