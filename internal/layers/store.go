package layers

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dircache"
	"github.com/pratique-dev/pratique/internal/keyed"
	"github.com/pratique-dev/pratique/internal/toc"
)

// Limits bound what a layer may expand to. Zero values mean the defaults.
type Limits struct {
	// ExpandedBytes is the longest tar stream; 20 GiB.
	ExpandedBytes int64
	// Ratio is how many times longer than its compressed bytes a tar stream may be, once it is
	// longer than RatioFloor; 200 times, 1 GiB.
	Ratio      int64
	RatioFloor int64
	// Entries is how many headers the tar stream of one layer, and those of one image together, may
	// have; 1,000,000.
	Entries int64
	// InFlight is how many bytes of all layers may be fetched at a time, compressed and expanded; 4
	// GiB. A larger layer is fetched alone.
	InFlight int64
}

func (l Limits) withDefaults() Limits {
	if l.ExpandedBytes <= 0 {
		l.ExpandedBytes = 20 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	if l.RatioFloor <= 0 {
		l.RatioFloor = 1 << 30
	}
	if l.Entries <= 0 {
		l.Entries = 1_000_000
	}
	if l.InFlight <= 0 {
		l.InFlight = 4 << 30
	}
	return l
}

// Store keeps expanded layers in a directory, by diff id. It is safe for concurrent use; one
// process at a time may use a directory.
//
// A layer is written under another name and renamed when every check has passed. Nothing relies on
// the disk having kept it: a file that was there when the store was opened is hashed again before
// its first use.
type Store struct {
	// Limits may be set before the first use.
	Limits Limits

	dir    *dircache.Dir[*state]
	locks  keyed.Mutex[pratique.Digest] // by diff id
	budget func() *byteBudget           // made at the first use
}

// state is what is known of a stored layer. It is guarded by the layer's lock.
type state struct {
	layerRecord
	checked bool // the file was written or hashed by this process
}

// compressed is a compressed form that was verified to expand to the layer. A manifest may pair any
// digest with a known diff id, so only verified pairs count.
type compressed struct {
	Digest    pratique.Digest `json:"digest"`
	MediaType string          `json:"mediaType"`
	Size      int64           `json:"size"`
	// Table is the table of contents for lazy runtimes; it was compared with the tar stream.
	Table toc.Found `json:"table,omitzero"`
	// SHA256 and DiffID are the sha256 digests of the compressed bytes and of the tar stream.
	SHA256 pratique.Digest `json:"sha256,omitzero"`
	DiffID pratique.Digest `json:"diffID,omitzero"`
}

// layer describes the form as the descriptor names it.
func (c compressed) layer(want Descriptor, headers int64) Layer {
	l := Layer{Digest: want.Digest, DiffID: want.DiffID, DigestName: want.DigestName,
		DiffIDName: want.DiffIDName, MediaType: want.MediaType,
		Size: want.Size, Entries: headers}
	if !want.DigestName.IsZero() {
		l.Digest = c.SHA256
	}
	if !want.DiffIDName.IsZero() {
		l.DiffID = c.DiffID
	}
	return l
}

// equal reports whether two compressed forms have the same bytes and media type.
func (c compressed) equal(other compressed) bool {
	return c.Digest == other.Digest && c.MediaType == other.MediaType && c.Size == other.Size
}

const (
	opStore         = "store layer"
	defaultMaxBytes = 20 << 30
	fetchesPerImage = 4
)

// Open opens the store in dir, and makes it if it is missing. With maxBytes at or below zero it
// holds 20 GiB. The error is Unavailable if another process has it open.
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	s := &Store{}
	s.budget = sync.OnceValue(func() *byteBudget {
		return newByteBudget(s.Limits.withDefaults().InFlight)
	})
	var err error
	if s.dir, err = openDir(dir, maxBytes); err == nil {
		if err = removeOrphans(dir); err == nil {
			return s, nil
		}
		_ = s.dir.Close() // the first error says more
	}
	return nil, pratique.Wrap(pratique.Unavailable, "open layer store", dir, err)
}

// Close lets another process use the directory. Layers in use stay.
func (s *Store) Close() error { return s.dir.Close() }

// Get returns a layer on disk that has been checked: its compressed bytes against want.Digest and
// want.Size, its tar stream against want.DiffID. If need be it is fetched with open, once for all
// concurrent callers. The file stays until release is called, which may be done more than once.
//
// Bytes that do not match are Corrupt, and a layer that expands too far is Exhausted; neither
// leaves anything behind. A store that is full of layers in use is Unavailable. Errors of open keep
// their kind.
func (s *Store) Get(ctx context.Context, want Descriptor,
	open func(context.Context) (io.ReadCloser, error)) (Layer, func(), error) {
	none := func() {}
	if want.Digest.IsZero() || want.DiffID.IsZero() || !IsLayerType(want.MediaType) {
		return Layer{}, none, pratique.Errorf(pratique.Invalid, opStore,
			"%s of type %q is not a layer of files", want.Digest, want.MediaType)
	}
	unlock, err := s.locks.Lock(ctx, want.DiffID)
	if err != nil {
		return Layer{}, none, err
	}
	defer unlock()
	p, err := s.stored(ctx, want.DiffID)
	if err == nil && p == nil {
		p, err = s.fetch(ctx, want, open)
	} else if err == nil && p.Value.find(want) == nil {
		err = s.verify(ctx, p, want, open)
	}
	if err == nil {
		err = p.Value.find(want).Table.Agree(want.Annotations)
	}
	if err != nil {
		if p != nil {
			p.Release()
		}
		return Layer{}, none, pratique.Wrap(pratique.Unknown, opStore, want.ID().String(), err)
	}
	l := p.Value.find(want).layer(want, p.Value.Entries)
	l.Path = p.Path
	return l, p.Release, nil
}

