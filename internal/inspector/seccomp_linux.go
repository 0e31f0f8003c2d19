//go:build linux && (amd64 || arm64)

package inspector

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls that no parser makes. Who makes one is under somebody else's control, and dies of it.
var deadlyCalls = [...]uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SYSLOG, unix.SYS_QUOTACTL,
}

// Calls that a library might make in good faith, and that are refused all the same: the network, other programs,
// signals to others, changes of its own limits, and memory or disk that is not counted.
var refusedCalls = [...]uint32{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PIDFD_GETFD, unix.SYS_SETRLIMIT, unix.SYS_PRLIMIT64,
	unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_FALLOCATE, unix.SYS_MKNODAT, unix.SYS_IO_URING_SETUP,
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_MQ_OPEN, unix.SYS_PERSONALITY, unix.SYS_SETUID, unix.SYS_SETGID,
}

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetFlags  = 16 // the low half of the first argument; both architectures are little-endian
)

const (
	denyAccess  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	denyUnknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func answer(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// on compares what was loaded, and skips no instruction or one.
func on(comparison uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | comparison, Jt: yes, Jf: no, K: k}
}

// callFilter is the program that the kernel runs at every call.
func callFilter() []unix.SockFilter {
	program := []unix.SockFilter{
		load(offsetArch), on(unix.BPF_JEQ, auditArch, 1, 0), answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		// x32, on amd64, numbers the same calls anew from here.
		on(unix.BPF_JGE, 0x40000000, 0, 1), answer(unix.SECCOMP_RET_KILL_PROCESS),
	}
	deny := func(call, action uint32) {
		program = append(program, on(unix.BPF_JEQ, call, 0, 1), answer(action))
	}
	for _, call := range deadlyCalls {
		deny(call, unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, call := range append(refusedCalls[:], archCalls[:]...) {
		deny(call, denyAccess)
	}
	// Its flags lie in memory, where no filter can look: the C library falls back to clone.
	deny(unix.SYS_CLONE3, denyUnknown)
	return append(program,
		// New threads are fine, new processes are not.
		on(unix.BPF_JEQ, unix.SYS_CLONE, 1, 0), answer(unix.SECCOMP_RET_ALLOW),
		load(offsetFlags), on(unix.BPF_JSET, unix.CLONE_THREAD, 1, 0), answer(denyAccess),
		answer(unix.SECCOMP_RET_ALLOW),
	)
}

// canFilter reports whether the kernel filters calls as we need it.
func canFilter() bool {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))) //nolint:gosec // the kernel reads four bytes
	return errno == 0
}

// filterCalls sets the filter on all threads of this process, for good.
func filterCalls() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := callFilter()
	if len(program) > math.MaxUint16 {
		return unix.E2BIG
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}                                                                      //nolint:gosec // checked above
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter))) //nolint:gosec // its length is in it
	if errno != 0 {
		return errno
	}
	return nil
}
