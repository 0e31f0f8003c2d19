// Package powercut is a disk for tests whose power can fail: a file system in memory, mounted over
// FUSE, that knows of every write whether it was synced, and after the power came back has what a
// real disk might have.
//
// It models what ext4 and XFS promise, and no more:
//
//   - What a file holds is safe up to its last fsync or fdatasync; a write to a file that was opened with O_SYNC or
//     O_DSYNC is synced when it returns. Each later write is, by chance and each on its own, kept, lost, torn at a
//     multiple of 512 bytes of the file (the part before or the part after it is kept), or lost but for the size
//     that it gave the file: zeros. The system call is the write; calls of more than 1 MiB are several.
//   - Changes of the size by truncation are kept in their order: once one is lost, so are the later ones, and what
//     was written beyond the size that the file had or should have got.
//   - Creations, renames and removals go to one journal in their order, and a beginning of it is kept, of a length
//     by chance. A rename is kept whole or lost whole. To sync a directory keeps the journal up to the last change
//     of its names; to sync a file keeps it up to the creation of that file, not up to its renames.
//   - The names and the bytes of a file are independent: after a rename that was kept, a file that was not synced
//     may have any of the contents above. A file whose removal was lost is back.
//   - Permissions and times are as they were last. Hard links, extended attributes and the reservation of space are
//     not there; symbolic links, locks and shared mappings are. A mapping that is written to is synced as
//     a whole by msync or fsync.
//
// The disk is served by another process, since a process that maps a file which it serves itself
// can stop for ever: a page fault holds up the collector, and the collector the server. That
// process is the test binary again, so TestMain of a package that mounts a disk must begin with
// [Serve].
package powercut

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// dirVariable tells a process that it has to serve a disk, and where.
const dirVariable = "PRATIQUE_POWERCUT_DIR"

// Disk is a mounted disk. Its methods may be called from any goroutine.
type Disk struct {
	cmd *exec.Cmd

	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
	err error // of a method that has no error to return
}

// Mount mounts an empty disk at dir, which must exist. The error wraps [errors.ErrUnsupported]
// where FUSE is not to be had: on another system than Linux, without /dev/fuse, or without the
// right to mount.
func Mount(dir string) (*Disk, error) {
	if os.Getenv(dirVariable) != "" {
		return nil, errors.New("TestMain does not begin with powercut.Serve")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-test.run=^$")
	// The race detector would sleep for a second at the end.
	cmd.Env = append(os.Environ(), dirVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	d := &Disk{cmd: cmd}
	if d.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := d.answer(); err != nil {
		return nil, fmt.Errorf("mount a disk at %s: %w", dir, errors.Join(err, d.end()))
	}
	return d, nil
}

// Cut makes the power fail: from now on every operation fails with EIO, and what is left of what
// was not synced is drawn from r. Only what is read of files that are open already is still what
// they held, since a process that maps a file would not hear of an error but be killed. Cutting
// again changes nothing.
func (d *Disk) Cut(r *rand.Rand) { d.CutAfter(0, r) }

// CutAfter makes the power fail in place of the change number n+1 from now: n creations, writes,
// truncations, renames, removals and syncs succeed, the next one fails and is not done. It takes
// the place of an earlier CutAfter that has not come to pass.
func (d *Disk) CutAfter(n int, r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = errors.Join(d.err, d.ask(fmt.Sprintln("cut", max(0, n), r.Uint64(), r.Uint64())))
}

// Restore lets the machine come up again with what survived. Files that were open before stay as
// without power. It is an error if the power is on.
func (d *Disk) Restore() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := errors.Join(d.err, d.ask("restore\n"))
	d.err = nil
	return err
}

// Unmount ends the disk and forgets its files; it does not wait for files that are still open.
func (d *Disk) Unmount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.err, d.ask("unmount\n"), d.end())
}

// end lets the serving process end and waits for it.
func (d *Disk) end() error {
	_ = d.in.Close() // the process may be gone
	return d.cmd.Wait()
}

func (d *Disk) ask(command string) error {
	if _, err := io.WriteString(d.in, command); err != nil {
		return fmt.Errorf("the process that serves the disk is gone: %w", err)
	}
	return d.answer()
}

// answer reads "ok", "unsupported: " and why, or "error: " and why.
func (d *Disk) answer() error {
	line, err := d.out.ReadString('\n')
	kind, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
	switch {
	case kind == "ok":
		return nil
	case kind == "unsupported":
		return fmt.Errorf("%s: %w", text, errors.ErrUnsupported)
	case kind == "error":
		return errors.New(text)
	case err != nil && line == "":
		return fmt.Errorf("the process that serves the disk is gone: %w", err)
	default:
		return fmt.Errorf("TestMain does not begin with powercut.Serve: the process that should serve the disk says %q", line)
	}
}
