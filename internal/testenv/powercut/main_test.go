package powercut_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/pratique-dev/pratique/internal/testenv/powercut"
)

func TestMain(m *testing.M) {
	powercut.Serve()
	if path := os.Getenv(checkPath); path != "" {
		checkAndExit(path)
	}
	os.Exit(m.Run())
}

// mount returns a disk and where it is; a machine without FUSE skips the test.
func mount(t testing.TB) (*powercut.Disk, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := powercut.Mount(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, dir
}

func chance(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// reboot cuts the power and restores it.
func reboot(t testing.TB, d *powercut.Disk, seed int) {
	t.Helper()
	d.Cut(chance(seed))
	if err := d.Restore(); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// open opens a file for reading and writing with these flags, and closes it at the end.
func open(t testing.TB, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|flags, 0o600)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t testing.TB, f *os.File, text string, at int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(text), at)
	must(t, err)
}

// read returns what a file holds, "-" if there is none.
func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	must(t, err)
	return string(b)
}

func syncDir(t testing.TB, name string) {
	t.Helper()
	d, err := os.Open(name)
	must(t, err)
	must(t, d.Sync(), d.Close())
}
