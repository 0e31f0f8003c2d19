package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

var bucket = []byte("b")

func make1(tx *bbolt.Tx) error {
	b, err := tx.CreateBucket(bucket)
	if err != nil {
		return err
	}
	return b.Put([]byte("k"), []byte("first"))
}

// TestMakeOnce makes one file from several goroutines: all succeed, and there is one whole file.
func TestMakeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "one")
	path := filepath.Join(dir, "x.db")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := Create(path, Options(), make1); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	db, err := Open(path, Options())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		if got := string(tx.Bucket(bucket).Get([]byte("k"))); got != "first" {
			t.Errorf("it holds %q", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// TestMakeFails leaves nothing behind.
func TestMakeFails(t *testing.T) {
	t.Parallel()
	dir, stop := t.TempDir(), errors.New("stop")
	err := Create(filepath.Join(dir, "x.db"), Options(), func(*bbolt.Tx) error { return stop })
	if files, _ := os.ReadDir(dir); !errors.Is(err, stop) || len(files) != 0 {
		t.Errorf("%v, %v", err, files)
	}
}

// TestPlace loses its part to another process that made the file first.
func TestPlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if err := place(path+".new-1", path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("neither part nor file: %v", err)
	}
	for name, content := range map[string]string{path: "whole", path + ".new-2": "part"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{".new-1", ".new-2"} {
		if err := place(path+part, path); err != nil {
			t.Errorf("the file is there: %v", err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRemoveParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := []string{"other.db.new-1", "x.db", "x.db.new", "x.db.new-", "x.db.new-12a"}
	for _, name := range append([]string{"x.db.new-1", "x.db.new-0123456789"}, kept...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTemp(filepath.Join(dir, "x.db")); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, kept) {
		t.Errorf("left are %q, want %q", left, kept)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole, text, cut := filepath.Join(dir, "whole.db"), filepath.Join(dir, "text.db"),
		filepath.Join(dir, "cut.db")
	for _, path := range []string{whole, cut} {
		if err := Create(path, Options(), make1); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(text, []byte(strings.Repeat("no database ", 3000)), 0o600),
		os.Truncate(cut, 100)); err != nil {
		t.Fatal(err)
	}
	held, err := Open(whole, Options())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	atOnce, toRead := Options(), Options()
	atOnce.Timeout = time.Millisecond
	toRead.ReadOnly, toRead.Timeout = true, time.Millisecond
	for _, test := range []struct {
		path    string
		options *bbolt.Options
		kind    pratique.Kind
	}{
		{whole, atOnce, pratique.Conflict},
		{whole, toRead, pratique.Conflict},
		{text, Options(), pratique.Corrupt},
		{cut, Options(), pratique.Corrupt},
		{filepath.Join(dir, "none.db"), toRead, pratique.NotFound},
		{filepath.Join(whole, "below"), Options(), pratique.Unavailable},
	} {
		if _, err := Open(test.path, test.options); pratique.KindOf(err) != test.kind {
			t.Errorf("%s: %v, want %s", test.path, err, test.kind)
		}
	}
}

func TestRecover(t *testing.T) {
	t.Parallel()
	err := func() (err error) {
		defer Recover(&err)()
		panic("page 7 is of no kind")
	}()
	if pratique.KindOf(err) != pratique.Corrupt || !strings.Contains(err.Error(), "page 7") {
		t.Error(err)
	}
}

func TestKinded(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]pratique.Kind{
		errors.New("x"):                       pratique.Unavailable,
		Damaged("x"):                          pratique.Corrupt,
		fmt.Errorf("above: %w", Damaged("x")): pratique.Corrupt,
	} {
		if got := pratique.KindOf(WithKind("read", "", err)); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	if err := WithKind("read", "", nil); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if err := Create(path, Options(), make1); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path, Options())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d := pratique.DigestOf([]byte("x"))
	if key := DigestKey(d); len(key) != DigestSize || DigestFromKey(append(key, "more"...)) != d {
		t.Errorf("%s as a key is %x", d, key)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if err := PutJSON(b, DigestKey(d), d); err != nil {
			return err
		}
		var got pratique.Digest
		if found, err := GetJSON(b, DigestKey(d), &got); !found || err != nil || got != d {
			t.Errorf("%s, %t, %v", got, found, err)
		}
		if found, err := GetJSON(b, []byte("none"), &got); found || err != nil {
			t.Errorf("%t, %v", found, err)
		}
		if found, err := GetJSON(b, []byte("k"), &got); !found ||
			pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%t, %v", found, err)
		}
		if err := PutJSON(b, []byte("k"), func() {}); pratique.KindOf(err) != pratique.Internal {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
