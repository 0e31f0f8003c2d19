package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

const (
	opOpen = "open outbox"
	format = "pratique outbox 1"
	// pageSize is the same where memory pages are larger, since a commit writes whole pages.
	pageSize = 4096
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
	db, err := makeAndOpen(c)
	switch pratique.KindOf(err) {
	case pratique.Corrupt:
		err = fmt.Errorf("%w; to start with an empty outbox, move the file away", err)
	case pratique.NotFound, pratique.Unknown:
		return db, pratique.Wrap(pratique.Unavailable, opOpen, c.File, err)
	}
	return db, pratique.Wrap(pratique.Unknown, opOpen, c.File, err)
}

func makeAndOpen(c Config) (*bbolt.DB, error) {
	if err := boltfile.Create(c.File, options(c), setUp); err != nil {
		return nil, err
	}
	info, err := os.Stat(c.File)
	switch {
	case err != nil:
		return nil, err
	case info.Size() == 0:
		return nil, boltfile.Damaged("it is empty")
	}
	if err := check(c.File); err != nil {
		return nil, err
	}
	return boltfile.Open(c.File, options(c))
}

func options(c Config) *bbolt.Options {
	o := boltfile.Options()
	o.PageSize, o.NoSync, o.NoStatistics = pageSize, c.noSync, true
	// It costs address space, not memory. While the map grows, reads and writes block.
	o.InitialMmapSize = int(min(max(4*c.MaxBytes, 64<<20), 1<<30))
	return o
}

// setUp creates the buckets of a new file.
func setUp(tx *bbolt.Tx) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	return errors.Join(meta.Put(keyFormat, []byte(format)), meta.Put(keyName, []byte(rand.Text())))
}

// check reads the whole file before it is opened for writing: then bbolt would panic on damage,
// even in goroutines of its own.
func check(path string) (err error) {
	o := boltfile.Options()
	o.ReadOnly = true
	db, err := boltfile.Open(path, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer boltfile.Recover(&err)()
	return db.View(func(tx *bbolt.Tx) error {
		if info, err := os.Stat(path); err != nil || info.Size() < tx.Size() {
			return errors.Join(err, boltfile.Damaged("it is truncated"))
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil || meta.Get(keyFormat) == nil || meta.Get(keyName) == nil {
			return boltfile.Damaged("it is not an outbox")
		}
		if have := string(meta.Get(keyFormat)); have != format {
			return boltfile.Damaged("its format is %.40q, this version needs %q: let the version that wrote it forward its events", have, format)
		}
		for _, name := range allBuckets {
			if tx.Bucket(name) == nil {
				return boltfile.Damaged("it has no bucket %s", name)
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
