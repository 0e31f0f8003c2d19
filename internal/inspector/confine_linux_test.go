package inspector

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/confine"
)

// attack does what code of an attacker in a parser would try.
func attack(what string) (error, bool) {
	verb, target, _ := strings.Cut(what, ":")
	switch verb {
	case "read":
		_, err := os.ReadFile("/" + target)
		return err, true
	case "list":
		_, err := os.ReadDir("/" + target)
		return err, true
	case "peek": // at the environment of the parent, which may hold secrets
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
		return err, true
	case "write":
		return os.WriteFile("/"+target, []byte("x"), 0o600), true
	case "sibling":
		return os.WriteFile(filepath.Join(os.Getenv("HOME"), "..", "lock"), []byte("x"), 0o600), true
	case "escape":
		link := filepath.Join(os.Getenv("TMPDIR"), "link")
		_, err := os.ReadFile(link)
		if errors.Is(err, os.ErrNotExist) {
			err = os.Symlink("/etc/passwd", link)
		}
		if err == nil {
			_, err = os.ReadFile(link)
		}
		return err, true
	case "connect":
		_, err := net.Dial("tcp", "127.0.0.1:"+target)
		return err, true
	case "udp":
		_, err := net.Dial("udp", "127.0.0.1:53")
		return err, true
	case "unix":
		_, err := net.Listen("unix", filepath.Join(os.Getenv("TMPDIR"), "s"))
		return err, true
	case "exec":
		return exec.Command("/bin/true").Run(), true
	case "become":
		return syscall.Exec("/bin/true", []string{"true"}, nil), true
	case "forks": // as many as it takes
		var err error
		for err == nil {
			err = exec.Command("/bin/sleep", "60").Start()
		}
		return err, true
	case "signal":
		return syscall.Kill(os.Getppid(), syscall.SIGTERM), true
	case "thread": // of the parent
		return unix.Tgkill(os.Getppid(), os.Getppid(), syscall.SIGUSR2), true
	case "later": // by the kernel, when there is something to read
		_, err := unix.FcntlInt(0, unix.F_SETOWN, os.Getppid())
		return err, true
	case "orphan":
		return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0), true
	case "regroup":
		return syscall.Setpgid(0, syscall.Getpgrp()), true
	case "slow-down":
		return syscall.Setpriority(syscall.PRIO_PROCESS, os.Getppid(), 19), true
	case "pin":
		return unix.SchedSetaffinity(os.Getppid(), &unix.CPUSet{1}), true
	case "chmod":
		err := os.Chmod("/"+target, 0)
		if info, statErr := os.Stat("/" + target); err == nil && statErr == nil &&
			info.Mode().Perm() != 0 {
			err = errors.New("it seemed to work")
		}
		return err, true
	case "chown":
		return os.Chown("/"+target, 1, 1), true
	case "attribute":
		return unix.Setxattr("/"+target, "user.x", nil, 0), true
	case "empty":
		return os.Truncate("/"+target, 0), true
	case "empty-open":
		_, err := unix.Open("/"+target, unix.O_RDONLY|unix.O_TRUNC, 0)
		return err, true
	case "flee": // into the group of the parent, if it can, and stay
		pgid, err := syscall.Getpgid(os.Getppid())
		if err = errors.Join(err, syscall.Setpgid(0, pgid)); err == nil {
			select {}
		}
		return err, true
	case "memfd":
		_, err := unix.MemfdCreate("x", 0)
		return err, true
	case "limits":
		return unix.Prlimit(0, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY,
			Max: unix.RLIM_INFINITY}, nil), true
	case "device":
		return unix.Mknod(filepath.Join(os.Getenv("TMPDIR"), "sda"), unix.S_IFBLK|0o600, 8<<8), true
	case "ptrace":
		return syscall.PtraceAttach(os.Getppid()), true
	case "mount":
		return syscall.Mount("none", os.Getenv("TMPDIR"), "tmpfs", 0, ""), true
	case "unshare":
		return syscall.Unshare(syscall.CLONE_NEWUSER), true
	case "bpf":
		_, _, errno := syscall.Syscall(unix.SYS_BPF, 0, 0, 0)
		return errno, true
	case "sparse":
		f, err := os.Create(filepath.Join(os.Getenv("TMPDIR"), "sparse"))
		if err != nil {
			return err, true
		}
		return errors.Join(f.Truncate(1<<40), f.Close()), true
	case "fill-removed", "fill-many":
		return fill(what), true
	}
	return nil, false
}

