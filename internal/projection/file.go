package projection

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/boltfile"
)

// The bucket of the file itself.
var (
	bucketMeta  = []byte("meta")
	keySchema   = []byte("schema")
	keyPosition = []byte("position") // of the last entry that was applied
	keyMark     = []byte("mark")     // of that entry
)

// Schema describes the file of a projection.
type Schema struct {
	// Name is the name of the projection, for people.
	Name string
	// Version changes with any change of a bucket's keys or values. There are no migrations, since a
	// rebuild is simpler and better tested.
	Version int
	// Buckets are those of the projection; "meta" is taken.
	Buckets [][]byte
}

// SchemaError says that the file was written by another version of the program.
type SchemaError struct {
	Name, Path string
	// Have is the version found in the file, 0 if it names none; Want is the one this program
	// writes.
	Have, Want int
}

// Error says what to do.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s has schema %d and this program needs %d: run `pratique projections rebuild %s`", e.Path, e.Have, e.Want, e.Name)
}

// File is a bbolt file that holds what was derived from the ledger, and the position of the last
// applied entry, updated in the same transactions. It holds nothing else, so it can always be
// rebuilt.
type File struct {
	db     *bbolt.DB
	schema Schema
}

// OpenFile opens the file, and creates it if it does not exist. Errors: Conflict if another process
// has it open, Corrupt around a [*SchemaError] if it is of another version, Corrupt if it is
// damaged, Unavailable otherwise.
func OpenFile(path string, s Schema) (*File, error) {
	err := boltfile.Create(path, boltfile.Options(), func(tx *bbolt.Tx) error { return s.reset(tx) })
	if err != nil {
		return nil, s.openError(path, boltfile.WithKind("make file", "", err))
	}
	f, err := s.open(path, boltfile.Options())
	if err != nil {
		return nil, err
	}
	err = f.db.View(func(tx *bbolt.Tx) error {
		if missing := s.Missing(tx); len(missing) > 0 {
			return boltfile.Damaged("it has no bucket %s", missing[0])
		}
		return nil
	})
	if err == nil {
		err = boltfile.WithKind("clean up", "", boltfile.RemoveTemp(path))
	}
	if err != nil {
		return nil, errors.Join(s.openError(path, err), f.Close())
	}
	return f, nil
}

// OpenFileToRead opens the file for reading. No process may have it open for writing. The errors are
// those of [OpenFile], and NotFound if there is no file.
func OpenFileToRead(path string, s Schema) (*File, error) {
	o := boltfile.Options()
	o.ReadOnly = true
	return s.open(path, o)
}

// RemoveFile removes the file, so that it is rebuilt, unless a process has it open.
func RemoveFile(path string, s Schema) error {
	f, err := OpenFileToRead(path, s)
	if err == nil {
		err = f.Close()
	}
	switch pratique.KindOf(err) {
	case pratique.NotFound:
		return nil
	case pratique.Corrupt: // damaged, or of another version
	default:
		if err != nil {
			return err
		}
	}
	return os.Remove(path)
}

func (s Schema) open(path string, o *bbolt.Options) (*File, error) {
	db, err := boltfile.Open(path, o)
	if err != nil {
		return nil, s.openError(path, err)
	}
	if err := s.check(db); err != nil {
		return nil, errors.Join(s.openError(path, err), db.Close())
	}
	return &File{db: db, schema: s}, nil
}

// check refuses a file of another version.
func (s Schema) check(db *bbolt.DB) (err error) {
	defer boltfile.Recover(&err)()
	return db.View(func(tx *bbolt.Tx) error {
		have := 0
		if meta := tx.Bucket(bucketMeta); meta != nil {
			have, _ = strconv.Atoi(string(meta.Get(keySchema))) // not a number is version 0
		}
		if have != s.Version {
			return &SchemaError{Name: s.Name, Path: db.Path(), Have: have, Want: s.Version}
		}
		return nil
	})
}

// openError says what to do about a file that cannot be read.
func (s Schema) openError(path string, err error) error {
	var schema *SchemaError
	if errors.As(err, &schema) {
		return pratique.Wrap(pratique.Corrupt, "open "+s.Name, "", schema)
	}
	return pratique.Wrap(pratique.KindOf(err), "open "+s.Name, path, s.advise(err))
}

// reset replaces the buckets with empty ones.
func (s Schema) reset(tx *bbolt.Tx) error {
	for _, name := range append([][]byte{bucketMeta}, s.Buckets...) {
		if tx.Bucket(name) != nil {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keySchema, []byte(strconv.Itoa(s.Version)))
}

// Path returns the path of the file.
func (f *File) Path() string { return f.db.Path() }

// Close waits for open transactions and closes the file.
func (f *File) Close() error { return f.db.Close() }

// View runs a read transaction. An error without a kind is Unavailable: the file could not be used.
// One of kind Corrupt says what to do.
func (f *File) View(op string, fn func(*bbolt.Tx) error) error {
	return f.schema.advise(boltfile.WithKind(op, "", f.db.View(fn)))
}

// Update is [File.View] for a write transaction.
func (f *File) Update(op string, fn func(*bbolt.Tx) error) error {
	return f.schema.advise(boltfile.WithKind(op, "", f.db.Update(fn)))
}

// advise says what to do about a damaged file.
func (s Schema) advise(err error) error {
	if pratique.KindOf(err) != pratique.Corrupt {
		return err
	}
	return fmt.Errorf("%w: run `pratique projections rebuild %s`", err, s.Name)
}

// At returns the position of the last entry that was applied, and its mark; 0 and empty if none was.
func (f *File) At() (seq uint64, mark string, err error) {
	err = f.View("read position of "+f.schema.Name, func(tx *bbolt.Tx) error {
		seq, mark = Position(tx), string(tx.Bucket(bucketMeta).Get(keyMark))
		return nil
	})
	return seq, mark, err
}

// Position returns the position of the last entry that was applied, 0 if none was.
func Position(tx *bbolt.Tx) uint64 {
	if v := tx.Bucket(bucketMeta).Get(keyPosition); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Reset deletes everything.
func (f *File) Reset() error { return f.Update("reset "+f.schema.Name, f.schema.reset) }

// Apply calls fn with those of the entries that were not applied yet, and updates position and
// mark, in one transaction. So any part of the ledger may be replayed. The error is Internal if
// positions do not ascend.
func (f *File) Apply(entries []pratique.Entry,
	fn func(tx *bbolt.Tx, fresh []pratique.Entry) error) error {
	const op = "apply facts"
	for i := 1; i < len(entries); i++ {
		if entries[i].Seq <= entries[i-1].Seq {
			return pratique.Errorf(pratique.Internal, op, "position %d follows %d", entries[i].Seq,
				entries[i-1].Seq)
		}
	}
	return f.Update(op, func(tx *bbolt.Tx) error {
		at, fresh := Position(tx), entries
		for len(fresh) > 0 && fresh[0].Seq <= at {
			fresh = fresh[1:]
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := fn(tx, fresh); err != nil {
			return err
		}
		last, meta := fresh[len(fresh)-1], tx.Bucket(bucketMeta)
		if err := meta.Put(keyMark, []byte(last.Mark)); err != nil {
			return err
		}
		return meta.Put(keyPosition, binary.BigEndian.AppendUint64(nil, last.Seq))
	})
}

// Missing returns the buckets that a file should have and does not.
func (s Schema) Missing(tx *bbolt.Tx) []string {
	var missing []string
	for _, name := range append([][]byte{bucketMeta}, s.Buckets...) {
		if tx.Bucket(name) == nil {
			missing = append(missing, string(name))
		}
	}
	return missing
}
