package inspector

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Confinement says what is done when the kernel cannot confine children.
type Confinement string

// The ways of confining children. The zero value is ConfineBest.
const (
	ConfineBest    Confinement = ""        // confine them as far as this kernel can
	ConfineRequire Confinement = "require" // refuse to work where it cannot
	ConfineOff     Confinement = "off"     // leave them unconfined
)

// The parts of the confinement, as they are named to people.
const (
	partPrivileges = "no new privileges"
	partLandlock   = "landlock"
	partSeccomp    = "seccomp"
	partLimits     = "limits of the process"
)

// Confined says which parts of the confinement this kernel has.
type Confined struct {
	Active, Missing []string
}

// String lists the parts for a log line.
func (c Confined) String() string {
	s := strings.Join(c.Active, ", ")
	if s == "" {
		s = "none"
	}
	if len(c.Missing) > 0 {
		s += "; not on this machine: " + strings.Join(c.Missing, ", ")
	}
	return s
}

// envUnconfined tells a child to leave itself unconfined.
const envUnconfined = "PRATIQUE_UNCONFINED=1"

var errUnconfined = errors.New(`the child cannot be confined as inspect.confinement: "require" demands`)

// readable is where the directories that a child may read lay when it was started. One that was made, or replaced,
// since then is closed to it.
func readable(dirs []string) []string {
	found := make([]string, len(dirs))
	for i, dir := range dirs {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			found[i] = resolved
		}
	}
	return found
}

// outdated reports whether a child was started when a directory that it may read was elsewhere, or nowhere.
func (c *child) outdated(cfg Config) bool { return !slices.Equal(c.readable, readable(cfg.Readable)) }

// confineSelf is the part of the confinement that a child has to do itself, before it reads anything from outside. It
// returns the parts that are in force.
func confineSelf() []string {
	if slices.Contains(os.Environ(), envUnconfined) {
		return nil
	}
	if err := filterCalls(); err != nil {
		return nil // the parent decides what that means
	}
	return []string{partSeccomp}
}
