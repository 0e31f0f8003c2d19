//go:build !linux

package inspector

import (
	"os/exec"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // already gone is fine too
	_ = cmd.Process.Kill()                              // it may have gone to another group
}

// awaitExit is known on Linux only.
func awaitExit(int) bool { return false }

// resident is known on Linux only; elsewhere the child's own GOMEMLIMIT is all there is.
func resident(int) (int64, bool) { return 0, false }

// written is known on Linux only.
func written(int) int64 { return 0 }
