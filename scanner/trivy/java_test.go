//go:build goexperiment.jsonv2

package trivy

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/inspector/imagetest"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
	"github.com/pratique-dev/pratique/scanner"
)

// TestJavaDatabase: a jar that says nothing of itself is known by its SHA-1, from the image on that
// is analyzed after the database has come, and no longer when it is gone.
func TestJavaDatabase(t *testing.T) {
	content := jar(t, map[string]string{"org/example/A.class": "x"})
	img := imagetest.Build(t, imagetest.Files{"app/quiet.jar": content})
	use := func(db scanner.DatabaseDir) []string {
		t.Helper()
		if err := shared.UseJava(db); err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, l := range analyze(t, img).Lists {
			for _, p := range l.Packages {
				found = append(found, p.Name+" "+p.Version)
			}
		}
		return found
	}
	database := func(jars ...vulndb.Jar) scanner.DatabaseDir {
		t.Helper()
		dir := t.TempDir()
		now := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
		if err := vulndb.WriteJava(dir, now, now, jars...); err != nil {
			t.Fatal(err)
		}
		return scanner.DatabaseDir{Dir: dir,
			Database: pratique.Database{Digest: pratique.DigestOf([]byte(dir))}}
	}
	t.Cleanup(func() { _ = shared.UseJava(scanner.DatabaseDir{}) })
	if got := use(scanner.DatabaseDir{}); len(got) != 0 {
		t.Errorf("without a database: %v", got)
	}
	first := database(vulndb.Jar{Group: "org.example", Artifact: "quiet", Version: "1.0",
		Content: []byte(content)})
	if got := use(first); !slices.Equal(got, []string{"org.example:quiet 1.0"}) {
		t.Errorf("with it: %v", got)
	}
	second := database(vulndb.Jar{Group: "org.example", Artifact: "renamed", Version: "2.0",
		Content: []byte(content)})
	if got := use(second); !slices.Equal(got, []string{"org.example:renamed 2.0"}) {
		t.Errorf("with a new one: %v", got)
	}
	if got := use(scanner.DatabaseDir{}); len(got) != 0 {
		t.Errorf("without it again: %v", got)
	}
	err := shared.UseJava(scanner.DatabaseDir{Dir: filepath.Join(t.TempDir(), "none")})
	if pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("error %v", err)
	}
}
