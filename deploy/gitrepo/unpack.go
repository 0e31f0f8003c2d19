package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/klauspost/compress/zstd"
)

// overhead is roughly what one object costs besides its bytes, mostly its entries in maps.
const overhead = 512

// unpacker reads a pack into a store. The parser of go-git keeps every object, several times while
// it works, and what a pack of a few megabytes inflates to would end the process. This one looks at
// each object once, resolves a delta when it comes, and drops files that are too large for anybody
// to edit.
type unpacker struct {
	store    *store
	limits   limits
	ended    func() error
	inflated int64

	scratch bytes.Buffer
	encoder *zstd.Encoder
	objects map[int64]plumbing.Hash    // by offset in the pack; zero if it was dropped
	waiting map[plumbing.Hash][][]byte // deltas by a base that has not come yet
	pending int64                      // their bytes
	base    plumbing.Hash              // the last base that had to be inflated
	content []byte
}

// unpack adds the objects of a pack to the store.
func (s *store) unpack(ctx context.Context, pack io.Reader) error {
	u := &unpacker{store: s, limits: s.limits, ended: ctx.Err, objects: map[int64]plumbing.Hash{},
		waiting: map[plumbing.Hash][][]byte{}}
	scan := packfile.NewScanner(&watched{pack, ctx.Err})
	_, count, err := scan.Header()
	if err != nil {
		return err
	}
	for range count {
		h, err := scan.NextObjectHeader()
		if err != nil {
			return err
		}
		if err := u.object(scan, h); err != nil {
			return err
		}
	}
	if _, err := scan.Checksum(); err != nil {
		return err
	}
	return u.resolveDeltas()
}

// object reads one object of the pack.
func (u *unpacker) object(scan *packfile.Scanner, h *packfile.ObjectHeader) error {
	if err := u.spend(h.Length); err != nil {
		return err
	}
	if h.Length > u.limits.object {
		u.objects[h.Offset] = plumbing.ZeroHash
		u.store.partial = true
		_, _, err := scan.NextObject(&passing{u.ended})
		return err
	}
	u.scratch.Reset()
	if _, _, err := scan.NextObject(&u.scratch); err != nil {
		return err
	}
	content := u.scratch.Bytes()
	if int64(len(content)) != h.Length {
		return fmt.Errorf("%w: an object has %d bytes, and claims %d",
			packfile.ErrMalformedPackFile, len(content), h.Length)
	}
	var hash plumbing.Hash
	var err error
	switch h.Type {
	case plumbing.OFSDeltaObject:
		base, known := u.objects[h.OffsetReference]
		if !known {
			return fmt.Errorf("%w: a delta has no base", packfile.ErrMalformedPackFile)
		}
		hash, err = u.patch(base, content)
	case plumbing.REFDeltaObject:
		if !u.store.has(h.Reference) {
			u.pending += h.Length + overhead
			u.waiting[h.Reference] = append(u.waiting[h.Reference], bytes.Clone(content))
			return u.room()
		}
		hash, err = u.patch(h.Reference, content)
	default:
		hash, err = u.keep(h.Type, content)
	}
	u.objects[h.Offset] = hash
	return err
}

// spend counts bytes that are inflated or built from deltas: they cost time, even if they are not
// kept.
func (u *unpacker) spend(n int64) error {
	if err := u.ended(); err != nil {
		return err
	}
	if n < 0 || n > u.limits.inflated-u.inflated {
		return tooMuch("unpack",
			"what is new in the branch inflates to more than %d MiB: take large files out of it",
			u.limits.inflated>>20)
	}
	u.inflated += n
	return nil
}

// room fails if the branch needs more memory than its limit.
func (u *unpacker) room() error {
	if u.store.kept+u.pending > u.limits.kept {
		return tooMuch("unpack",
			"the branch takes more than %d MiB of memory: take files out of it, or deploy to a repository that holds configuration only", u.limits.kept>>20)
	}
	return nil
}

