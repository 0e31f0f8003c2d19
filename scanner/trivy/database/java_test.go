package database

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/testenv/registry"
	"github.com/pratique-dev/pratique/internal/testenv/vulndb"
)

// TestJava keeps a Java database by the same code.
func TestJava(t *testing.T) {
	t.Parallel()
	server, err := registry.Start(t.Context(), registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	made := func(at time.Time, jars ...vulndb.Jar) string {
		t.Helper()
		dir := t.TempDir()
		if err := vulndb.WriteJava(dir, at, at.Add(72*time.Hour), jars...); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	lib := vulndb.Jar{Group: "org.example", Artifact: "lib", Version: "1", Content: []byte("jar")}
	other := vulndb.Jar{Group: "org.example", Artifact: "other", Version: "1",
		Content: []byte("another jar")}
	dir := made(today, lib)
	ref := server.Host() + "/aqua/trivy-java-db"
	if err := vulndb.PushJava(t.Context(), dir, ref+":1"); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Kind: Java(), Sources: []string{ref}})
	if changed, err := s.Update(t.Context()); err != nil || !changed {
		t.Fatal(changed, err)
	}
	g, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(g.Dir, "trivy-java.db"))
	if err != nil || pratique.DigestOf(raw) != g.Digest || g.Version != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.cfg)
	if again, err := s.Current(); err != nil || again.Digest != g.Digest {
		t.Errorf("after a restart %+v, %v", again, err)
	}
	// The other kind is refused, and so is a file that is no database or has no jars in it.
	_, err = open(t, Config{Sources: []string{ref + ":1"}}).Update(t.Context())
	wantKind(t, err, pratique.Corrupt)
	_, err = s.Do(t.Context(), Request{File: write(t, "db.tar.gz", good(t, "CVE-2026-0001", today))})
	wantKind(t, err, pratique.Invalid)
	_, err = s.Do(t.Context(), Request{File: made(today)})
	wantKind(t, err, pratique.Invalid)
	if err := os.WriteFile(filepath.Join(dir, "trivy-java.db"), raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Do(t.Context(), Request{File: dir})
	wantKind(t, err, pratique.Invalid)
	if a, err := s.Do(t.Context(),
		Request{File: made(today.Add(time.Minute), lib, other)}); err != nil || !a.Changed {
		t.Errorf("import: %+v, %v", a, err)
	}
	// Looking into a database leaves nothing beside it.
	if g, err = s.Current(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(g.Dir, "*")); len(left) != 3 {
		t.Errorf("the generation has %v", left)
	}
}
