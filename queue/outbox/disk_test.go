package outbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
)

// fill publishes until an error comes, and returns what was acknowledged.
func fill(t *testing.T, o *Outbox, name string) (acknowledged []pratique.Event, err error) {
	t.Helper()
	for i := range 100_000 {
		var events []pratique.Event
		for j := range 20 {
			e := delivered(tagged(fmt.Sprintf("%s:v%d-%d", name, i, j), "A"), "1")
			e.Actor = strings.Repeat("actor", 300)
			events = append(events, e)
		}
		if _, err = o.Publish(t.Context(), events); err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, events...)
	}
	t.Fatal("the disk has no end")
	return nil, nil
}

// wantAll checks that exactly these events wait, in order, by forwarding them.
func wantAll(t *testing.T, o *Outbox, want []pratique.Event) {
	t.Helper()
	var s sink
	stop := run(t, o, Downstream{Forward: s.forward})
	eventually(t, "an empty log", func() bool { return o.Stats().Waiting == 0 })
	stop()
	got := s.refs()
	if len(got) != len(want) {
		t.Fatalf("forwarded %d events, %d were acknowledged", len(got), len(want))
	}
	for i, e := range want {
		if got[i] != e.Ref.String() {
			t.Fatalf("event %d is %s, want %s", i, got[i], e.Ref)
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{File: filepath.Join(dir, "outbox.db")}
	o := open(t, c)
	kept, err := fill(t, o, "first")
	wantKind(t, err, pratique.Unavailable)
	if !errors.Is(err, syscall.ENOSPC) || len(kept) == 0 {
		t.Fatalf("after %d events: %v", len(kept), err)
	}
	// It stays refused, and the counters stay right.
	_, err = o.Publish(t.Context(), []pratique.Event{tagged("later:v1", "A")})
	if err == nil {
		kept = append(kept, tagged("later:v1", "A"))
	}
	if st := o.Stats(); st.Waiting != len(kept) || st.FailedCommits == 0 {
		t.Errorf("%d kept, %+v", len(kept), st)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	more, err := fill(t, o, "second")
	if !errors.Is(err, syscall.ENOSPC) || len(more) == 0 {
		t.Fatalf("after there was room, %d events: %v", len(more), err)
	}
	kept = append(kept, more...)
	if st := o.Stats(); st.Waiting != len(kept) {
		t.Errorf("%d kept, %+v", len(kept), st)
	}
	checkFile(t, o.db)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, c)
	// What is full of its own events has to come out of it by itself.
	wantAll(t, o, kept)
	publish(t, o, 1, tagged("after:v1", "A"))
	checkFile(t, o.db)
}

func checkFile(t *testing.T, db *bbolt.DB) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
	if err != nil {
		t.Fatalf("the file is damaged: %v", err)
	}
}

const limitedFile = "OUTBOX_TEST_LIMITED_FILE"

// TestFileThatCannotGrow limits the size of files, in a process of its own as the limit is for all
// files.
func TestFileThatCannotGrow(t *testing.T) {
	if path := os.Getenv(limitedFile); path != "" {
		growLimited(t, path)
		return
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileThatCannotGrow$",
		"-test.v")
	command.Env = append(os.Environ(), limitedFile+"="+filepath.Join(t.TempDir(), "outbox.db"))
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "events were kept") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func growLimited(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	o := open(t, Config{File: path, noSync: true})
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	unlimited := limit
	limit.Cur = 24 << 20 // bbolt adds 16 MiB at a time
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	kept, err := fill(t, o, "first")
	wantKind(t, err, pratique.Unavailable)
	if !strings.Contains(err.Error(), "file too large") || len(kept) == 0 {
		t.Fatalf("after %d events: %v", len(kept), err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		t.Fatal(err)
	}
	e := tagged("after:v1", "A")
	publish(t, o, 1, e)
	checkFile(t, o.db)
	wantAll(t, o, append(kept, e))
	t.Logf("%d events were kept", len(kept)+1)
}

// TestFailedSyncStopsTheOutbox fails a sync after the commit was made: nobody knows what the disk
// holds, and the sender's retry, a duplicate, must not be acknowledged.
func TestFailedSyncStopsTheOutbox(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	publish(t, o, 1, tagged("app:v1", "A"))
	o.update = func(fn func(*bbolt.Tx) error) error {
		return errors.Join(o.db.Update(fn), syscall.EIO)
	}
	e := tagged("app:v1", "B")
	for range 2 {
		_, err := o.Publish(t.Context(), []pratique.Event{e})
		wantKind(t, err, pratique.Unavailable)
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("error is %v", err)
		}
		o.update = o.db.Update
	}
	if st := o.Stats(); st.FailedCommits != 1 {
		t.Errorf("%+v", st)
	}
	queued := &change{done: make(chan error, 1), apply: func(*batch) error {
		t.Error("a change that was queued was tried")
		return nil
	}}
	o.flush([]*change{queued})
	wantKind(t, <-queued.done, pratique.Unavailable)
	err := o.Run(t.Context(), Downstream{Forward: new(sink).forward})
	wantKind(t, err, pratique.Unavailable)
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("run: %v", err)
	}
}

