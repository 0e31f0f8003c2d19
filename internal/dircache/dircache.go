// Package dircache keeps files in a directory, up to a number of bytes. When more room is needed it
// deletes the least recently used files that nobody uses. Modification times keep the order across
// restarts.
package dircache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/pratique-dev/pratique/internal/dirlock"
)

// ErrFull is the error if the files in use leave no room.
var ErrFull = errors.New("the cache is full of files in use: give it more room")

// Options of a [Dir] whose files have values of type V.
type Options[V any] struct {
	MaxBytes int64
	// Key returns the key of a file; ok is false for files that are not the cache's, which are left
	// alone.
	Key func(file string) (key string, ok bool)
	// Size is what a file of so many bytes counts; nil means its bytes.
	Size func(bytes int64) int64
	// Value returns the value of a file that is found when the directory is opened; nil means the
	// zero value.
	Value func(key string) V
	// Removed is called when a file was deleted. It must not call the Dir; nil does nothing.
	Removed func(key string)
}

// Dir is a bounded directory of files. It is safe for concurrent use; one process at a time may use
// a directory.
type Dir[V any] struct {
	options Options[V]
	path    string
	lock    *flock.Flock

	mu    sync.Mutex
	files map[string]*file[V] // by key
	used  int64               // bytes of files and of reservations
	uses  int64               // counts uses, for lastUse
}

type file[V any] struct {
	name    string
	value   V
	size    int64
	users   int // a file with users is not evicted
	lastUse int64
}

// Pinned is a file in use. It stays until Release is called, which may be done more than once.
type Pinned[V any] struct {
	Path    string
	Value   V
	Release func()

	file *file[V]
}

const tempDir = "tmp"

// Open opens the directory, and makes it if it is missing. It deletes what an interrupted process
// left, and evicts files if there are more than fit. The error is [dirlock.ErrInUse] if another
// process has it open.
func Open[V any](path string, o Options[V]) (*Dir[V], error) {
	if o.Size == nil {
		o.Size = func(bytes int64) int64 { return bytes }
	}
	if o.Value == nil {
		o.Value = func(string) (zero V) { return zero }
	}
	if o.Removed == nil {
		o.Removed = func(string) {}
	}
	lock, err := dirlock.Lock(path)
	if err != nil {
		return nil, err
	}
	d := &Dir[V]{options: o, path: path, lock: lock, files: map[string]*file[V]{}}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// Close lets another process use the directory.
func (d *Dir[V]) Close() error { return d.lock.Close() }

// TempDir is the directory for files that are being written.
func (d *Dir[V]) TempDir() string { return filepath.Join(d.path, tempDir) }

// MaxBytes is the bound of the cache.
func (d *Dir[V]) MaxBytes() int64 { return d.options.MaxBytes }

// load lists the files, least recently used first.
func (d *Dir[V]) load() error {
	if err := os.RemoveAll(d.TempDir()); err != nil {
		return err
	}
	if err := os.Mkdir(d.TempDir(), 0o700); err != nil {
		return err
	}
	items, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	var found []fs.FileInfo
	for _, item := range items {
		if _, ok := d.options.Key(item.Name()); !ok || !item.Type().IsRegular() {
			continue
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		found = append(found, info)
	}
	slices.SortFunc(found, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, info := range found {
		key, _ := d.options.Key(info.Name())
		// a damaged file that could not be deleted when it was replaced
		if old := d.files[key]; old != nil {
			if err := d.remove(key, old); err != nil {
				return err
			}
		}
		d.uses++
		size := d.options.Size(info.Size())
		d.files[key], d.used = &file[V]{name: info.Name(), value: d.options.Value(key), size: size,
			lastUse: d.uses}, d.used+size
	}
	return d.Reserve(0) // the bound may have been higher before
}

// Pin returns the file with a key, and keeps it in the directory until it is released.
func (d *Dir[V]) Pin(key string) (p Pinned[V], ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[key]
	if f == nil {
		return Pinned[V]{Release: func() {}}, false
	}
	p = d.pin(f)
	// only the order of eviction after a restart depends on it
	_ = os.Chtimes(p.Path, time.Time{}, time.Now())
	return p, true
}

func (d *Dir[V]) pin(f *file[V]) Pinned[V] {
	d.uses++
	f.users, f.lastUse = f.users+1, d.uses
	return Pinned[V]{Path: filepath.Join(d.path, f.name), Value: f.value, file: f,
		Release: sync.OnceFunc(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			f.users--
		})}
}

// Reserve makes room for n more bytes. The error is [ErrFull], or that of deleting a file.
func (d *Dir[V]) Reserve(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > d.options.MaxBytes {
		return ErrFull
	}
	for d.used+n > d.options.MaxBytes {
		var oldest string
		for key, f := range d.files {
			if f.users == 0 && (oldest == "" || f.lastUse < d.files[oldest].lastUse) {
				oldest = key
			}
		}
		if oldest == "" {
			return ErrFull
		}
		if err := d.remove(oldest, d.files[oldest]); err != nil {
			return err
		}
	}
	d.used += n
	return nil
}

// Unreserve gives reserved bytes back.
func (d *Dir[V]) Unreserve(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used -= n
}

// Commit renames a file in [Dir.TempDir] of so many bytes to name, and returns it in use. The bytes
// that were reserved become the file's. If its key has a file by now, that one stays and is
// returned. After an error nothing has changed.
func (d *Dir[V]) Commit(temp, name string, bytes, reserved int64, value V) (Pinned[V], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, _ := d.options.Key(name)
	if f := d.files[key]; f != nil {
		if err := os.Remove(temp); err != nil {
			return Pinned[V]{}, err
		}
		d.used -= reserved
		return d.pin(f), nil
	}
	if err := os.Rename(temp, filepath.Join(d.path, name)); err != nil {
		return Pinned[V]{}, err
	}
	f := &file[V]{name: name, value: value, size: d.options.Size(bytes)}
	d.files[key], d.used = f, d.used+f.size-reserved
	return d.pin(f), nil
}

// Drop deletes a file that is damaged, unless that was done already. It has to be released all the
// same.
func (d *Dir[V]) Drop(p Pinned[V]) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if key, _ := d.options.Key(p.file.name); d.files[key] == p.file {
		return d.remove(key, p.file)
	}
	return nil
}

func (d *Dir[V]) remove(key string, f *file[V]) error {
	if err := os.Remove(filepath.Join(d.path, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(d.files, key)
	d.used -= f.size
	d.options.Removed(key)
	return nil
}

// Stats counts the files, those in use, and the bytes of files and reservations.
func (d *Dir[V]) Stats() (files, inUse int, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		if f.users > 0 {
			inUse++
		}
	}
	return len(d.files), inUse, d.used
}
