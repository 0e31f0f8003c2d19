//go:build linux && (amd64 || arm64)

package confine

import (
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls that no parser makes. A process that makes one is compromised, and is killed.
var deadlyCalls = [...]uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT,
	unix.SYS_OPEN_TREE,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
	unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SETTIMEOFDAY,
	unix.SYS_CLOCK_SETTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SYSLOG, unix.SYS_QUOTACTL,
	unix.SYS_QUOTACTL_FD,
	unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME, unix.SYS_FANOTIFY_INIT,
}

// Calls that a library might make in good faith, and that are refused all the same: network, other
// programs, signals and whatever else affects other processes, changes of its own limits, memory or
// disk that is not accounted, and what Landlock does not cover: owners and attributes of read-only
// files, and, in its first two versions, their length.
var refusedCalls = [...]uint32{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN,
	unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO,
	unix.SYS_RT_TGSIGQUEUEINFO,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PIDFD_GETFD, unix.SYS_SETRLIMIT,
	unix.SYS_PRLIMIT64,
	unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_FALLOCATE, unix.SYS_MKNODAT,
	unix.SYS_IO_URING_SETUP,
	unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_MQ_OPEN, unix.SYS_PERSONALITY, unix.SYS_SETUID,
	unix.SYS_SETGID,
	unix.SYS_SETPGID, unix.SYS_SETSID, unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET,
	unix.SYS_SCHED_SETSCHEDULER,
	unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETAFFINITY, unix.SYS_PROCESS_MADVISE,
	unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR,
	unix.SYS_LREMOVEXATTR,
	unix.SYS_FREMOVEXATTR, unix.SYS_TRUNCATE,
}

// Calls that succeed and do nothing. Landlock does not cover file modes, and Trivy sets those of
// its temporary files, without need, to those in the image.
var ignoredCalls = [...]uint32{unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2}

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetFirst  = 16 // the low half of the first argument; both architectures are little-endian
	offsetSecond = 24
	offsetThird  = 32
)

const (
	denyAccess  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	denyQuietly = unix.SECCOMP_RET_ERRNO
	denyUnknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func filterReturn(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// jumpIf compares the loaded value and skips so many instructions.
func jumpIf(comparison uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | comparison, Jt: yes, Jf: no, K: k}
}

// callFilter returns the program that the kernel runs at every call.
func callFilter() []unix.SockFilter {
	program := []unix.SockFilter{
		load(offsetArch), jumpIf(unix.BPF_JEQ, auditArch, 1, 0),
		filterReturn(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		// On amd64 the calls of x32 start here.
		jumpIf(unix.BPF_JGE, 0x40000000, 0, 1), filterReturn(unix.SECCOMP_RET_KILL_PROCESS),
	}
	deny := func(call, action uint32) {
		program = append(program, jumpIf(unix.BPF_JEQ, call, 0, 1), filterReturn(action))
	}
	for _, call := range deadlyCalls {
		deny(call, unix.SECCOMP_RET_KILL_PROCESS)
	}
	for _, call := range append(refusedCalls[:], archCalls[:]...) {
		deny(call, denyAccess)
	}
	for _, call := range ignoredCalls {
		deny(call, denyQuietly)
	}
	// The arguments of these are in memory, where no filter can look. The C library falls back to
	// older calls.
	deny(unix.SYS_CLONE3, denyUnknown)
	deny(unix.SYS_OPENAT2, denyUnknown)
	// when runs instructions on one argument of a call. They have to end with a return.
	when := func(call, argument uint32, then ...unix.SockFilter) {
		program = append(program, jumpIf(unix.BPF_JEQ, call, 0, uint8(1+len(then))), load(argument)) //nolint:gosec // a few
		program = append(program, then...)
	}
	allow, refuse := filterReturn(unix.SECCOMP_RET_ALLOW), filterReturn(denyAccess)
	// New threads are fine, new processes are not.
	when(unix.SYS_CLONE, offsetFirst, jumpIf(unix.BPF_JSET, unix.CLONE_THREAD, 1, 0), refuse, allow)
	// The Go runtime signals its own threads.
	when(unix.SYS_TGKILL, offsetFirst, jumpIf(unix.BPF_JEQ, uint32(os.Getpid()), 1, 0), refuse, allow) //nolint:gosec // above zero
	// A file that is opened read-only must not be truncated.
	noTruncate := []unix.SockFilter{jumpIf(unix.BPF_JSET, unix.O_TRUNC, 0, 2),
		jumpIf(unix.BPF_JSET, unix.O_ACCMODE, 1, 0), refuse, allow}
	when(unix.SYS_OPENAT, offsetThird, noTruncate...)
	for _, call := range archOpen {
		when(call, offsetSecond, noTruncate...)
	}
	// Signals that the kernel would send on its behalf.
	when(unix.SYS_FCNTL, offsetSecond, jumpIf(unix.BPF_JEQ, unix.F_SETOWN, 2, 0),
		jumpIf(unix.BPF_JEQ, unix.F_SETOWN_EX, 1, 0),
		jumpIf(unix.BPF_JEQ, unix.F_SETSIG, 0, 1), refuse, allow)
	// It cannot outlive its parent.
	when(unix.SYS_PRCTL, offsetFirst, jumpIf(unix.BPF_JEQ, unix.PR_SET_PDEATHSIG, 0, 1), refuse, allow)
	return append(program, allow)
}

// canFilter reports whether the kernel can filter calls as needed.
func canFilter() bool {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0,
		uintptr(unsafe.Pointer(&action))) //nolint:gosec // the kernel reads four bytes
	return errno == 0
}

// filterCalls sets the filter on all threads of this process, irrevocably.
func filterCalls() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := callFilter()
	if len(program) > math.MaxUint16 {
		return unix.E2BIG
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]} //nolint:gosec // checked above
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&filter))) //nolint:gosec // its length is in it
	if errno != 0 {
		return errno
	}
	return nil
}
