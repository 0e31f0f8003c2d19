package dircache_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique/internal/dircache"
	"github.com/pratique-dev/pratique/internal/dirlock"
)

// open opens a cache of ten bytes, whose files are called KEY.REST. It records the keys of deleted
// files.
func open(t *testing.T, dir string, removed *[]string) *dircache.Dir[int] {
	t.Helper()
	d, err := dircache.Open(dir, dircache.Options[int]{
		MaxBytes: 10,
		Key: func(file string) (string, bool) {
			key, _, ok := strings.Cut(file, ".")
			return key, ok
		},
		Value:   func(key string) int { return len(key) },
		Removed: func(key string) { *removed = append(*removed, key) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func put(t *testing.T, d *dircache.Dir[int], name, content string) error {
	t.Helper()
	n := int64(len(content))
	if err := d.Reserve(n); err != nil {
		return err
	}
	temp := filepath.Join(d.TempDir(), name)
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := d.Commit(temp, name, n, n, 7)
	if err != nil {
		t.Fatal(err)
	}
	p.Release()
	return nil
}

func has(d *dircache.Dir[int], key string) bool {
	p, ok := d.Pin(key)
	p.Release()
	return ok
}

func TestEviction(t *testing.T) {
	dir := t.TempDir()
	var removed []string
	d := open(t, dir, &removed)
	if _, err := dircache.Open(dir, dircache.Options[int]{}); !errors.Is(err, dirlock.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	for _, name := range []string{"a.1", "b.1", "c.1"} {
		if err := put(t, d, name, "xxx"); err != nil {
			t.Fatal(err)
		}
	}
	pinned, ok := d.Pin("a")
	if !ok || pinned.Value != 7 || pinned.Path != filepath.Join(dir, "a.1") {
		t.Errorf("pinned %+v, %v", pinned, ok)
	}
	if err := put(t, d, "d.1", "xxxx"); err != nil { // b is the oldest that nobody uses
		t.Error(err)
	}
	if got := strings.Join(removed, " "); got != "b" || has(d, "b") || !has(d, "c") {
		t.Errorf("evicted %q", got)
	}
	if err := put(t, d, "e.1", "xxxxxxxx"); !errors.Is(err, dircache.ErrFull) {
		t.Errorf("beside a file in use: %v", err)
	}
	pinned.Release()
	pinned.Release() // may be called again
	if err := put(t, d, "f.1", strings.Repeat("x", 11)); !errors.Is(err,
		dircache.ErrFull) || !has(d, "a") {
		t.Errorf("larger than the cache: %v", err)
	}
	if err := put(t, d, "e.1", "xxxxxxxx"); err != nil {
		t.Error(err)
	}
	if files, inUse, bytes := d.Stats(); files != 1 || inUse != 0 || bytes != 8 {
		t.Errorf("%d files, %d in use, %d bytes", files, inUse, bytes)
	}
}

// TestSecondFile: the first file of a key stays, and a damaged one can be replaced.
func TestSecondFile(t *testing.T) {
	var removed []string
	d := open(t, t.TempDir(), &removed)
	for _, name := range []string{"a.1", "a.2"} {
		if err := put(t, d, name, "xxx"); err != nil {
			t.Fatal(err)
		}
	}
	p, _ := d.Pin("a")
	if _, _, bytes := d.Stats(); filepath.Base(p.Path) != "a.1" || bytes != 3 {
		t.Errorf("%s, %d bytes", p.Path, bytes)
	}
	for range 2 { // the second time it is gone already
		if err := d.Drop(p); err != nil {
			t.Error(err)
		}
	}
	if err := put(t, d, "a.2", "xx"); err != nil {
		t.Error(err)
	}
	p.Release()
	if files, inUse, bytes := d.Stats(); files != 1 || inUse != 0 || bytes != 2 {
		t.Errorf("%d files, %d in use, %d bytes", files, inUse, bytes)
	}
}

// TestRestart finds what an earlier process left, in the order of use.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, age time.Duration) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700),
			os.WriteFile(filepath.Join(dir, name), []byte("xxxx"), 0o600),
			os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Now().Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	write("new.1", 0)
	write("old.1", 3*time.Hour)
	write("twice.1", 2*time.Hour)
	write("twice.2", time.Hour)
	write("foreign", 9*time.Hour)
	write("tmp/half", 0)
	var removed []string
	d := open(t, dir, &removed)
	if got := strings.Join(removed, " "); got != "twice old" {
		t.Errorf("removed %q", got)
	}
	p, ok := d.Pin("twice")
	defer p.Release()
	if !ok || filepath.Base(p.Path) != "twice.2" || p.Value != len("twice") {
		t.Errorf("%+v", p)
	}
	items, err := os.ReadDir(d.TempDir())
	if err != nil || len(items) > 0 {
		t.Errorf("left %v, %v", items, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "foreign")); err != nil {
		t.Error(err)
	}
}
