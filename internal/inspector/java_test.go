package inspector

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// UseJava refuses every database, and says which it was.
func (fake) UseJava(db scanner.DatabaseDir) error {
	if db.Dir == "" {
		return nil
	}
	return pratique.Errorf(pratique.Unavailable, "use Java database", "%s", db.Dir)
}

// TestJavaReachesWarmChildren: a child that is running hears of a new Java database with the next
// image, and that there is none any more.
func TestJavaReachesWarmChildren(t *testing.T) {
	var current scanner.DatabaseDir
	var missing error
	p := startPool(t, Config{Java: func() (scanner.DatabaseDir, error) { return current, missing }})
	for _, name := range []string{"first", "second"} {
		current = scanner.DatabaseDir{Dir: filepath.Join(t.TempDir(), name),
			Database: pratique.Database{Digest: pratique.DigestOf([]byte(name))}}
		_, err := p.Inspect(t.Context(), imageThat(t, "behave"))
		if pratique.KindOf(err) != pratique.Unavailable || !strings.Contains(err.Error(), current.Dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing = pratique.Errorf(pratique.Unavailable, "open Java database", "there is none yet")
	if _, err := p.Inspect(t.Context(), imageThat(t, "behave")); err == nil ||
		!strings.Contains(err.Error(), "none yet") {
		t.Errorf("without the database that is wanted: %v", err)
	}
	without := startPool(t, Config{})
	checkInspect(t, without)
}
