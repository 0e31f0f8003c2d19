package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/durable"
)

const (
	opOpen      = "open outbox"
	format      = "pratique outbox 1"
	lockTimeout = time.Second
	// pageSize is that of the usual machine also where memory pages are larger: a commit writes whole pages.
	pageSize = 4096
	// partSuffix is followed by the digits of [os.CreateTemp] in the name of a file that is not whole yet.
	partSuffix = ".new-"
)

// The buckets; the package comment says what is in them.
var (
	bucketMeta       = []byte("meta")
	bucketLog        = []byte("log")
	bucketUnresolved = []byte("unresolved")
	bucketTags       = []byte("tags")
	bucketDeliveries = []byte("deliveries")
	bucketRefused    = []byte("refused")
	bucketBookmarks  = []byte("bookmarks")
)

var allBuckets = [][]byte{
	bucketMeta, bucketLog, bucketUnresolved, bucketTags, bucketDeliveries, bucketRefused, bucketBookmarks,
}

var (
	keyFormat = []byte("format")
	keyName   = []byte("name")
	keyFloor  = []byte("floor")
)

// openFile opens the file ready for use.
func openFile(c Config) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, opOpen, c.File, err)
	}
	info, err := os.Stat(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = create(c)
	case err == nil && info.Size() == 0:
		err = damaged("it is empty")
	}
	if err == nil {
		err = check(c.File)
	}
	var db *bbolt.DB
	if err == nil {
		db, err = openBolt(c.File, options(c))
	}
	return db, wrapOpen(c.File, err)
}

func options(c Config) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockTimeout, PageSize: pageSize, NoSync: c.noSync, NoStatistics: true,
		// The free list is found again on opening, which spares a write of it in each commit.
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		// Address space, not memory: while the map grows, nobody reads and nobody writes.
		InitialMmapSize: int(min(max(4*c.MaxBytes, 64<<20), 1<<30)),
	}
}

// create makes the file under another name first: after a power cut there is none, or a whole one. The link
// does not replace what another process has made meanwhile.
func create(c Config) (err error) {
	part, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+partSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignore(os.Remove(part.Name()), fs.ErrNotExist)) }()
	if err := part.Close(); err != nil {
		return err
	}
	db, err := openBolt(part.Name(), &bbolt.Options{Timeout: lockTimeout, PageSize: pageSize, NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		return errors.Join(meta.Put(keyFormat, []byte(format)), meta.Put(keyName, []byte(rand.Text())))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := place(part.Name(), c.File); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(c.File))
}

// place gives the file its name. File systems without links have to do with a rename.
func place(part, file string) error {
	err := ignore(os.Link(part, file), fs.ErrExist)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		err = os.Rename(part, file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Whoever was faster has opened the file, and taken ours for something left over.
		_, err = os.Stat(file)
	}
	return err
}

// removeParts removes what create left where it was interrupted. Call it when the file is there and open: what another
// process is just making is of no use then.
func removeParts(file string) error {
	dir := filepath.Dir(file)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		random, ours := strings.CutPrefix(e.Name(), filepath.Base(file)+partSuffix)
		if ours && e.Type().IsRegular() && random != "" && strings.Trim(random, "0123456789") == "" {
			err = errors.Join(err, ignore(os.Remove(filepath.Join(dir, e.Name())), fs.ErrNotExist))
		}
	}
	return err
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// check reads the whole file before it is opened for writing, where bbolt would panic on damage, also in
// goroutines of its own.
func check(path string) (err error) {
	db, err := openBolt(path, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer recoverDamage(&err)()
	return db.View(func(tx *bbolt.Tx) error {
		if info, err := os.Stat(path); err != nil || info.Size() < tx.Size() {
			return errors.Join(err, damaged("it is shorter than it says"))
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil || meta.Get(keyFormat) == nil || meta.Get(keyName) == nil {
			return damaged("it is not an outbox")
		}
		if have := string(meta.Get(keyFormat)); have != format {
			return damaged("its format is %.40q and this program has %q: let the version that wrote it forward what waits", have, format)
		}
		for _, name := range allBuckets {
			if tx.Bucket(name) == nil {
				return damaged("it has no bucket %s", name)
			}
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
	})
}

func walk(b *bbolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return walk(b.Bucket(k))
		}
		_ = v[:len(v):len(v)] // bbolt has read the page
		return nil
	})
}

// openBolt is bbolt.Open with panics as errors.
func openBolt(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	defer recoverDamage(&err)()
	return bbolt.Open(path, 0o600, o)
}

// recoverDamage makes a panic, and the fault of reading past the end of a mapped file, an error. Defer what
// it returns.
func recoverDamage(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = damaged("%v", r)
		}
	}
}

func damaged(why string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "read file", why, args...)
}

func wrapOpen(path string, err error) error {
	kind := pratique.Unavailable
	switch {
	case err == nil:
		return nil
	case pratique.KindOf(err) == pratique.Corrupt:
		kind = pratique.Corrupt
	case errors.Is(err, bolterrors.ErrTimeout):
		kind, err = pratique.Conflict, errors.New("another process has it open")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		kind = pratique.Corrupt
	}
	if kind == pratique.Corrupt {
		err = fmt.Errorf("%w; to start with nothing known, move the file away", err)
	}
	return pratique.Wrap(kind, opOpen, path, err)
}
