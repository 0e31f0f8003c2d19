package analysiscache

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestMain runs the tests, or is the process that one of them kills.
func TestMain(m *testing.M) {
	if os.Getenv("DERIVED_TEST_WRITER") != "" {
		writer(".")
	}
	os.Exit(m.Run())
}

func open(t testing.TB, dir string, maxBytes int64) *Store {
	t.Helper()
	s, err := Open(dir, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func key(i int) Key { return Key{Layer: pratique.DigestOf(fmt.Append(nil, i)), Fingerprint: "tool 1"} }

// body is different for each entry and says which one it is.
func body(i, size int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", i), size/8+1) }

func put(t testing.TB, s *Store, k Key, b []byte) {
	t.Helper()
	if err := s.Put(k, b); err != nil {
		t.Fatal(err)
	}
}

// get returns the content, nil if there is none.
func get(t testing.TB, s *Store, k Key) []byte {
	t.Helper()
	path, release, ok := s.Get(k)
	defer release()
	if !ok {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func files(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPutAndGet(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	if get(t, s, key(1)) != nil {
		t.Error("something was never put")
	}
	put(t, s, key(1), body(1, 100))
	put(t, s, key(2), nil)
	put(t, s, key(1), body(2, 100)) // the first stays
	otherFingerprint := Key{Layer: key(1).Layer, Fingerprint: "tool 2"}
	if got := get(t, s, otherFingerprint); got != nil {
		t.Errorf("of another fingerprint: %q", got)
	}
	put(t, s, otherFingerprint, body(3, 100))
	check := func() {
		t.Helper()
		for k, want := range map[Key][]byte{key(1): body(1, 100), key(2): {},
			otherFingerprint: body(3, 100)} {
			if got := get(t, s, k); got == nil || !bytes.Equal(got, want) {
				t.Errorf("%v: %q", k, got)
			}
		}
		if n, _, bytes := s.dir.Stats(); n != 3 || len(files(t, dir)) != 3 || bytes != 3*block {
			t.Errorf("%d files, %d bytes", n, bytes)
		}
	}
	check()
	if _, err := Open(dir, 0); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 0)
	check()
}

func TestEviction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 3*block)
	for i := range 3 {
		put(t, s, key(i), body(i, 100))
	}
	_, release, ok := s.Get(key(0)) // in use, and the oldest
	if !ok {
		t.Fatal("it is not there")
	}
	get(t, s, key(1)) // used after 2
	put(t, s, key(3), body(3, 100))
	if get(t, s, key(2)) != nil || get(t, s, key(0)) == nil || get(t, s, key(1)) == nil ||
		get(t, s, key(3)) == nil {
		t.Error("the wrong one was evicted")
	}
	put(t, s, key(4), body(4, 2*block-24)) // takes the room of both that are not in use
	if get(t, s, key(0)) == nil || get(t, s, key(4)) == nil || len(files(t, dir)) != 2 {
		t.Errorf("%d files", len(files(t, dir)))
	}
	_, release4, _ := s.Get(key(4))
	put(t, s, key(5), body(5, 100)) // no room: all are in use
	put(t, s, key(6), body(6, 4*block))
	if _, _, bytes := s.dir.Stats(); get(t, s, key(5)) != nil || get(t, s, key(6)) != nil ||
		bytes > s.dir.MaxBytes() {
		t.Errorf("more is kept than there is room for: %d bytes", bytes)
	}
	release()
	release() // may be called again
	release4()
	put(t, s, key(5), body(5, 100))
	if _, inUse, _ := s.dir.Stats(); get(t, s, key(0)) != nil || get(t, s, key(5)) == nil || inUse != 0 {
		t.Error("what was released is still in use")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, block)
	if _, _, bytes := s.dir.Stats(); bytes > block || len(files(t, dir)) > 1 {
		t.Error("a smaller store than before does not make room")
	}
}

// TestDamage spoils entries in every way that a disk or a crash can. What is damaged is not served,
// is gone, and can be made again.
func TestDamage(t *testing.T) {
	want := body(1, 10_000)
	for name, spoil := range map[string]func(path string) error{
		"cut short": func(path string) error { return os.Truncate(path, 700) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"zeros": func(path string) error {
			return os.WriteFile(path, make([]byte, len(want)), 0o600)
		},
		"one bit": func(path string) error {
			b := bytes.Clone(want)
			b[5000] ^= 1
			return os.WriteFile(path, b, 0o600)
		},
		"gone":            os.Remove,
		"another entry's": func(path string) error { return os.WriteFile(path, body(2, 10_000), 0o600) },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s restart=%v", name, restart), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, 0)
				put(t, s, key(1), want)
				if err := spoil(filepath.Join(dir, key(1).file(want))); err != nil {
					t.Fatal(err)
				}
				if restart {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, dir, 0)
				}
				if got := get(t, s, key(1)); got != nil {
					t.Fatalf("served %.40q", got)
				}
				if _, _, bytes := s.dir.Stats(); len(files(t, dir)) != 0 || bytes != 0 {
					t.Errorf("left %v, %d bytes", files(t, dir), bytes)
				}
				put(t, s, key(1), want)
				if !bytes.Equal(get(t, s, key(1)), want) {
					t.Error("it was not made again")
				}
			})
		}
	}
}

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	put(t, s, key(1), body(1, 100))
	old := filepath.Join(dir, key(1).file([]byte("older")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, filepath.Join(s.dir.TempDir(), "abc"),
		filepath.Join(dir, "README")} {
		if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 0)
	if got := get(t, s, key(1)); !bytes.Equal(got, body(1, 100)) {
		t.Errorf("of two files of one entry the older is served: %q", got)
	}
	if left := strings.Join(files(t, dir), " "); strings.Contains(left, "abc") ||
		!strings.Contains(left, "README") || len(files(t, dir)) != 2 {
		t.Errorf("left %v", left)
	}
}

