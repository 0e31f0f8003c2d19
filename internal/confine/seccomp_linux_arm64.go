package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// archCalls are refused calls that other architectures do not have.
var archCalls = [...]uint32{}

// archOpen are calls that open files by path and flags.
var archOpen = [...]uint32{}
