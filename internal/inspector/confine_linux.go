package inspector

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights that Landlock knows, by the version that brought them.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landlockNever = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO
	landlockNet   = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	landlockScope = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
)

// What a program of ours needs to start and to run, besides its own file: the dynamic linker and its libraries, the
// time zones, and what the Go runtime asks of the kernel. Nothing below /proc, where other processes' secrets are.
var (
	systemRun  = [...]string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
	systemRead = [...]string{"/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/sys/kernel/mm/transparent_hugepage", "/dev/urandom"}
)

// landlockVersion is the version of Landlock that the kernel has, 0 for none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// probe finds out which parts of the confinement this kernel has.
func probe() Confined {
	var c Confined
	note := func(has bool, part string) {
		if has {
			c.Active = append(c.Active, part)
		} else {
			c.Missing = append(c.Missing, part)
		}
	}
	note(true, partPrivileges)
	note(true, partLimits)
	v := landlockVersion()
	if v > 0 {
		c.Active = append(c.Active, partLandlock+" "+strconv.Itoa(v))
	} else {
		c.Missing = append(c.Missing, partLandlock)
	}
	note(canFilter(), partSeccomp)
	return c
}

// confineThread confines the thread that calls it, and so the processes that it starts, to reading what cfg names and
// what programs need, and to writing below dir. The thread must be locked to its goroutine and end with it. Missing
// parts are an error only if they are demanded.
func confineThread(cfg Config, dir string) error {
	if cfg.Confinement == ConfineOff {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("%s: %w", partPrivileges, err)
	}
	version := landlockVersion()
	if version == 0 {
		if cfg.Confinement == ConfineRequire {
			return fmt.Errorf("%w: this kernel has no Landlock", errUnconfined)
		}
		return nil
	}
	if err := landlock(cfg, dir, version); err != nil {
		return fmt.Errorf(`%s, which this kernel has, fails (inspect.confinement: "off" does without): %w`, partLandlock, err)
	}
	return nil
}

func landlock(cfg Config, dir string, version int) error {
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
	// Only the three fields that all these versions know.
	size := unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // the kernel reads size bytes of it
	if errno != 0 {
		return errno
	}
	fd := int(set)
	defer func() { _ = unix.Close(fd) }() // it has done its work
	allow := func(path string, rights uint64) error { return landlockAllow(fd, path, rights) }
	err := errors.Join(allow(dir, below), allow(cfg.Command[0], unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_EXECUTE))
	for _, path := range systemRun {
		err = errors.Join(err, unlessMissing(allow(path, landlockRead|unix.LANDLOCK_ACCESS_FS_EXECUTE)))
	}
	for _, path := range append(systemRead[:], cfg.Readable...) {
		err = errors.Join(err, unlessMissing(allow(path, landlockRead)))
	}
	err = errors.Join(err, unlessMissing(allow(os.DevNull, unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_WRITE_FILE)))
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// landlockAllow gives rights to what lies at path and below it.
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
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR { // of a file only what files have may be asked for
		rights &= unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}                                                               //nolint:gosec // a file descriptor
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // the kernel knows its size
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

// limitProcess sets what the kernel itself keeps a child to, and makes it the first to go when memory runs out.
func limitProcess(pid int, cfg Config) error {
	for _, limit := range []struct {
		resource int
		most     uint64
	}{
		// Half, so that one large file ends as that and not as a killed child.
		{unix.RLIMIT_FSIZE, uint64(cfg.WrittenBytes / 2)}, //nolint:gosec // above zero
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, maxFiles},
	} {
		if err := unix.Prlimit(pid, limit.resource, &unix.Rlimit{Cur: limit.most, Max: limit.most}, nil); err != nil {
			return fmt.Errorf("%s: %w", partLimits, err)
		}
	}
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("1000"), 0)
}
