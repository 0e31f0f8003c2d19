//go:build goexperiment.jsonv2

package trivy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	trivydb "github.com/aquasecurity/trivy-db/pkg/db"
	bolt "go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// details is the bucket of a Trivy database with one entry for each vulnerability.
const details = "vulnerability"

// lockTimeout is how long to wait for a database that somebody is writing; nobody should be.
const lockTimeout = 2 * time.Second

// handle guards trivy-db's one, package-wide database handle.
type handle struct {
	temp string
	open scanner.DatabaseDir
	link string
}

// use makes db the open database. It is opened read-only, through a link of our own: when trivy-db meets a
// damaged file it deletes it, and that has to be the link and not a file that others use.
func (h *handle) use(db scanner.DatabaseDir) error {
	if h.link != "" && h.open.Dir == db.Dir && h.open.Digest == db.Digest {
		return nil
	}
	if err := h.close(); err != nil {
		return err
	}
	if db.Version != 0 && db.Version != trivydb.SchemaVersion {
		return pratique.Errorf(pratique.Invalid, "open database", "schema %d, want %d", db.Version, trivydb.SchemaVersion)
	}
	file, err := filepath.Abs(trivydb.Path(db.Dir))
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return pratique.Wrap(pratique.Unavailable, "open database", "", err)
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
		return errors.Join(pratique.Wrap(pratique.Corrupt, "open database", "", err), os.RemoveAll(dir))
	}
	h.open, h.link = db, dir
	if err := notEmpty(); err != nil {
		return errors.Join(pratique.Wrap(pratique.Corrupt, "open database", "", err), h.close())
	}
	return nil
}

// notEmpty refuses a file that is a database but holds no vulnerabilities: every image would pass.
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
