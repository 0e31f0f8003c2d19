package inspector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestParentKilled kills a parent that cannot clean up: its child has to go with it, and the next
// pool in the same place deletes what was left.
func TestParentKilled(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], verb, "parent", dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var announced []string
	for deadline := time.Now().Add(time.Minute); len(announced) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child does not announce itself")
		}
		announced, _ = filepath.Glob(filepath.Join(dir, "*", "*", "announced"))
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	raw, err := os.ReadFile(announced[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(status), ") Z ")
	}
	for deadline := time.Now().Add(10 * time.Second); !gone(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("child %d outlives its parent", pid)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, rootPrefix+"*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("left %v %v", left, err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left[0]); err != nil {
		t.Errorf("a directory was deleted at once, it might have been new: %v", err)
	}
	old := time.Now().Add(-2 * claimTime)
	if err := os.Chtimes(left[0], old, old); err != nil {
		t.Fatal(err)
	}
	root, lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the killed parent left is still there: %v", err)
	}
	if err := os.Chtimes(root, old, old); err != nil {
		t.Fatal(err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("the directory of a living pool was deleted: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChildEndsWithItsInput runs a child by hand and closes its input, as the end of a parent does
// everywhere.
func TestChildEndsWithItsInput(t *testing.T) {
	cmd := exec.Command(os.Args[0], verb)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdin = strings.NewReader("")
	if err := cmd.Run(); err != nil {
		t.Errorf("child without input: %v", err)
	}
}

func TestTail(t *testing.T) {
	var s tail
	for _, part := range []string{"  first ", strings.Repeat("é", 5000), "\xff last\n"} {
		if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("wrote %d %v", n, err)
		}
	}
	got := s.String()
	if !strings.HasPrefix(got, "first é") || !strings.HasSuffix(got, " last") ||
		!strings.Contains(got, " … ") || len(got) > headBytes+lastBytes+20 {
		t.Errorf("%d bytes: %.20q … %q", len(got), got, got[len(got)-20:])
	}
	var short tail
	if _, err := short.Write([]byte("all of it\n")); err != nil || short.String() != "all of it" {
		t.Errorf("%q %v", short.String(), err)
	}
}

func TestFrames(t *testing.T) {
	var wire bytes.Buffer
	for _, word := range []string{"", "one", strings.Repeat("x", 1<<20)} {
		if err := writeFrame(&wire, word); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"", "one", strings.Repeat("x", 1<<20)} {
		var got string
		if err := readFrame(&wire, &got); err != nil || got != want {
			t.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
		}
	}
	if err := readFrame(&wire, new(string)); !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
	for name, raw := range map[string]string{
		"cut in the length": "\x00\x00", "cut in the body": "\x00\x00\x00\x05\"ab",
		"length made up": "\xff\xff\xff\xff", "no JSON": "\x00\x00\x00\x03abc",
		"other JSON": "\x00\x00\x00\x02{}",
	} {
		if err := readFrame(strings.NewReader(raw), new(string)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	var wire bytes.Buffer
	if err := writeFrame(&wire, response{ID: 1, Failure: &failure{Op: "op", Message: "no"}}); err != nil {
		f.Fatal(err)
	}
	f.Add(wire.Bytes())
	f.Add(binary.BigEndian.AppendUint32(nil, maxFrame))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r response
		if err := readFrame(bytes.NewReader(raw), &r); err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, r); err != nil {
			t.Fatal(err)
		}
	})
}
