package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/klauspost/compress/zstd"

	"github.com/pratique-dev/pratique"
)

// kept is an object of the branch. Its buffer has no spare capacity and is read without a copy.
type kept struct {
	typ     plumbing.ObjectType
	hash    plumbing.Hash
	content []byte
}

var _ plumbing.EncodedObject = (*kept)(nil)

func (o *kept) Hash() plumbing.Hash            { return o.hash }
func (o *kept) Type() plumbing.ObjectType      { return o.typ }
func (o *kept) SetType(t plumbing.ObjectType)  { o.typ = t }
func (o *kept) Size() int64                    { return int64(len(o.content)) }
func (o *kept) SetSize(int64)                  {}
func (o *kept) Reader() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(o.content)), nil }
func (o *kept) Writer() (io.WriteCloser, error) {
	return nil, pratique.Errorf(pratique.Internal, "write object", "it is there already")
}

// contentOf returns the bytes of an object; they must not be changed.
func contentOf(o plumbing.EncodedObject) ([]byte, error) {
	if k, ok := o.(*kept); ok {
		return k.content[:len(k.content):len(k.content)], nil
	}
	return readAll(o)
}

// large is an object that is too large to be edited or decoded. Its bytes are kept packed, to be
// searched, or not at all.
type large struct {
	typ    plumbing.ObjectType
	size   int64
	packed []byte
}

// all returns the bytes.
func (l large) all() ([]byte, error) {
	r, err := l.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(l.size))
	_, err = io.Copy(&b, io.LimitReader(r, l.size))
	return b.Bytes(), err
}

func (l large) open() (io.ReadCloser, error) {
	d, err := zstd.NewReader(bytes.NewReader(l.packed), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// has reports whether the object is known.
func (s *store) has(h plumbing.Hash) bool {
	if _, ok := s.objects.Objects[h]; ok {
		return true
	}
	_, ok := s.large[h]
	return ok
}

// missing is the error for an object that is not at hand; what describes it.
func (s *store) missing(h plumbing.Hash, what string) error {
	if l, ok := s.large[h]; ok {
		return pratique.Errorf(pratique.Exhausted, "read",
			"%s has %d bytes, more than can be edited", what, l.size)
	}
	if s.partial {
		return pratique.Errorf(pratique.Exhausted, "read",
			"%s has more than %d MiB, or was made from a file that has", what, s.limits.object>>20)
	}
	return plumbing.ErrObjectNotFound
}

// read returns a file that is small enough to be edited.
func (s *store) read(name string, h plumbing.Hash) ([]byte, error) {
	o, err := s.objects.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		return nil, s.missing(h, name)
	}
	return contentOf(o)
}

// open reads a file of any size, if its bytes are at hand.
func (s *store) open(ctx context.Context, name string, h plumbing.Hash) (io.ReadCloser, error) {
	if l, ok := s.large[h]; ok && l.packed != nil && l.typ == plumbing.BlobObject {
		r, err := l.open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{&watched{r, ctx.Err}, r}, nil
	}
	content, err := s.read(name, h)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// tree returns a folder; name is for people. Every folder is read here, and one that readers differ
// on is refused with kind Denied.
func (s *store) tree(name string, h plumbing.Hash) (*object.Tree, error) {
	t, err := object.GetTree(s.objects, h)
	switch {
	case err != nil && !s.objectThere(h):
		return nil, s.missing(h, "the folder "+name+"/")
	case errors.Is(err, object.ErrMalformedTree):
		return nil, unsound(name, "%.200s", err)
	case err != nil:
		return nil, err
	}
	return t, sound(name, t)
}

func (s *store) objectThere(h plumbing.Hash) bool {
	_, ok := s.objects.Objects[h]
	return ok
}
