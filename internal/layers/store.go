package layers

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/dirlock"
	"github.com/pratique-dev/pratique/internal/toc"
)

// Limits bound what a layer may expand to. Zero values mean the defaults.
type Limits struct {
	// ExpandedBytes is the longest tar stream; 20 GiB.
	ExpandedBytes int64
	// Ratio is how many times longer than its compressed bytes a tar stream may be, once it is longer than
	// RatioFloor; 200 times, 1 GiB.
	Ratio      int64
	RatioFloor int64
	// Entries is how many headers the tar stream of one layer, and those of one image together, may have; 1,000,000.
	Entries int64
	// InFlight is how many bytes may be on their way over all layers, compressed and expanded; 4 GiB. A layer that
	// is larger comes alone.
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

// Store keeps expanded layers in a directory, by diff id. It is safe for concurrent use; one process at a
// time may use a directory.
//
// A layer is written under another name and renamed when every check has passed. Nothing relies on the disk
// having kept it: a file that was there when the store was opened is hashed again before its first use.
type Store struct {
	// Limits may be set before the first use.
	Limits Limits

	dir  string
	max  int64
	lock *flock.Flock

	flight func() *flight // made when first asked for

	mu      sync.Mutex
	entries map[pratique.Digest]*entry
	used    int64 // bytes of stored layers and of those being written
	uses    int64 // counts, so that the least recently used is known
}

// entry is one layer. turn is held by whoever fetches or checks it and guards checked, verified and headers; the rest
// is guarded by the store's mutex. An entry with users stays where it is.
type entry struct {
	turn     chan struct{}
	checked  bool // the file was written or hashed by this process
	verified []compressed
	headers  int64 // of its tar stream; 0 until it was looked at
	stored   bool
	size     int64
	users    int
	lastUse  int64
}

// compressed is a compressed form that was seen to expand to the layer. A manifest may pair any digest with
// a diff id that is known; only pairs found here are believed.
type compressed struct {
	Digest    pratique.Digest `json:"digest"`
	MediaType string          `json:"mediaType"`
	Size      int64           `json:"size"`
	// Table is the table of contents for lazy runtimes, which agrees with the tar stream.
	Table toc.Found `json:"table,omitzero"`
	// SHA256 and DiffID are the true digests, of the compressed bytes and of the tar stream.
	SHA256 pratique.Digest `json:"sha256,omitzero"`
	DiffID pratique.Digest `json:"diffID,omitzero"`
}

// layer describes the form to whoever wanted it.
func (c compressed) layer(want Descriptor, headers int64) Layer {
	l := Layer{Digest: want.Digest, DiffID: want.DiffID, DigestName: want.DigestName, DiffIDName: want.DiffIDName, MediaType: want.MediaType,
		Size: want.Size, Entries: headers}
	if !want.DigestName.IsZero() {
		l.Digest = c.SHA256
	}
	if !want.DiffIDName.IsZero() {
		l.DiffID = c.DiffID
	}
	return l
}

// is reports whether two compressed forms are the same bytes, taken the same way.
func (c compressed) is(other compressed) bool {
	return c.Digest == other.Digest && c.MediaType == other.MediaType && c.Size == other.Size
}

const (
	opStore         = "store layer"
	defaultMaxBytes = 20 << 30
	fetchesPerImage = 4
)

// Open opens the store in dir, which is made if need be, and removes what an interrupted process left. With
// maxBytes at or below zero it holds 20 GiB. It is an error of kind Unavailable if another process has it open.
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	s := &Store{dir: dir, max: maxBytes, entries: map[pratique.Digest]*entry{}}
	s.flight = sync.OnceValue(func() *flight { return newFlight(s.Limits.withDefaults().InFlight) })
	var err error
	if s.lock, err = dirlock.Lock(dir); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, "open layer store", dir, err)
	}
	if err := s.load(); err != nil {
		_ = s.lock.Close() // the first error says more
		return nil, pratique.Wrap(pratique.Unavailable, "open layer store", dir, err)
	}
	return s, nil
}

// Close lets another process use the directory. Layers still in use stay where they are.
func (s *Store) Close() error { return s.lock.Close() }

// Get returns a layer that is on disk and has been checked: its compressed bytes against want.Digest and
// want.Size, its tar stream against want.DiffID. If need be it is fetched with open, once for all who ask at
// the same time. The file stays until release is called, which may be done more than once.
//
// Bytes that do not match are Corrupt, a layer that expands too far is Exhausted; neither leaves anything
// behind. A store that is full of layers in use is Unavailable. Errors of open keep their kind.
func (s *Store) Get(ctx context.Context, want Descriptor, open func(context.Context) (io.ReadCloser, error)) (Layer, func(), error) {
	none := func() {}
	if want.Digest.IsZero() || want.DiffID.IsZero() || !Known(want.MediaType) {
		return Layer{}, none, pratique.Errorf(pratique.Invalid, opStore, "%s of type %q is not a layer of files", want.Digest, want.MediaType)
	}
	e := s.pin(want.DiffID)
	release := sync.OnceFunc(func() { s.unpin(want.DiffID, e) })
	l, err := s.ensure(ctx, e, want, open)
	if err != nil {
		release()
		return Layer{}, none, pratique.Wrap(pratique.Unknown, opStore, want.ID().String(), err)
	}
	l.Path = s.path(want.DiffID)
	return l, release, nil
}

