package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock's access rights.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landlockNever = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO
	landlockNet   = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	landlockScope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// What our program needs besides its own file: the dynamic linker and its libraries, time zones,
// and what the Go runtime reads from the kernel. Nothing below /proc, where the secrets of other
// processes are.
var (
	systemRun  = [...]string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
	systemRead = [...]string{"/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo",
		"/sys/kernel/mm/transparent_hugepage", "/dev/urandom"}
)

// landlockVersion returns the kernel's version of Landlock, 0 for none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// Probe returns the parts of the confinement that this kernel has.
func Probe() Parts {
	var p Parts
	p.add(true, privileges)
	p.add(true, limits)
	if v := landlockVersion(); v > 0 {
		p.add(true, landlock+" "+strconv.Itoa(v))
	} else {
		p.add(false, landlock)
	}
	p.add(canFilter(), Seccomp)
	return p
}

// Thread confines the calling thread, and so the processes that it starts. The thread must be
// locked to its goroutine and end with it. A missing part is an error in mode Require only.
func Thread(mode Mode, a Access) error {
	if mode == Off {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("%s: %w", privileges, err)
	}
	version := landlockVersion()
	if version == 0 {
		if mode == Require {
			return fmt.Errorf("%w: this kernel has no Landlock", ErrUnavailable)
		}
		return nil
	}
	if err := restrict(a, version); err != nil {
		return fmt.Errorf(`%s, which this kernel has, fails (inspect.confinement: "off" does without): %w`, landlock, err)
	}
	return nil
}

// restrict sets the Landlock rules of the calling thread.
func restrict(a Access, version int) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockRead | landlockWrite | landlockNever | unix.LANDLOCK_ACCESS_FS_EXECUTE}
	below := uint64(landlockRead | landlockWrite)
	if version >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
		below |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		below |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= 4 {
		attr.Handled_access_net = landlockNet
	}
	if version >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= 6 {
		attr.Scoped = landlockScope
	}
	// Only the three fields that all these versions have.
	size := unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // the kernel reads size bytes of it
	if errno != 0 {
		return errno
	}
	fd := int(set)
	defer func() { _ = unix.Close(fd) }() // it has done its work
	allow := func(path string, rights uint64) error { return landlockAllow(fd, path, rights) }
	err := errors.Join(allow(a.Dir, below),
		allow(a.Command, unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_EXECUTE))
	for _, path := range systemRun {
		err = errors.Join(err, unlessMissing(allow(path, landlockRead|unix.LANDLOCK_ACCESS_FS_EXECUTE)))
	}
	for _, path := range append(systemRead[:], a.Readable...) {
		err = errors.Join(err, unlessMissing(allow(path, landlockRead)))
	}
	err = errors.Join(err,
		unlessMissing(allow(os.DevNull,
			unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_WRITE_FILE)))
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// landlockAllow gives rights to path and everything below it.
func landlockAllow(set int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // nothing was read
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR { // the others are for directories only
		rights &= unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights,
		Parent_fd: int32(fd)} //nolint:gosec // a file descriptor
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set),
		unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // the kernel knows its size
	if errno != 0 {
		return &fs.PathError{Op: "allow", Path: path, Err: errno}
	}
	return nil
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maxFiles is how many files a child may have open.
const maxFiles = 4096

// Limit sets the resource limits of a process, which may make no file larger than fileBytes, and
// makes it the first to be killed if memory runs out.
func Limit(pid int, fileBytes int64) error {
	for _, limit := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_FSIZE, uint64(fileBytes)}, //nolint:gosec // above zero
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, maxFiles},
	} {
		if err := unix.Prlimit(pid, limit.resource, &unix.Rlimit{Cur: limit.max, Max: limit.max},
			nil); err != nil {
			return fmt.Errorf("%s: %w", limits, err)
		}
	}
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("1000"), 0)
}

// SealDescriptors keeps the descriptors that this process inherited from the programs that it
// starts. Go closes those that it opens itself.
func SealDescriptors() error {
	const first = 3
	if unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	all, err := os.ReadDir("/proc/self/fd") // kernels before 5.11
	if err != nil {
		return err
	}
	for _, item := range all {
		if fd, err := strconv.Atoi(item.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
