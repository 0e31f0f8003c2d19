package powercut_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pratique-dev/pratique/internal/testenv/powercut"
)

// outcomes does the same on a fresh directory of one disk for many seeds, cuts the power, and
// returns what state says of the directory afterwards, with how often it said it.
func outcomes(t *testing.T, do func(dir string), state func(dir string) string) map[string]int {
	t.Helper()
	d, root := mount(t)
	all := map[string]int{}
	for seed := range 60 {
		dir := filepath.Join(root, fmt.Sprint(seed))
		must(t, os.Mkdir(dir, 0o700))
		syncDir(t, root)
		do(dir)
		reboot(t, d, seed)
		all[state(dir)]++
	}
	return all
}

func wantOutcomes(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("never: %q", w)
		}
	}
	for g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("came to be: %.100q", g)
		}
	}
}

func TestUnsyncedWriteIsKeptOrLost(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, "old", 0)
		must(t, f.Sync())
		write(t, f, "new", 0)
	}, func(dir string) string { return read(t, dir+"/f") })
	wantOutcomes(t, got, "old", "new")
}

func TestUnsyncedAppendMayLeaveZeros(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, "a", 0)
		must(t, f.Sync())
		write(t, f, "b", 1)
	}, func(dir string) string { return read(t, dir+"/f") })
	wantOutcomes(t, got, "a", "ab", "a\x00")
}

func TestUnsyncedWritesAreIndependent(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, "--", 0)
		must(t, f.Sync())
		write(t, f, "1", 0)
		write(t, f, "2", 1)
	}, func(dir string) string { return read(t, dir+"/f") })
	wantOutcomes(t, got, "--", "1-", "-2", "12")
}

func TestTornWrite(t *testing.T) {
	t.Parallel()
	const size = 4 * 512
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, strings.Repeat("-", size+100), 0)
		must(t, f.Sync())
		write(t, f, strings.Repeat("x", size), 100)
	}, func(dir string) string {
		// The lengths of the runs of the same byte.
		var runs []string
		for b := read(t, dir+"/f"); b != ""; {
			n := len(b) - len(strings.TrimLeft(b, b[:1]))
			runs = append(runs, fmt.Sprint(b[:1], n))
			b = b[n:]
		}
		return strings.Join(runs, " ")
	})
	want := []string{"-2148", "-100 x2048"}
	for at := 512; at < size+100; at += 512 {
		want = append(want, fmt.Sprintf("-100 x%d -%d", at-100, size+100-at),
			fmt.Sprintf("-%d x%d", at, size+100-at))
	}
	for g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("not torn at a sector: %s", g)
		}
	}
	if len(got) < 6 {
		t.Errorf("60 seeds tear in %d ways only: %v", len(got), got)
	}
}

// What was synced by any means is there for every seed.
func TestSyncedIsKept(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(t *testing.T, name string){
		"fsync": func(t *testing.T, name string) {
			f := open(t, name, os.O_CREATE)
			write(t, f, "x", 0)
			write(t, f, "safe", 0)
			must(t, f.Sync())
		},
		"fdatasync": func(t *testing.T, name string) {
			f := open(t, name, os.O_CREATE)
			write(t, f, "safe", 0)
			must(t, unix.Fdatasync(int(f.Fd())))
		},
		"through another file": func(t *testing.T, name string) {
			write(t, open(t, name, os.O_CREATE), "safe", 0)
			must(t, open(t, name, 0).Sync())
		},
		"O_SYNC": func(t *testing.T, name string) {
			write(t, open(t, name, os.O_CREATE|os.O_SYNC), "safe", 0)
		},
		"O_DSYNC": func(t *testing.T, name string) {
			write(t, open(t, name, os.O_CREATE|unix.O_DSYNC), "safe", 0)
		},
		"truncated": func(t *testing.T, name string) {
			f := open(t, name, os.O_CREATE)
			write(t, f, "safe and more", 0)
			must(t, f.Sync(), f.Truncate(4), f.Sync())
		},
		"renamed, with its directory": func(t *testing.T, name string) {
			f := open(t, name+".tmp", os.O_CREATE)
			write(t, f, "safe", 0)
			must(t, f.Sync(), os.Rename(name+".tmp", name))
			syncDir(t, filepath.Dir(name))
		},
		"made in new directories": func(t *testing.T, name string) {
			must(t, os.MkdirAll(name+".d/e", 0o700))
			f := open(t, name+".d/e/f", os.O_CREATE)
			write(t, f, "safe", 0)
			must(t, f.Sync(), os.Rename(name+".d/e/f", name))
			syncDir(t, filepath.Dir(name))
		},
		"by a mapping": func(t *testing.T, name string) {
			f := open(t, name, os.O_CREATE)
			must(t, f.Truncate(4))
			m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			must(t, err)
			copy(m, "safe")
			must(t, unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := outcomes(t, func(dir string) {
				do(t, dir+"/f")
			}, func(dir string) string { return read(t, dir+"/f") })
			wantOutcomes(t, got, "safe")
		})
	}
}

