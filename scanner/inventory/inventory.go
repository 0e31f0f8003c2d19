// Package inventory remembers what the images that were ever inspected hold, for one purpose: when the vulnerability
// database changes, to say what has to be matched again, and whose answer that changes. It is a projection of the
// ledger and of the inventories and reports that facts name, in one bbolt file; it can be deleted and is made again.
//
// It lies beside the index and not in it. The index answers people, belongs to the query role and is written by nobody
// else; the inventory belongs to the inspect role, which asks it at every push, and writes back how far rescanning is.
package inventory

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// schemaVersion changes with any change of a bucket's keys or values; a file of another version is made anew.
const schemaVersion = "4"

const lockTimeout = 2 * time.Second

// The buckets. Ids are numbers of four bytes, so that byte order is number order.
var (
	bucketMeta        = []byte("meta")        // "schema", "position", "mark", "rescan"
	bucketParts       = []byte("parts")       // digest → id
	bucketPart        = []byte("part")        // id → digest, and digest of its findings' document if that is known
	bucketNames       = []byte("names")       // hash of a key → ids of parts
	bucketVulns       = []byte("vulns")       // id of a vulnerability, 0, id of a part → nothing
	bucketInventories = []byte("inventories") // digest → id
	bucketInventory   = []byte("inventory")   // id → digest, ids of its parts
	bucketHolders     = []byte("holders")     // id of a part → ids of inventories
	bucketSubjects    = []byte("subjects")    // digest, repository → id
	bucketSubject     = []byte("subject")     // id → subject
	bucketImages      = []byte("images")      // id of an inventory, id of a subject → nothing
	bucketParents     = []byte("parents")     // id of a subject, id of an index that lists it → nothing
	bucketChildren    = []byte("children")    // id of an index, id of a subject that it lists → nothing
	bucketTodo        = []byte("todo")        // id of a part to be matched again → nothing
	bucketOutdated    = []byte("outdated")    // id of a subject to be looked at → nothing, or 1 if it is to be refreshed
	bucketUnmatched   = []byte("unmatched")   // id of a part that could not be matched with the database in use → [unmatched]
	bucketAside       = []byte("aside")       // id of a subject that could not be dealt with → why
)

var allBuckets = [][]byte{
	bucketMeta, bucketParts, bucketPart, bucketNames, bucketVulns, bucketInventories, bucketInventory, bucketHolders,
	bucketSubjects, bucketSubject, bucketImages, bucketParents, bucketChildren, bucketTodo, bucketOutdated, bucketUnmatched, bucketAside,
}

var (
	keySchema   = []byte("schema")
	keyPosition = []byte("position")
	keyMark     = []byte("mark")
	keyRescan   = []byte("rescan")
)

var errDamaged = errors.New("the inventory is damaged: stop the service and run `pratique index rebuild`")

// Config is what an inventory needs.
type Config struct {
	// Documents are the inventories and reports that facts name.
	Documents scanner.Documents
	// Keys names what a match of a part looks up, as [scanner.Delta] does, from its [scanner.Outline].
	Keys func(part pratique.Inventory) []string
}

// Inventory is an open file. Its methods may be called from several goroutines; there is one writer at a time.
type Projection struct {
	db  *bbolt.DB
	cfg Config
}

// Open opens the file. One that is missing, of another version or no bbolt file is made anew, empty. The error is
// Unavailable if another process has it open or the disk is in the way.
func Open(path string, cfg Config) (*Projection, error) {
	const op = "open inventory"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, path, err)
	}
	db, err := open(path)
	if errors.Is(err, errOther) {
		if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			db, err = open(path)
		}
	}
	if err != nil {
		return nil, pratique.Wrap(pratique.Unavailable, op, path, err)
	}
	return &Projection{db: db, cfg: cfg}, nil
}

var errOther = errors.New("not an inventory of this version")

func open(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, errors.New("another process has it open")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, errOther
	case err != nil:
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(bucketMeta); meta != nil && string(meta.Get(keySchema)) != schemaVersion {
			return errOther
		}
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, []byte(schemaVersion))
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close waits for open transactions and closes the file.
func (e *Projection) Close() error { return e.db.Close() }

// Position returns the ledger position of the last fact that was applied, 0 if none was.
func (e *Projection) Position() (uint64, error) {
	at, _, err := e.At()
	return at, err
}

// At returns the position and the mark of the entry there.
func (e *Projection) At() (at uint64, mark string, err error) {
	err = e.view("read inventory", func(tx *bbolt.Tx) error {
		at, mark = position(tx), string(tx.Bucket(bucketMeta).Get(keyMark))
		return nil
	})
	return at, mark, err
}

// Reset forgets everything.
func (e *Projection) Reset() error {
	return e.update("reset inventory", func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keySchema, []byte(schemaVersion))
	})
}

func position(tx *bbolt.Tx) uint64 {
	if v := tx.Bucket(bucketMeta).Get(keyPosition); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Rescan returns how far rescanning has come; its To has no digest before it was begun for the first time.
func (e *Projection) Rescan() (r pratique.Rescan, err error) {
	err = e.view("read inventory", func(tx *bbolt.Tx) error {
		r, err = rescan(tx)
		return err
	})
	return r, err
}

func rescan(tx *bbolt.Tx) (r pratique.Rescan, err error) {
	if raw := tx.Bucket(bucketMeta).Get(keyRescan); raw != nil {
		err = json.Unmarshal(raw, &r)
	}
	return r, err
}

func putRescan(tx *bbolt.Tx, r pratique.Rescan) error {
	return putJSON(tx.Bucket(bucketMeta), keyRescan, r)
}

// Findings returns the document of a part's findings if it is known to hold for the database. That costs one look-up.
func (e *Projection) Findings(part, database pratique.Digest) (d pratique.Digest, known bool, err error) {
	err = e.view("read inventory", func(tx *bbolt.Tx) error {
		r, err := rescan(tx)
		if err != nil || r.To.Digest != database {
			return err
		}
		id := tx.Bucket(bucketParts).Get(digestKey(part))
		if id == nil || tx.Bucket(bucketTodo).Get(id) != nil {
			return nil
		}
		d, known = findings(tx, numberOf(id))
		return nil
	})
	return d, known, err
}

// findings is what is known of a part, for the database in use unless the part is to be matched again.
func findings(tx *bbolt.Tx, part uint32) (pratique.Digest, bool) {
	v := tx.Bucket(bucketPart).Get(number(part))
	if len(v) != 2*digestSize {
		return pratique.Digest{}, false
	}
	return digestFromKey(v[digestSize:]), true
}

// view and update give whatever has no kind yet the kind Unavailable: the file could not be used.
func (e *Projection) view(op string, fn func(*bbolt.Tx) error) error {
	return kinded(op, e.db.View(fn))
}

func (e *Projection) update(op string, fn func(*bbolt.Tx) error) error {
	return kinded(op, e.db.Update(fn))
}

func kinded(op string, err error) error {
	if err != nil && pratique.KindOf(err) == pratique.Unknown {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	return err
}

const digestSize = 32

func digestKey(d pratique.Digest) []byte {
	raw, _ := hex.DecodeString(d.Hex()) // what Hex writes always decodes
	return raw
}

func digestFromKey(raw []byte) pratique.Digest {
	return pratique.DigestFromSum([digestSize]byte(raw[:digestSize]))
}

func putJSON(b *bbolt.Bucket, key []byte, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "write inventory", "", err)
	}
	return b.Put(key, raw)
}
