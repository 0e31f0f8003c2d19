//go:build goexperiment.jsonv2

package trivy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique/scanner"
)

// details is the bucket with an entry for each vulnerability.
const details = "vulnerability"

// lockTimeout bounds the wait for a database that is being written, which should not happen.
const lockTimeout = 2 * time.Second

// handle guards the database handle of trivy-db, which is a package variable.
type handle struct {
	temp string
	open scanner.DatabaseDir
	link string
}

// use opens db, unless it is open. After an error no database is open.
func (h *handle) use(db scanner.DatabaseDir) error {
	if h.link != "" && h.open.Dir == db.Dir && h.open.Digest == db.Digest {
		return nil
	}
	if err := h.close(); err != nil {
		return err
	}
	if db.Version != 0 && db.Version != trivydb.SchemaVersion {
		return fmt.Errorf("database of schema %d, want %d", db.Version, trivydb.SchemaVersion)
	}
	err := recoverPanic(func() error { return h.init(db) })
	if err == nil {
		// Separately, because trivy-db turns panics on faults off when it has opened a database.
		err = recoverPanic(notEmpty)
	}
	if err != nil {
		return errors.Join(err, h.close())
	}
	return nil
}

// init opens db read-only, through a symbolic link of ours: trivy-db deletes a damaged file, which
// must not be a file that others use.
func (h *handle) init(db scanner.DatabaseDir) error {
	file, err := filepath.Abs(trivydb.Path(db.Dir))
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(h.temp, "db-")
	if err != nil {
		return err
	}
	if err := os.Symlink(file, trivydb.Path(dir)); err != nil {
		return err
	}
	options := &bolt.Options{ReadOnly: true, Timeout: lockTimeout}
	if err := trivydb.Init(dir, trivydb.WithBoltOptions(options)); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	h.open, h.link = db, dir
	return nil
}

// recoverPanic turns a panic of f into an error. bbolt panics on a damaged database, and reading
// one that is truncated while it is open faults.
func recoverPanic(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// notEmpty refuses a database without vulnerabilities: every image would pass.
func notEmpty() error {
	return trivydb.Config{}.Connection().View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(details))
		if b == nil {
			return fmt.Errorf("no bucket %q: this is not a Trivy database", details)
		}
		if k, _ := b.Cursor().First(); k == nil {
			return fmt.Errorf("bucket %q is empty", details)
		}
		return nil
	})
}

func (h *handle) close() error {
	if h.link == "" {
		return nil
	}
	err := errors.Join(trivydb.Close(), os.RemoveAll(h.link))
	h.open, h.link = scanner.DatabaseDir{}, ""
	return err
}