func fill(what string) error {
	block := make([]byte, 1<<20)
	for i := range 200 {
		name := "fill"
		if what == "fill-many" {
			name = fmt.Sprintf("fill-%d", i)
		}
		f, err := os.OpenFile(filepath.Join(os.Getenv("TMPDIR"), name),
			os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if what == "fill-removed" {
			err = os.Remove(f.Name())
		}
		_, writeErr := f.Write(block)
		if err = errors.Join(err, writeErr, f.Close()); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func TestAttacks(t *testing.T) {
	if has := confine.Probe(); len(has.Missing) > 0 {
		t.Skipf("this kernel confines less: %s", has)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	shared := filepath.Join(t.TempDir(), "layer") // may be read
	if err := os.WriteFile(shared, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startPool(t, Config{Confinement: confine.Require, WrittenBytes: 32 << 20,
		Timeout: 20 * time.Second})
	outside := filepath.Join(t.TempDir(), "outside")
	for _, test := range []struct {
		does string
		want pratique.Kind // Unknown: the parser lives, and reports that it was refused
		says string
	}{
		{"read:etc/passwd", pratique.Unknown, "permission denied"},
		{"read:proc/self/environ", pratique.Unknown, "permission denied"},
		{"list:root", pratique.Unknown, "permission denied"},
		{"list:", pratique.Unknown, "permission denied"},
		{"peek", pratique.Unknown, "permission denied"},
		{"escape", pratique.Unknown, "permission denied"},
		{"write:" + outside[1:], pratique.Unknown, "permission denied"},
		{"write:dev/shm/x", pratique.Unknown, "permission denied"},
		{"sibling", pratique.Unknown, "permission denied"},
		{"connect:" + port, pratique.Unknown, "operation not permitted"},
		{"udp", pratique.Unknown, "operation not permitted"},
		{"unix", pratique.Unknown, "operation not permitted"},
		{"exec", pratique.Unknown, "operation not permitted"},
		{"become", pratique.Unknown, "operation not permitted"},
		{"forks", pratique.Unknown, "operation not permitted"},
		{"signal", pratique.Unknown, "operation not permitted"},
		{"thread", pratique.Unknown, "operation not permitted"},
		{"later", pratique.Unknown, "operation not permitted"},
		{"orphan", pratique.Unknown, "operation not permitted"},
		{"regroup", pratique.Unknown, "operation not permitted"},
		{"flee", pratique.Unknown, "operation not permitted"},
		{"slow-down", pratique.Unknown, "operation not permitted"},
		{"pin", pratique.Unknown, "operation not permitted"},
		{"chmod:" + shared[1:], pratique.Unknown, "it seemed to work"},
		{"chown:" + shared[1:], pratique.Unknown, "operation not permitted"},
		{"attribute:" + shared[1:], pratique.Unknown, "operation not permitted"},
		{"empty:" + shared[1:], pratique.Unknown, "operation not permitted"},
		{"empty-open:" + shared[1:], pratique.Unknown, "operation not permitted"},
		{"memfd", pratique.Unknown, "operation not permitted"},
		{"limits", pratique.Unknown, "operation not permitted"},
		{"device", pratique.Unknown, "operation not permitted"},
		{"ptrace", pratique.Died, "what no parser does"},
		{"mount", pratique.Died, "what no parser does"},
		{"unshare", pratique.Died, "what no parser does"},
		{"bpf", pratique.Died, "what no parser does"},
		{"sparse", pratique.Unknown, "file too large"},
		{"fill-removed", pratique.Exhausted, "wrote too much"},
		{"fill-many", pratique.Exhausted, "wrote too much"},
	} {
		t.Run(strings.Split(test.does, "/")[0], func(t *testing.T) {
			_, err := p.Inspect(t.Context(), imageThat(t, test.does))
			if err == nil || pratique.KindOf(err) != test.want ||
				!strings.Contains(err.Error(), test.says) {
				t.Errorf("kind %v of error %v, want %v with %q", pratique.KindOf(err), err,
					test.want, test.says)
			}
			checkInspect(t, p)
		})
	}
	if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it wrote outside of its directory: %v", err)
	}
}

// TestChildThatLeavesItsGroup checks that a child can be killed, and waited for, from wherever it
// went.
func TestChildThatLeavesItsGroup(t *testing.T) {
	p := startPool(t, Config{Confinement: confine.Off, Timeout: 2 * time.Second})
	_, err := p.Inspect(t.Context(), imageThat(t, "flee"))
	if pratique.KindOf(err) != pratique.Exhausted || !errors.Is(err, errTimeout) {
		t.Errorf("error %v", err)
	}
	checkInspect(t, p)
}

// TestProcessOfChild looks at what the kernel says of a child, and that the parent is as free as
// before.
func TestProcessOfChild(t *testing.T) {
	if has := confine.Probe(); len(has.Missing) > 0 {
		t.Skipf("this kernel confines less: %s", has)
	}
	p := startPool(t, Config{})
	checkInspect(t, p)
	c := <-p.idle
	defer func() { p.idle <- c }()
	dir := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	tasks, err := os.ReadDir(dir + "task")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("tasks %v %v", tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(dir + "task/" + task.Name() + "/status")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(status), line) {
				t.Errorf("thread %s has no %q", task.Name(), line)
			}
		}
	}
	if score, err := os.ReadFile(dir + "oom_score_adj"); err != nil ||
		strings.TrimSpace(string(score)) != "1000" {
		t.Errorf("oom_score_adj %s %v", score, err)
	}
	limits, err := os.ReadFile(dir + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		for name, want := range map[string]string{"Max core file size": "0",
			"Max open files": "4096", "Max file size": "4294967296"} {
			if fields := strings.Fields(strings.TrimPrefix(line, name)); strings.HasPrefix(line,
				name) && (fields[0] != want || fields[1] != want) {
				t.Error(line)
			}
		}
	}
	// Every thread of ours but those that wait for children can do what it could.
	var free atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if _, err := os.ReadFile("/etc/passwd"); err == nil &&
				exec.Command("/bin/true").Run() == nil {
				free.Add(1)
			}
		})
	}
	all.Wait()
	if free.Load() != 50 {
		t.Errorf("only %d of 50 threads of the parent are free", free.Load())
	}
}