func TestUnsyncedSizes(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, "abcd", 0)
		must(t, f.Sync(), f.Truncate(0))
		write(t, f, "XY", 0)
	}, func(dir string) string { return read(t, dir+"/f") })
	// Not "XYcd": the new bytes are where the old ones are only after these were given up.
	wantOutcomes(t, got, "abcd", "", "XY", "\x00\x00")
}

func TestUnsyncedNamesAreKeptInTheirOrder(t *testing.T) {
	t.Parallel()
	list := func(dir string) string {
		all, err := os.ReadDir(dir)
		must(t, err)
		var names []string
		for _, e := range all {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	got := outcomes(t, func(dir string) {
		open(t, dir+"/a", os.O_CREATE)
		must(t, os.Mkdir(dir+"/b", 0o700), os.Rename(dir+"/a", dir+"/c"), os.Remove(dir+"/b"))
	}, list)
	wantOutcomes(t, got, "", "a", "a b", "b c", "c")
	// To sync a file keeps what was before its creation, and nothing of what came later.
	got = outcomes(t, func(dir string) {
		must(t, os.Mkdir(dir+"/a", 0o700))
		f := open(t, dir+"/b", os.O_CREATE)
		must(t, os.Rename(dir+"/b", dir+"/c"), f.Sync())
	}, list)
	wantOutcomes(t, got, "a b", "a c")
}

func TestUnsyncedReplacementAndRemoval(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE)
		write(t, f, "old", 0)
		must(t, f.Sync())
		f = open(t, dir+"/g", os.O_CREATE|os.O_SYNC)
		write(t, f, "new", 0)
		must(t, os.Rename(dir+"/g", dir+"/f"))
	}, func(dir string) string { return read(t, dir+"/f") + " " + read(t, dir+"/g") })
	wantOutcomes(t, got, "old new", "new -")
	got = outcomes(t, func(dir string) {
		f := open(t, dir+"/f", os.O_CREATE|os.O_SYNC)
		write(t, f, "back", 0)
		must(t, os.Remove(dir+"/f"))
	}, func(dir string) string { return read(t, dir+"/f") })
	wantOutcomes(t, got, "back", "-")
}