// patch builds the object that a delta describes. It drops the object if that or its base is too
// large: then not even its hash is known.
func (u *unpacker) patch(base plumbing.Hash, delta []byte) (plumbing.Hash, error) {
	typ, content, err := u.contentOf(base)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	size, err := targetSize(delta)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if typ == plumbing.InvalidObject || size > u.limits.object {
		u.store.partial = true
		return plumbing.ZeroHash, nil
	}
	if err := u.spend(size); err != nil {
		return plumbing.ZeroHash, err
	}
	out, err := packfile.PatchDelta(content, delta)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return u.keep(typ, out)
}

// contentOf returns an object of the store, nil if it is not at hand.
func (u *unpacker) contentOf(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	if l, ok := u.store.large[h]; ok && l.packed != nil {
		if u.base != h {
			if err := u.spend(l.size); err != nil {
				return l.typ, nil, err
			}
			var err error
			if u.content, err = l.all(); err != nil {
				return l.typ, nil, err
			}
			u.base = h
		}
		return l.typ, u.content, nil
	}
	o, ok := u.store.objects.Objects[h]
	if !ok {
		return plumbing.InvalidObject, nil, nil
	}
	content, err := contentOf(o)
	return o.Type(), content, err
}

// keep stores an object, compressed if it is no file to be edited.
func (u *unpacker) keep(typ plumbing.ObjectType, content []byte) (plumbing.Hash, error) {
	switch typ {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	default:
		return plumbing.ZeroHash, fmt.Errorf("%w: there is no object of type %d",
			packfile.ErrMalformedPackFile, typ)
	}
	h := plumbing.ComputeHash(typ, content)
	size := int64(len(content))
	switch {
	case u.store.has(h):
		return h, nil
	case typ == plumbing.CommitObject && size > u.limits.commit:
		u.store.large[h] = large{typ: typ, size: size}
		u.store.kept += overhead
	case size > u.limits.file:
		if u.encoder == nil {
			var err error
			if u.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20)); err != nil {
				return h, err
			}
		}
		packed := bytes.Clone(u.encoder.EncodeAll(content, nil))
		u.store.large[h] = large{typ: typ, size: size, packed: packed}
		u.store.kept += int64(len(packed)) + overhead
	default:
		if _, err := u.store.objects.SetEncodedObject(&kept{typ: typ, hash: h,
			content: bytes.Clone(content)}); err != nil {
			return h, err
		}
		u.store.kept += size + overhead
	}
	return h, u.room()
}

// resolveDeltas resolves the deltas that came before their bases.
func (u *unpacker) resolveDeltas() error {
	var ready []plumbing.Hash
	for h := range u.waiting {
		if u.store.has(h) {
			ready = append(ready, h)
		}
	}
	for len(ready) > 0 {
		base := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		deltas := u.waiting[base]
		delete(u.waiting, base)
		for _, delta := range deltas {
			h, err := u.patch(base, delta)
			if err != nil {
				return err
			}
			u.pending -= int64(len(delta)) + overhead
			if len(u.waiting[h]) > 0 {
				ready = append(ready, h)
			}
		}
	}
	if len(u.waiting) > 0 && !u.store.partial {
		return packfile.ErrReferenceDeltaNotFound
	}
	return nil
}

// targetSize reads the size of the object that a delta builds.
func targetSize(delta []byte) (int64, error) {
	r := bytes.NewReader(delta)
	if _, err := leb128(r); err != nil { // the size of the base
		return 0, err
	}
	return leb128(r)
}

func leb128(r io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, packfile.ErrInvalidDelta
		}
		if n |= int64(b&0x7f) << shift; b < 0x80 {
			return n, nil
		}
	}
	return 0, packfile.ErrInvalidDelta
}

// passing passes bytes through until the context ends.
type passing struct{ ended func() error }

func (p *passing) Write(b []byte) (int, error) { return len(b), p.ended() }
