// Package boltfile makes and opens bbolt files, and has the keys and values that several of them
// share. What bbolt answers with a panic is an error here, and a power cut while a file is made
// leaves no file or a whole one, since bbolt cannot open half of one.
package boltfile

import (
	"encoding/hex"
	"encoding/json"
	"errors"
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
	// lockTimeout is how long another process may take to close a file.
	lockTimeout = 2 * time.Second
	// partSuffix is followed by the digits of [os.CreateTemp] in the name of a file that is not whole
	// yet.
	partSuffix = ".new-"
)

// Options are bbolt's, with those that all files here have. The free list is found again on opening,
// which spares a write of it in each commit.
func Options() *bbolt.Options {
	return &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
}

// Open opens a file. The error is Conflict if another process has it open, Corrupt if it is damaged or
// no bbolt file, NotFound if it is not there and o is for reading only, and Unavailable otherwise.
func Open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	defer Recover(&err)()
	db, err = bbolt.Open(path, 0o600, o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = pratique.Errorf(pratique.Conflict, "lock file", "another process has it open")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		err = Damaged("%w", err)
	case errors.Is(err, fs.ErrNotExist):
		err = pratique.Wrap(pratique.NotFound, "open file", "", err)
	case err != nil:
		err = pratique.Wrap(pratique.Unavailable, "open file", "", err)
	}
	return db, err
}

// Create creates a file, and its directory, unless it is there. Fill is the first transaction. The file is
// made under another name and gets its own when it is on the disk; one that another process has made
// meanwhile is not replaced.
func Create(path string, o *bbolt.Options, fill func(*bbolt.Tx) error) (err error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+partSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignore(os.Remove(part.Name()), fs.ErrNotExist)) }()
	if err := part.Close(); err != nil {
		return err
	}
	made := *o
	made.InitialMmapSize, made.NoSync = 0, false
	db, err := Open(part.Name(), &made)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		return err
	}
	if err := place(part.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// place gives the file its name. File systems without links have to do with a rename.
func place(part, path string) error {
	err := ignore(os.Link(part, path), fs.ErrExist)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		err = os.Rename(part, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Another process was faster, has opened the file, and has taken ours for something left over.
		_, err = os.Stat(path)
	}
	return err
}

// RemoveTemp removes what [Create] left where it was interrupted. Call it when the file is there and
// open: what another process is just making is of no use then.
func RemoveTemp(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		random, ours := strings.CutPrefix(e.Name(), filepath.Base(path)+partSuffix)
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

// Recover makes a panic, and the fault of reading past the end of a mapped file, an error of kind
// Corrupt. Defer what it returns.
func Recover(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = Damaged("%v", r)
		}
	}
}

// Damaged is the error about content that is not what it should be.
func Damaged(why string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "read file", why, args...)
}

// WithKind gives an error of a transaction its op, and the kind Unavailable if it has none: then the file
// could not be used.
func WithKind(op, path string, err error) error {
	if err != nil && pratique.KindOf(err) == pratique.Unknown {
		return pratique.Wrap(pratique.Unavailable, op, path, err)
	}
	return err
}

// GetJSON decodes the value of a key; found is false if there is none.
func GetJSON(b *bbolt.Bucket, key []byte, into any) (found bool, err error) {
	raw := b.Get(key)
	if raw == nil {
		return false, nil
	}
	return true, DecodeJSON(raw, into)
}

// DecodeJSON decodes a value; the error is Corrupt.
func DecodeJSON(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return Damaged("%w", err)
	}
	return nil
}

// PutJSON encodes the value of a key.
func PutJSON(b *bbolt.Bucket, key []byte, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return pratique.Wrap(pratique.Internal, "write file", "", err)
	}
	return b.Put(key, raw)
}

// DigestSize is the length of the key of a digest.
const DigestSize = 32

// DigestKey is a digest as a key, or at the start of one.
func DigestKey(d pratique.Digest) []byte {
	raw, _ := hex.DecodeString(d.Hex()) // what Hex writes always decodes
	return raw
}

// DigestFromKey returns the digest at the start of a key.
func DigestFromKey(raw []byte) pratique.Digest {
	return pratique.DigestFromSum([DigestSize]byte(raw[:DigestSize]))
}