func TestWithoutPowerNothingWorks(t *testing.T) {
	t.Parallel()
	d, dir := mount(t)
	f := open(t, dir+"/f", os.O_CREATE)
	write(t, f, "safe", 0)
	must(t, f.Sync())
	if d.Restore() == nil {
		t.Error("restored while the power was on")
	}
	dead := func(when string) {
		t.Helper()
		_, readErr := f.ReadAt(make([]byte, 8192), 1) // beyond the end, so the kernel asks for the size
		_, writeErr := f.WriteAt([]byte("x"), 0)
		for name, err := range map[string]error{"write": writeErr, "sync": f.Sync(),
			"truncate": f.Truncate(1), "read": readErr} {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
	}
	d.Cut(chance(1))
	dead("without power")
	_, openErr := os.Open(dir + "/f")
	_, listErr := os.ReadDir(dir)
	for name, err := range map[string]error{
		"open": openErr, "list": listErr, "create": os.WriteFile(dir+"/g", nil, 0o600),
		"mkdir":  os.Mkdir(dir+"/h", 0o700),
		"rename": os.Rename(dir+"/f", dir+"/g"), "remove": syscall.Unlink(dir + "/f"),
		"statfs": syscall.Statfs(dir, &syscall.Statfs_t{}),
	} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Cut(chance(2)) // changes nothing
	must(t, d.Restore())
	dead("a file from before")
	if got := read(t, dir+"/f"); got != "safe" {
		t.Errorf("after the power came back: %q", got)
	}
	write(t, open(t, dir+"/f", 0), "SAFE", 0)
	if got := read(t, dir+"/f"); got != "SAFE" {
		t.Errorf("written after the power came back: %q", got)
	}
}

func TestCutAfterCountsChanges(t *testing.T) {
	t.Parallel()
	d, dir := mount(t)
	for n := range 8 {
		name := fmt.Sprint(dir, "/", n)
		d.CutAfter(n+1, chance(n))
		f, err := os.Create(name)
		must(t, err)
		done := 0
		for ; err == nil && done < 20; done++ {
			_, err = f.Write([]byte("x"))
		}
		if !errors.Is(err, syscall.EIO) || done != n+1 {
			t.Errorf("write %d: %v, want EIO at %d", done, err, n+1)
		}
		_ = f.Close()
		must(t, d.Restore())
	}
	// A plan that was not reached is replaced, also by a cut at once.
	d.CutAfter(1000, chance(1))
	reboot(t, d, 1)
	for range 1100 {
		must(t, os.WriteFile(dir+"/f", nil, 0o600))
	}
}

// TestOrdinaryFileSystem holds the disk against what any program expects of one.
func TestOrdinaryFileSystem(t *testing.T) {
	t.Parallel()
	_, dir := mount(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	must(t, os.MkdirAll(dir+"/a/b/c", 0o755), os.WriteFile(dir+"/a/b/large", large, 0o640))
	if got, err := os.ReadFile(dir + "/a/b/large"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("read %d bytes of %d: %v", len(got), len(large), err)
	}
	info, err := os.Stat(dir + "/a/b/large")
	must(t, err)
	if info.Size() != int64(len(large)) || info.Mode() != 0o640 || info.IsDir() {
		t.Errorf("%v", info)
	}
	if err := os.Remove(dir + "/a/b"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("removal of a directory with files: %v", err)
	}
	if err := os.Mkdir(dir+"/a", 0o700); !errors.Is(err, os.ErrExist) {
		t.Errorf("a directory twice: %v", err)
	}
	if _, err := os.OpenFile(dir+"/a/b/large", os.O_CREATE|os.O_EXCL|os.O_WRONLY,
		0o600); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file twice: %v", err)
	}
	f := open(t, dir+"/log", os.O_CREATE|os.O_APPEND)
	for _, s := range []string{"one ", "two ", "three"} {
		_, err := open(t, dir+"/log", os.O_APPEND).WriteString(s)
		must(t, err)
	}
	must(t, os.Remove(dir+"/log"))
	if b := make([]byte, 100); true {
		if n, _ := f.ReadAt(b, 0); string(b[:n]) != "one two three" {
			t.Errorf("a removed file holds %q", b[:n])
		}
	}
	must(t, os.Truncate(dir+"/a/b/large", 10), os.Truncate(dir+"/a/b/large", 20))
	if got := read(t, dir+"/a/b/large"); got != "0123456789"+strings.Repeat("\x00", 10) {
		t.Errorf("after truncation: %q", got)
	}
	for i := range 3000 {
		must(t, os.WriteFile(fmt.Sprint(dir, "/a/", i), nil, 0o600))
	}
	if all, err := os.ReadDir(dir + "/a"); err != nil || len(all) != 3001 {
		t.Errorf("%d names: %v", len(all), err)
	}
	must(t, os.RemoveAll(dir+"/a"))
	if all, err := os.ReadDir(dir); err != nil || len(all) > 0 {
		t.Errorf("left: %v %v", all, err)
	}
}

func TestLocksExclude(t *testing.T) {
	t.Parallel()
	d, dir := mount(t)
	lock := func() error {
		return unix.Flock(int(open(t, dir+"/lock", os.O_CREATE).Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	must(t, lock())
	if err := lock(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("locked twice: %v", err)
	}
	reboot(t, d, 1)
	must(t, lock()) // who held it is dead
}

func TestMountNeedsADirectory(t *testing.T) {
	t.Parallel()
	mount(t) // skips where it cannot work at all
	d, err := powercut.Mount(filepath.Join(t.TempDir(), "none"))
	if err == nil {
		_ = d.Unmount()
	}
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("mounted nowhere: %v", err)
	}
}

func TestSymbolicLinkIsThereOrNot(t *testing.T) {
	t.Parallel()
	got := outcomes(t, func(dir string) {
		must(t, os.WriteFile(dir+"/f", []byte("through"), 0o600))
		must(t, os.Symlink("f", dir+"/link"))
		if s := read(t, dir+"/link"); s != "through" {
			t.Errorf("before the cut: %q", s)
		}
	}, func(dir string) string {
		target, err := os.Readlink(dir + "/link")
		if err != nil {
			return "none"
		}
		return target
	})
	wantOutcomes(t, got, "none", "f")
}

// BenchmarkSyncedWrite is what a program under test pays for 1 KiB and a sync.
func BenchmarkSyncedWrite(b *testing.B) {
	_, dir := mount(b)
	f := open(b, dir+"/f", os.O_CREATE)
	data := make([]byte, 1024)
	for i := 0; b.Loop(); i++ {
		_, err := f.WriteAt(data, int64(i%4096)*1024)
		must(b, err, f.Sync())
	}
}