// Image gets all layers of one platform image, a few at a time. If one fails, none stays in use.
func (s *Store) Image(ctx context.Context, from Source, subject pratique.Subject) (Image, func(), error) {
	none := func() {}
	remote, err := from.Image(ctx, subject)
	if err != nil {
		return Image{}, none, err
	}
	img := Image{Subject: remote.Subject, Platform: remote.Platform, MediaType: remote.MediaType,
		Manifest: remote.Manifest, Config: remote.Config, Layers: make([]Layer, len(remote.Layers))}
	releases := make([]func(), len(remote.Layers))
	release := sync.OnceFunc(func() {
		for _, r := range releases {
			if r != nil {
				r()
			}
		}
	})
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchesPerImage)
	for i, d := range remote.Layers {
		group.Go(func() (err error) {
			defer pratique.Caught(pratique.Corrupt, opExpand, &err)
			fetched := false
			img.Layers[i], releases[i], err = s.Get(ctx, d,
				func(ctx context.Context) (io.ReadCloser, error) {
					fetched = true
					return from.Layer(ctx, remote.Subject.Repository, d)
				})
			if err == nil && !fetched {
				err = from.Has(ctx, remote.Subject.Repository, d)
			}
			return err
		})
	}
	err = group.Wait()
	if err == nil {
		err = s.countEntries(img.Layers)
	}
	if err != nil {
		release()
		return Image{}, none, pratique.Wrap(pratique.Unknown, "fetch image", subject.String(), err)
	}
	return img, release, nil
}

func (s *Store) countEntries(all []Layer) error {
	most, sum := s.Limits.withDefaults().Entries, int64(0)
	for _, l := range all {
		sum += l.Entries
	}
	if sum > most {
		return pratique.Errorf(pratique.Exhausted, opStore,
			"the layers have %d entries together, at most %d are read", sum, most)
	}
	return nil
}

// stored returns a layer that is on disk, in use; nil if there is none. A file from before this
// process is hashed, and deleted if it is damaged.
func (s *Store) stored(ctx context.Context, diffID pratique.Digest) (*pinned, error) {
	p, ok := s.dir.Pin(diffID.Hex())
	if !ok {
		return nil, nil
	}
	if p.Value.checked {
		return &p, nil
	}
	got, err := hashFile(ctx, p.Path)
	if err == nil && got == diffID {
		p.Value.checked = true
		return &p, nil
	}
	defer p.Release()
	if err != nil && ctx.Err() != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "check layer", "", context.Cause(ctx))
	}
	return nil, pratique.Wrap(pratique.Unavailable, "remove damaged layer", "", s.dir.Drop(p))
}

// fetch expands a layer into a new file, which gets its name when every check has passed, and
// returns it in use.
func (s *Store) fetch(ctx context.Context, want Descriptor,
	open func(context.Context) (io.ReadCloser, error)) (_ *pinned, err error) {
	budget, body, err := s.open(ctx, want, open)
	if err != nil {
		return nil, err
	}
	defer budget.release()
	defer func() { _ = body.Close() }() // what was read is checked by its digest
	temp, err := os.CreateTemp(s.dir.TempDir(), want.DiffID.Hex()+"-*")
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	out := &reservingWriter{ctx: ctx, budget: budget, dir: s.dir, to: temp}
	defer func() {
		if err != nil {
			s.dir.Unreserve(out.reserved)
			_ = temp.Close() // nothing of it is kept
			_ = os.Remove(temp.Name())
		}
	}()
	found, err := s.expand(ctx, body, want, out)
	if err != nil {
		return nil, err
	}
	form, err := found.form(ctx, want, temp)
	if err != nil {
		return nil, err
	}
	if err := temp.Close(); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	known := &state{checked: true, layerRecord: layerRecord{Rules: rulesVersion,
		Entries: found.entries, Verified: []compressed{form}}}
	p, err := s.dir.Commit(temp.Name(), layerFile(want.DiffID), found.size, out.reserved, known)
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	return &p, s.writeRecord(&p)
}

// verify checks another compressed form of a stored layer. Its bytes are not kept.
func (s *Store) verify(ctx context.Context, p *pinned, want Descriptor,
	open func(context.Context) (io.ReadCloser, error)) error {
	budget, body, err := s.open(ctx, want, open)
	if err != nil {
		return err
	}
	defer budget.release()
	defer func() { _ = body.Close() }() // what was read is checked by its digest
	found, err := s.expand(ctx, body, want, io.Discard)
	if err != nil {
		return err
	}
	f, err := os.Open(p.Path)
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, "open layer", "", err)
	}
	defer func() { _ = f.Close() }() // only read
	form, err := found.form(ctx, want, f)
	if err != nil {
		return err
	}
	p.Value.Rules, p.Value.Entries = rulesVersion, found.entries
	p.Value.Verified = append(p.Value.Verified, form)
	return s.writeRecord(p)
}

// open waits until the layer fits the budget, and opens its compressed bytes.
func (s *Store) open(ctx context.Context, want Descriptor,
	open func(context.Context) (io.ReadCloser, error)) (*reservation, io.ReadCloser, error) {
	budget, err := s.budget().reserve(ctx, want.Size)
	if err != nil {
		return nil, nil, err
	}
	body, err := open(ctx)
	if err != nil {
		budget.release()
		return nil, nil, err
	}
	return budget, body, nil
}

func errExpands(what string, limit int64) error {
	return &pratique.Error{Op: opExpand, Kind: pratique.Exhausted,
		Err: fmt.Errorf("expands to more than %s %d bytes", what, limit)}
}
