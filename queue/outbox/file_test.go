package outbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	write := func(change func(*bbolt.Tx) error) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(change), db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []struct {
		name  string
		make  func(t *testing.T, path string)
		kind  pratique.Kind
		words string
	}{
		{"open already", func(t *testing.T, path string) {
			open(t, Config{File: path})
		}, pratique.Conflict, "another process"},
		{"of another format", func(t *testing.T, path string) {
			if err := open(t, Config{File: path}).Close(); err != nil {
				t.Fatal(err)
			}
			write(func(tx *bbolt.Tx) error {
				return tx.Bucket(bucketMeta).Put(keyFormat, []byte("pratique outbox 9"))
			})(t, path)
		}, pratique.Corrupt, "pratique outbox 9"},
		{"without a bucket", func(t *testing.T, path string) {
			if err := open(t, Config{File: path}).Close(); err != nil {
				t.Fatal(err)
			}
			write(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketTags) })(t, path)
		}, pratique.Corrupt, "no bucket tags"},
		{"something else of bbolt", write(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("records"))
			return err
		}), pratique.Corrupt, "not an outbox"},
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 3000)),
				0o600); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt, "move the file away"},
		{"empty", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt, "empty"},
		{"cut off", func(t *testing.T, path string) {
			fillFile(t, path)
			if err := os.Truncate(path, 64<<10); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt, "truncated"},
		{"with pages of zeros", func(t *testing.T, path string) {
			fillFile(t, path)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(make([]byte, 400<<10), 2*pageSize)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt, "move the file away"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, pratique.Corrupt, "move the file away"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "outbox.db")
			c.make(t, path)
			_, err := Open(Config{File: path})
			wantKind(t, err, c.kind)
			if !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %q, want %q in it", err, c.words)
			}
		})
	}
}

func fillFile(t *testing.T, path string) {
	t.Helper()
	o := open(t, Config{File: path, MaxBytes: 400 << 10, noSync: true})
	if _, err := fill(t, o, "app"); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFileIsMadeOnce opens one new file from several goroutines: one has it, and it is whole.
func TestFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "outbox.db")
	type opened struct {
		o   *Outbox
		err error
	}
	all := make(chan opened)
	for range 4 {
		go func() {
			o, err := Open(Config{File: path})
			all <- opened{o, err}
		}()
	}
	got := 0
	for range 4 {
		switch one := <-all; {
		case one.err == nil:
			got++
			publish(t, one.o, 1, tagged("app:v1", "A"))
			defer one.o.Close()
		default:
			wantKind(t, one.err, pratique.Conflict)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || got != 1 {
		t.Errorf("%d opened it, %v, %v", got, files, err)
	}
}

func TestWhatAnInterruptedStartLeftIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox.db")
	kept := []string{"outbox.db", "outbox.db.new", "outbox.db.new-", "outbox.db.new-12a",
		"outbox.db.new-7.bak", "other.db.new-1", "xoutbox.db.new-1"}
	for _, name := range append([]string{"outbox.db.new-1", "outbox.db.new-0123456789"}, kept[1:]...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("part"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	directory := "outbox.db.new-55"
	if err := os.Mkdir(filepath.Join(dir, directory), 0o700); err != nil {
		t.Fatal(err)
	}
	var reported errorLog
	publish(t, open(t, Config{File: path, OnError: reported.add}), 1, tagged("app:v1", "A"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := slices.Sorted(slices.Values(append(kept, directory)))
	if !slices.Equal(left, want) || len(reported.all()) != 0 {
		t.Errorf("left are %q, want %q; reported %q", left, want, reported.all())
	}
}
