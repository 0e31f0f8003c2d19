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

// UseJava implements [scanner.JavaUser]. What was found in layers with another Java database is forgotten. The
// error is Unavailable: the database is not there.
func (s *Scanner) UseJava(db scanner.DatabaseDir) error {
	const op = "use Java database"
	s.mu.Lock()
	defer s.mu.Unlock()
	if db.Dir == s.java.Dir && db.Digest == s.java.Digest {
		return nil
	}
	cache := s.temp // where New left the one that is used otherwise
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