func TestConfinementThatIsDemanded(t *testing.T) {
	if has := confine.Probe(); len(has.Missing) > 0 {
		t.Skipf("this kernel confines less: %s", has)
	}
	// This child sets no filter, as on a machine where it cannot.
	p := startPool(t, Config{Command: []string{os.Args[0], verb, "unfiltered"},
		Confinement: confine.Require})
	_, err := p.Inspect(t.Context(), imageThat(t, "behave"))
	if pratique.KindOf(err) != pratique.Unavailable ||
		!strings.Contains(err.Error(), "cannot be confined") ||
		!strings.Contains(err.Error(), "seccomp") {
		t.Errorf("error %v", err)
	}
	if got := p.Confinement(); !slices.Contains(got.Active, confine.Seccomp) ||
		len(got.Missing) != 0 || !strings.Contains(got.String(), "landlock") {
		t.Errorf("confinement %s", got)
	}
	off := startPool(t, Config{Confinement: confine.Off})
	if _, err := off.Inspect(t.Context(), imageThat(t, "read:etc/passwd")); err != nil {
		t.Errorf("unconfined: %v", err)
	}
	if got := off.Confinement(); len(got.Active) != 0 {
		t.Errorf("confinement %s", got)
	}
}

// TestReadableThatComesLater makes a directory when the child is running, and replaces it behind a
// link.
func TestReadableThatComesLater(t *testing.T) {
	dir := t.TempDir()
	current := filepath.Join(dir, "current")
	p := startPool(t, Config{Readable: []string{current, filepath.Dir(t.TempDir())}})
	read := "read:" + filepath.Join(current, "db")[1:]
	checkInspect(t, p)
	for _, generation := range []string{"1", "2"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, generation), 0o700),
			os.WriteFile(filepath.Join(dir, generation, "db"), nil, 0o600),
			os.RemoveAll(current), os.Symlink(generation, current)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Inspect(t.Context(), imageThat(t, read)); err != nil {
			t.Errorf("generation %s: %v", generation, err)
		}
	}
}
