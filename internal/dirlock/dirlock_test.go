package dirlock

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("taken twice: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, err = Lock(dir); err != nil {
		t.Fatalf("given back, and not to be had: %v", err)
	}
	if _, err := Lock(filepath.Join(dir, "lock", "c")); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("below a file: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}
