package projection_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/projection"
)

var bucketSeen = []byte("seen")

func schemaOf(version int) projection.Schema {
	return projection.Schema{Name: "test", Version: version, Buckets: [][]byte{bucketSeen}}
}

func openFile(t *testing.T, path string) *projection.File {
	t.Helper()
	f, err := projection.OpenFile(path, schemaOf(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // closing twice does nothing
	return f
}

func entriesOf(seqs ...uint64) []pratique.Entry {
	var all []pratique.Entry
	for _, seq := range seqs {
		all = append(all, pratique.Entry{Seq: seq, Mark: strings.Repeat("x", int(seq))})
	}
	return all
}

// TestFileAppliesOnce: whatever part of the ledger comes again, each entry is applied once; and one
// that fails takes those with it back.
func TestFileAppliesOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "test.db")
	f := openFile(t, path)
	var seen []uint64
	apply := func(seqs ...uint64) error {
		return f.Apply(entriesOf(seqs...), func(tx *bbolt.Tx, fresh []pratique.Entry) error {
			for _, e := range fresh {
				seen = append(seen, e.Seq)
				if err := tx.Bucket(bucketSeen).Put([]byte{byte(e.Seq)}, nil); err != nil {
					return err
				}
			}
			if fresh[len(fresh)-1].Seq == 6 {
				return errors.New("not this one")
			}
			return nil
		})
	}
	wantAt := func(want uint64) {
		t.Helper()
		seq, mark, err := f.At()
		if err != nil || seq != want || len(mark) != int(want) {
			t.Errorf("at %d %q, %v, want %d", seq, mark, err, want)
		}
	}
	wantAt(0)
	for _, seqs := range [][]uint64{{1, 2}, {1, 2}, {2, 3}, {}, {1}} {
		if err := apply(seqs...); err != nil {
			t.Errorf("%v: %v", seqs, err)
		}
	}
	wantAt(3)
	if err := apply(5, 4); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("positions that do not ascend: %v", err)
	}
	if err := apply(4, 6); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("one that fails: %v", err)
	}
	wantAt(3)
	if want := []uint64{1, 2, 3, 4, 6}; !slices.Equal(seen, want) {
		t.Errorf("applied %v, want %v", seen, want)
	}
	if err := f.View("count", func(tx *bbolt.Tx) error {
		if n := tx.Bucket(bucketSeen).Stats().KeyN; n != 3 {
			t.Errorf("%d entries count", n)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openFile(t, path)
	wantAt(3)
	if err := f.Reset(); err != nil {
		t.Fatal(err)
	}
	wantAt(0)
}

func TestFileOfAnotherKind(t *testing.T) {
	t.Parallel()
	const advice = "run `pratique projections rebuild test`"
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		other bool
	}{
		"another version": {func(t *testing.T, path string) {
			f, err := projection.OpenFile(path, schemaOf(1))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}, true},
		"something else of bbolt": {func(t *testing.T, path string) {
			db, err := bbolt.Open(path, 0o600, nil)
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}, true},
		"a bucket is missing": {func(t *testing.T, path string) {
			f := openFile(t, path)
			if err := errors.Join(f.Update("spoil", func(tx *bbolt.Tx) error {
				return tx.DeleteBucket(bucketSeen)
			}), f.Close()); err != nil {
				t.Fatal(err)
			}
		}, false},
		"text": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 3000)),
				0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		path := filepath.Join(t.TempDir(), "test.db")
		c.spoil(t, path)
		_, err := projection.OpenFile(path, schemaOf(2))
		var other *projection.SchemaError
		if pratique.KindOf(err) != pratique.Corrupt || errors.As(err, &other) != c.other ||
			strings.Count(err.Error(), advice) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		if err := projection.RemoveFile(path, schemaOf(2)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		openFile(t, path)
	}
}

func TestRemoveFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	if err := projection.RemoveFile(path, schemaOf(2)); err != nil {
		t.Errorf("there is none: %v", err)
	}
	f := openFile(t, path)
	if err := projection.RemoveFile(path, schemaOf(2)); pratique.KindOf(err) != pratique.Conflict {
		t.Errorf("it is open: %v", err)
	}
	if err := errors.Join(f.Close(), projection.RemoveFile(path, schemaOf(2))); err != nil {
		t.Error(err)
	}
	if _, err := projection.OpenFileToRead(path, schemaOf(2)); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("it is removed: %v", err)
	}
}
