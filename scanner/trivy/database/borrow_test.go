package database

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestBorrow: others read the owner's newest database, and it stays as long as they do, whatever
// the owner does.
func TestBorrow(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	_, _, err := Borrow(cfg)
	wantKind(t, err, pratique.Unavailable)
	owner := open(t, cfg)
	next := func(i int) Generation {
		t.Helper()
		id := fmt.Sprintf("CVE-2026-000%d", i)
		if _, err := owner.Do(t.Context(),
			Request{File: write(t, id,
				good(t, id, today.Add(time.Duration(i)*time.Minute)))}); err != nil {
			t.Fatal(err)
		}
		return mustHold(t, owner, id)
	}
	first := next(0)
	borrowed, release, err := Borrow(cfg)
	if err != nil || borrowed != first {
		t.Fatalf("%+v, %v", borrowed, err)
	}
	again, releaseAgain, err := Borrow(cfg)
	if err != nil || again != first {
		t.Fatalf("%+v, %v", again, err)
	}
	releaseAgain()
	releaseAgain()
	next(1)
	next(2)
	next(3)
	if raw, err := os.ReadFile(filepath.Join(first.Dir, databaseFile)); err != nil ||
		pratique.DigestOf(raw) != first.Digest {
		t.Errorf("what was borrowed is gone: %v", err)
	}
	if n := generations(t, cfg.Dir); n != 3 {
		t.Errorf("%d generations", n)
	}
	release()
	newest := next(4)
	if _, err := os.Stat(first.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody has borrowed is still there: %v", err)
	}
	if n := generations(t, cfg.Dir); n != 2 {
		t.Errorf("%d generations", n)
	}
	// A damaged one is passed over, as the owner does.
	if err := os.WriteFile(filepath.Join(newest.Dir, databaseFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	borrowed, release, err = Borrow(cfg)
	if err != nil || borrowed.Digest == newest.Digest {
		t.Errorf("%+v, %v", borrowed, err)
	}
	release()
}

// TestBorrowWhilePruning: many borrow while the owner replaces and removes; each gets a whole one.
func TestBorrowWhilePruning(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	owner := open(t, cfg)
	var files []Request
	for i := range 12 {
		id := fmt.Sprintf("CVE-2026-00%02d", i)
		files = append(files,
			Request{File: write(t, id, good(t, id, today.Add(time.Duration(i)*time.Minute)))})
	}
	if _, err := owner.Do(t.Context(), files[0]); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			for {
				select {
				case <-stop:
					results <- nil
					return
				default:
				}
				g, release, err := Borrow(cfg)
				if err == nil {
					var raw []byte
					if raw, err = os.ReadFile(filepath.Join(g.Dir, databaseFile)); err == nil &&
						pratique.DigestOf(raw) != g.Digest {
						err = errors.New("another database than its digest says")
					}
					release()
				}
				if err != nil {
					results <- err
					return
				}
			}
		}()
	}
	for _, w := range files[1:] {
		if _, err := owner.Do(t.Context(), w); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