// Image gets all layers of one platform image, a few at a time. If one fails, none is kept in use.
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
			img.Layers[i], releases[i], err = s.Get(ctx, d, func(ctx context.Context) (io.ReadCloser, error) {
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
		return pratique.Errorf(pratique.Exhausted, opStore, "the layers have %d entries together, at most %d are read", sum, most)
	}
	return nil
}

// ensure returns when the layer is on disk and verified in the compressed form that is wanted.
func (s *Store) ensure(ctx context.Context, e *entry, want Descriptor, open func(context.Context) (io.ReadCloser, error)) (Layer, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return Layer{}, pratique.Wrap(pratique.Unavailable, "wait for layer", "", context.Cause(ctx))
	}
	if s.isStored(e) && !e.checked {
		if err := s.recheck(ctx, e, want.DiffID); err != nil {
			return Layer{}, err
		}
	}
	form := compressed{Digest: want.Digest, MediaType: want.MediaType, Size: want.Size}
	if at := slices.IndexFunc(e.verified, form.is); s.isStored(e) && at >= 0 {
		if err := e.verified[at].Table.Agree(want.Annotations); err != nil {
			return Layer{}, err
		}
		// Only the order of eviction after a restart hangs on it.
		_ = os.Chtimes(s.path(want.DiffID), time.Time{}, time.Now())
		return e.verified[at].layer(want, e.headers), nil
	}
	room, err := s.flight().begin(ctx, want.Size)
	if err != nil {
		return Layer{}, err
	}
	defer room.end()
	body, err := open(ctx)
	if err != nil {
		return Layer{}, err
	}
	defer func() { _ = body.Close() }() // what was read is checked by its digest
	if s.isStored(e) {
		// Another compression of a layer that is here: it has to be looked at, but not kept.
		err = s.compare(ctx, e, body, want, &form)
	} else {
		err = s.write(ctx, e, room, body, want, &form)
	}
	if err != nil {
		return Layer{}, err
	}
	e.verified = append(e.verified, form)
	if err := s.remember(want.DiffID, note{Rules: rules, Entries: e.headers, Verified: e.verified}); err != nil {
		return Layer{}, err
	}
	return form.layer(want, e.headers), form.Table.Agree(want.Annotations)
}

// compare looks at another compression of a layer that is stored, and notes in form what it finds.
func (s *Store) compare(ctx context.Context, e *entry, body io.Reader, want Descriptor, form *compressed) error {
	found, err := s.expand(ctx, body, want, io.Discard)
	if err != nil {
		return err
	}
	f, err := os.Open(s.path(want.DiffID))
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, "open layer", "", err)
	}
	defer func() { _ = f.Close() }() // only read
	e.headers = found.entries
	form.SHA256, form.DiffID = found.digest, found.diffID
	form.Table, err = toc.Check(ctx, found.blob, f, found.size)
	return err
}

// write expands the layer into a new file and gives it its name when it has passed every check. It notes in form what it
// finds.
func (s *Store) write(ctx context.Context, e *entry, room *passage, body io.Reader, want Descriptor, form *compressed) (err error) {
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), want.DiffID.Hex()+"-*")
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	space := &space{store: s}
	defer func() {
		if err != nil {
			space.giveBack()
			_ = tmp.Close() // nothing of it is kept
			_ = os.Remove(tmp.Name())
		}
	}()
	found, err := s.expand(ctx, body, want, &spacedWriter{ctx: ctx, passage: room, space: space, to: tmp})
	if err != nil {
		return err
	}
	form.SHA256, form.DiffID = found.digest, found.diffID
	if form.Table, err = toc.Check(ctx, found.blob, tmp, found.size); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	if err := os.Rename(tmp.Name(), s.path(want.DiffID)); err != nil {
		return pratique.Wrap(pratique.Unavailable, "write layer", "", err)
	}
	e.checked, e.verified, e.headers = true, nil, found.entries
	space.keep(e, found.size)
	return nil
}

// recheck hashes a file from before this process; a file that is not what its name says goes.
func (s *Store) recheck(ctx context.Context, e *entry, diffID pratique.Digest) error {
	got, err := hashFile(ctx, s.path(diffID))
	if err != nil && ctx.Err() != nil {
		return pratique.Wrap(pratique.Unavailable, "check layer", "", context.Cause(ctx))
	}
	if err == nil && got == diffID {
		e.checked = true
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.drop(diffID, e); err != nil {
		return pratique.Wrap(pratique.Unavailable, "remove damaged layer", "", err)
	}
	return nil
}

func (s *Store) path(diffID pratique.Digest) string {
	return filepath.Join(s.dir, diffID.Hex()+".tar")
}

func (s *Store) isStored(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.stored
}

func errFull(max int64) error {
	return pratique.Errorf(pratique.Unavailable, opStore, "the layer store of %d bytes is full of layers in use: give it more room", max)
}

func errWider(what string, limit int64) error {
	return &pratique.Error{Op: "expand layer", Kind: pratique.Exhausted, Err: fmt.Errorf("expands to more than %s %d bytes", what, limit)}
}
