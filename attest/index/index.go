// Package index keeps a projection of the ledger in one bbolt file, made for the questions that people and
// programs ask: what is known about a digest, what a tag means, what became of an event, what there is. The
// file holds nothing that the ledger does not; it can be deleted and built again from position zero.
package index

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/durable"
)

// schemaVersion changes with any change of a bucket's keys or values. There are no migrations: a rebuild
// takes less thought and is tested every day.
const schemaVersion = 6

const lockTimeout = 2 * time.Second

// The buckets. Integers in keys are big-endian, so that byte order is number order.
var (
	bucketMeta      = []byte("meta")      // "schema", "position", "mark"
	bucketRecords   = []byte("records")   // digest, repository → pratique.Record
	bucketList      = []byte("list")      // position of the subject's first fact → Summary
	bucketByRepo    = []byte("byrepo")    // repository, 0, position of the first fact → nothing
	bucketTags      = []byte("tags")      // repository, 0, tag, 0, time, position → digest, and 1 if superseded
	bucketImageTags = []byte("imagetags") // digest, repository, 0, tag → nothing
	bucketParents   = []byte("parents")   // digest, repository, 0, digest of the index → nothing
	bucketEvents    = []byte("events")    // event id → EventStatus
	bucketDead      = []byte("dead")      // event id → nothing; those that failed or were canceled
	bucketRejected  = []byte("rejected")  // position → why the fact could not be applied
	bucketDenials   = []byte("denials")   // digest, repository → nothing; those that [Index.Denials] has to look at
)

var allBuckets = [][]byte{
	bucketMeta, bucketRecords, bucketList, bucketByRepo, bucketTags, bucketImageTags, bucketParents, bucketEvents, bucketDead, bucketRejected,
	bucketDenials,
}

var (
	keySchema   = []byte("schema")
	keyPosition = []byte("position")
	keyMark     = []byte("mark")
)

// SchemaError says that the file was written by another version of the program.
type SchemaError struct {
	Path string
	// Have is the version found in the file, 0 if it names none; Want is the one this program writes.
	Have, Want int
}

// Error says what to do.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("index %s has schema %d and this program needs %d: run `pratique index rebuild`", e.Path, e.Have, e.Want)
}

// Index is an open index file. Its methods may be called from several goroutines; there is one writer at a time.
type Index struct {
	db *bbolt.DB
}

// Open opens the file, and makes it if it is not there. Errors: Unavailable if another process has it open,
// Corrupt around a [*SchemaError] if it is of another version, Corrupt if it is damaged.
func Open(path string) (*Index, error) {
	const op = "open index"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, path, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, pratique.Wrap(pratique.Unavailable, op, path, err)
		}
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, err
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return setUp(tx, path) }); err != nil {
		return nil, errors.Join(pratique.Wrap(pratique.Unknown, op, path, err), db.Close())
	}
	return &Index{db: db}, nil
}

// create makes the file under another name first: bbolt cannot open one whose making a power cut interrupted.
func create(path string) error {
	part := path + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openFile(part, false)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error { return setUp(tx, path) })
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// setUp makes the buckets of a fresh file, and refuses one of another version.
func setUp(tx *bbolt.Tx, path string) error {
	if tx.Bucket(bucketMeta) != nil {
		if err := checkSchema(tx, path); err != nil {
			return err
		}
	}
	for _, name := range allBuckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keySchema, []byte(strconv.Itoa(schemaVersion)))
}

func openFile(path string, readOnly bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, ReadOnly: readOnly,
		// The free list is found again on opening, which spares a write of it in each commit.
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err == nil {
		return db, nil
	}
	kind := pratique.Unavailable
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = errors.New("another process has it open")
	case errors.Is(err, os.ErrNotExist):
		kind = pratique.NotFound
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		kind, err = pratique.Corrupt, fmt.Errorf("%w: run `pratique index rebuild`", err)
	}
	return nil, pratique.Wrap(kind, "open index", path, err)
}

func checkSchema(tx *bbolt.Tx, path string) error {
	meta, have := tx.Bucket(bucketMeta), 0
	if meta != nil {
		have, _ = strconv.Atoi(string(meta.Get(keySchema))) // not a number is version 0
	}
	if have != schemaVersion {
		return pratique.Wrap(pratique.Corrupt, "open index", "", &SchemaError{Path: path, Have: have, Want: schemaVersion})
	}
	return nil
}

// Close waits for open transactions and closes the file.
func (ix *Index) Close() error { return ix.db.Close() }

// Position returns the ledger position of the last fact that was applied, 0 if none was.
func (ix *Index) Position() (uint64, error) {
	at, _, err := ix.At()
	return at, err
}

// At returns the position and the mark of the entry there.
func (ix *Index) At() (at uint64, mark string, err error) {
	err = ix.view("read index position", func(tx *bbolt.Tx) error {
		at, mark = position(tx), string(tx.Bucket(bucketMeta).Get(keyMark))
		return nil
	})
	return at, mark, err
}

// Reset forgets everything.
func (ix *Index) Reset() error {
	err := ix.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, []byte(strconv.Itoa(schemaVersion)))
	})
	return pratique.Wrap(pratique.Unavailable, "reset index", "", err)
}

func position(tx *bbolt.Tx) uint64 {
	if v := tx.Bucket(bucketMeta).Get(keyPosition); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// view runs a read; whatever has no kind yet is Unavailable: the file could not be read.
func (ix *Index) view(op string, fn func(*bbolt.Tx) error) error {
	err := ix.db.View(fn)
	if err != nil && pratique.KindOf(err) == pratique.Unknown {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return err
}

// get decodes the JSON value of a key; found is false if there is none.
func get(b *bbolt.Bucket, key []byte, into any) (found bool, err error) {
	raw := b.Get(key)
	if raw == nil {
		return false, nil
	}
	return true, decode(raw, into)
}

func decode(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return pratique.Errorf(pratique.Corrupt, "read index", "%w: run `pratique index rebuild`", err)
	}
	return nil
}

func put(b *bbolt.Bucket, key []byte, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "write index", "", err)
	}
	return b.Put(key, raw)
}
