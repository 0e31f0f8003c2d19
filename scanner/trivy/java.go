//go:build goexperiment.jsonv2

package trivy

import (
	"errors"
	"os"
	"path/filepath"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	trivyjava "github.com/aquasecurity/trivy/pkg/javadb"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

var _ scanner.JavaUser = (*Scanner)(nil)

// UseJava implements [scanner.JavaUser]. It drops analyses that were made with another Java
// database. The error is Unavailable if the database is missing.
func (s *Scanner) UseJava(db scanner.DatabaseDir) error {
	const op = "use Java database"
	s.mu.Lock()
	defer s.mu.Unlock()
	if db.Dir == s.java.Dir && db.Digest == s.java.Digest {
		return nil
	}
	cache := s.temp // where New put the empty one
	if db.Dir != "" {
		var err error
		if cache, err = os.MkdirTemp(s.temp, "java-"); err == nil {
			_, statErr := os.Stat(filepath.Join(db.Dir, "metadata.json"))
			err = errors.Join(statErr, os.Symlink(db.Dir, filepath.Join(cache, "java-db")))
		}
		if err != nil {
			return pratique.Wrap(pratique.Unavailable, op, db.Dir, err)
		}
	}
	const skipUpdate, quiet = true, true
	trivyjava.Init(cache, nil, skipUpdate, quiet, ftypes.RegistryOptions{})
	s.layers, s.java = newLayerCache(), db
	return nil
}
