// Package boltfile creates and opens bbolt files, and encodes keys and values that several of them
// share. Panics of bbolt become errors. A power cut while a file is created leaves no file or a
// whole one, since bbolt cannot open part of one.
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
	// tempSuffix precedes the digits of [os.CreateTemp] in the name of a file that is being created.
	tempSuffix = ".new-"
)

// Options returns the options that all files have. The free list is computed on opening, and not
// written in each commit.
func Options() *bbolt.Options {
	return &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
}

// Open opens a file. The error is Conflict if another process has it open, Corrupt if it is damaged
// or no bbolt file, NotFound if it does not exist and o is read-only, and Unavailable otherwise.
func Open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	defer Recover(&err)()
	db, err = bbolt.Open(path, 0o600, o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = pratique.Errorf(pratique.Conflict, "lock file", "another process has it open")
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err,
		bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		err = Damaged("%w", err)
	case errors.Is(err, fs.ErrNotExist):
		err = pratique.Wrap(pratique.NotFound, "open file", "", err)
	case err != nil:
		err = pratique.Wrap(pratique.Unavailable, "open file", "", err)
	}
	return db, err
}

// Create creates a file, and its directory, unless it exists. Fill is the first transaction. The
// file gets its name once it is on the disk, and does not replace one that another process created
// meanwhile.
func Create(path string, o *bbolt.Options, fill func(*bbolt.Tx) error) (err error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+tempSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignore(os.Remove(temp.Name()), fs.ErrNotExist)) }()
	if err := temp.Close(); err != nil {
		return err
	}
	made := *o
	made.InitialMmapSize, made.NoSync = 0, false
	db, err := Open(temp.Name(), &made)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// place gives the file its name, by a rename on file systems without links.
func place(temp, path string) error {
	err := ignore(os.Link(temp, path), fs.ErrExist)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		err = os.Rename(temp, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Another process was faster, and has removed ours as a leftover.
		_, err = os.Stat(path)
	}
	return err
}

// RemoveTemp removes what an interrupted [Create] left. Call it when the file is open: then another
// process has no use for its own.
func RemoveTemp(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		random, ours := strings.CutPrefix(e.Name(), filepath.Base(path)+tempSuffix)
		if ours && e.Type().IsRegular() && random != "" && strings.Trim(random, "0123456789") == "" {
			err = errors.Join(err, ignore(os.Remove(filepath.Join(dir, e.Name())), fs.ErrNotExist))
		}
	}
	return err
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// Recover turns a panic, and a fault of reading past the end of a mapped file, into an error of kind
// Corrupt. Defer the function that it returns.
func Recover(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = Damaged("%v", r)
		}
	}
}

// Damaged returns the error for damaged content.
func Damaged(why string, args ...any) error {
	return pratique.Errorf(pratique.Corrupt, "read file", why, args...)
}

// WithKind gives an error of a transaction that has no kind an op and the kind Unavailable: the
// file could not be used.
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
