package inspector

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts a child into its own process group, so that everything it started is killed with
// it, and makes the kernel kill it when the thread that starts it ends, see superviseThread.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills the child and everything in its process group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	_ = cmd.Process.Kill()                              // it may have changed its group
}

// awaitExit waits until a process has ended, without reaping it; false if that is not possible.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// resident returns the memory that belongs to a process alone. Pages of mapped files are not
// counted: the kernel drops them when it needs memory, and a vulnerability database has hundreds of
// megabytes of them.
func resident(pid int) (int64, bool) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, false
	}
	var total int64
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "RssAnon" && string(name) != "RssShmem" {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			return 0, false
		}
		kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return 0, false
		}
		total += kib << 10
	}
	return total, total > 0
}

// written returns how many bytes a process has written anywhere. Writes to mapped memory count once
// they are on their way to disk.
func written(pid int) int64 {
	io, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		return 0
	}
	var most int64
	for line := range bytes.Lines(io) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		if string(name) != "wchar" && string(name) != "write_bytes" {
			continue
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err == nil {
			most = max(most, n)
		}
	}
	return most
}