func TestOnlyWritesAreBenign(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&os.PathError{Op: "write", Path: "outbox.db", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("commit: %w", &os.PathError{Op: "write", Path: "outbox.db", Err: syscall.EIO}), true},
		{errors.New("file resize error: truncate outbox.db: file too large"), true},
		{&os.PathError{Op: "sync", Path: "outbox.db", Err: syscall.EIO}, false}, // as os.File.Sync has it
		{syscall.EIO, false}, // as fdatasync has it
		{syscall.ENOSPC, false},
	} {
		if got := benign(c.err); got != c.want {
			t.Errorf("%v: benign is %t", c.err, got)
		}
	}
}

// TestFailedCommitFailsAllOfIt fails a write, as a full disk does, with several requests in the
// transaction.
func TestFailedCommitFailsAllOfIt(t *testing.T) {
	t.Parallel()
	o := open(t, Config{})
	full := &os.PathError{Op: "write", Path: "outbox.db", Err: syscall.ENOSPC}
	o.update = func(fn func(*bbolt.Tx) error) error {
		return o.db.Update(func(tx *bbolt.Tx) error {
			return errors.Join(fn(tx), full)
		})
	}
	failed := make(chan error)
	for i := range 20 {
		go func() {
			_, err := o.Publish(t.Context(), []pratique.Event{tagged(fmt.Sprint("app:v", i), "A")})
			failed <- err
		}()
	}
	for range 20 {
		if err := <-failed; !errors.Is(err, syscall.ENOSPC) ||
			!strings.Contains(err.Error(), "not stored") {
			t.Errorf("error is %v", err)
		}
	}
	if st := o.Stats(); st.FailedCommits == 0 || st.Waiting != 0 || st.Stored != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
	o.update = o.db.Update
	publish(t, o, 1, tagged("app:v1", "A"))
}

// copyFile copies the file of an idle outbox as a crash would leave it, without the hole at its end.
func copyFile(t *testing.T, o *Outbox, to string) {
	t.Helper()
	used := int64(0)
	if err := o.db.View(func(tx *bbolt.Tx) error {
		used = tx.Size()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(o.config.File)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	raw, err := io.ReadAll(io.LimitReader(from, used))
	if err := errors.Join(err, os.WriteFile(to, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestNothingAcknowledgedNeedsAClose opens copies of the file that were made after events were
// acknowledged, without a Close.
func TestNothingAcknowledgedNeedsAClose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox.db")
	o := open(t, Config{File: path, noSync: true})
	for round := range 20 {
		var want []pratique.Event
		for i := range 30 {
			e := tagged(fmt.Sprintf("app:v%d", i), fmt.Sprint(round))
			publish(t, o, 1, e)
			want = append(want, e)
		}
		copied := filepath.Join(dir, fmt.Sprint("copy", round))
		copyFile(t, o, copied)
		crashed := open(t, Config{File: copied, noSync: true})
		for _, e := range want {
			if tag, err := crashed.Tag(e.Ref); err != nil || tag.Digest != e.Ref.Digest ||
				tag.Generation != uint64(round+1) {
				t.Fatalf("round %d: %s is %+v, %v", round, e.Ref, tag, err)
			}
		}
		if n := crashed.Stats().Waiting; n != 30*(round+1) {
			t.Fatalf("round %d: %d events wait", round, n)
		}
	}
}
