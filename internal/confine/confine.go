// Package confine makes the kernel refuse to a child process what no parser of images needs: files
// other than those it is given, the network, other programs and other processes. It uses Landlock,
// seccomp and resource limits, on Linux only.
package confine

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// Mode says what is done if the kernel cannot confine children.
type Mode string

// The modes. The zero value is Best.
const (
	Best    Mode = ""        // confine them as far as this kernel can
	Require Mode = "require" // refuse to work without
	Off     Mode = "off"     // leave them unconfined
)

// The parts of the confinement, as messages name them.
const (
	privileges = "no new privileges"
	landlock   = "landlock"
	limits     = "limits of the process"
	// Seccomp is the part that a child sets itself.
	Seccomp = "seccomp"
)

// Parts says which parts of the confinement this kernel has.
type Parts struct {
	Active, Missing []string
}

// String lists the parts for a log line.
func (p Parts) String() string {
	s := strings.Join(p.Active, ", ")
	if s == "" {
		s = "none"
	}
	if len(p.Missing) > 0 {
		s += "; not on this machine: " + strings.Join(p.Missing, ", ")
	}
	return s
}

func (p *Parts) add(active bool, part string) {
	if active {
		p.Active = append(p.Active, part)
	} else {
		p.Missing = append(p.Missing, part)
	}
}

// Access is what a confined child may reach. Paths are absolute.
type Access struct {
	Command  string   // the program, which it may run
	Dir      string   // where it may write
	Readable []string // the directories that it may read
}

// EnvOff is the environment variable, with its value, that makes [Self] do nothing.
const EnvOff = "PRATIQUE_UNCONFINED=1"

// ErrUnavailable is the error of mode Require on a kernel that cannot confine.
var ErrUnavailable = errors.New(`the child cannot be confined as inspect.confinement: "require" demands`)

// Self sets the part of the confinement that a child has to set itself, before it reads any input.
// It returns the parts that are in force; the parent decides whether they suffice.
func Self() []string {
	if slices.Contains(os.Environ(), EnvOff) || filterCalls() != nil {
		return nil
	}
	return []string{Seccomp}
}