// TestConcurrentUse has many goroutines read and write more entries than there is room for.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 8*block)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 300 {
				i := r.IntN(20)
				path, release, ok := s.Get(key(i))
				if ok {
					if got, err := os.ReadFile(path); err != nil ||
						!bytes.Equal(got, body(i, 1000*i/10)) {
						t.Errorf("entry %d in use: error %v", i, err)
					}
				} else if err := s.Put(key(i), body(i, 1000*i/10)); err != nil {
					t.Error(err)
				}
				release()
			}
		})
	}
	all.Wait()
	n, inUse, bytes := s.dir.Stats()
	if inUse != 0 || bytes > s.dir.MaxBytes() || len(files(t, dir)) != n || n == 0 {
		t.Errorf("%d entries, %d of them in use, of %d bytes; %d files", n, inUse, bytes,
			len(files(t, dir)))
	}
}

// TestKilledWriter kills a process while it writes and evicts, again and again. Every entry that is
// there afterwards is whole.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		command := exec.CommandContext(t.Context(), self)
		command.Dir, command.Env = dir, append(os.Environ(), "DERIVED_TEST_WRITER=1")
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		// so many puts have returned
		if _, err := io.ReadFull(out, make([]byte, 20+round*7)); err != nil {
			t.Fatal(err)
		}
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait() // killed
		s := open(t, dir, 64*block)
		found := 0
		for i := range writes {
			if got := get(t, s, key(i)); got != nil {
				found++
				if !bytes.Equal(got, body(i, writeSize(i))) {
					t.Fatalf("entry %d is torn", i)
				}
			}
		}
		if found == 0 || len(files(t, dir)) != found {
			t.Errorf("%d entries, files %v", found, files(t, dir))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const writes = 200

func writeSize(i int) int { return 1 + i*97%50_000 }

// writer puts entries for ever and tells of each.
func writer(dir string) {
	s, err := Open(dir, 64*block)
	for i := 0; err == nil; i++ {
		if err = s.Put(key(i%writes), body(i%writes, writeSize(i%writes))); err == nil {
			_, err = os.Stdout.WriteString(".")
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
