// Package inspector parses images in child processes. A [Pool] keeps children of the same binary warm and
// hands each one image or one inventory at a time; [Serve] is what a child runs. A child that dies, hangs or
// grows too big is killed with its whole process group and replaced, and only that one call fails. Children
// start with an empty environment, hold no credentials and write below a directory that the parent deletes.
//
// The package knows the contracts only; which scanner and which SBOM generator a child uses is decided by
// whoever calls [Serve].
package inspector

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// Config says how children are started and what each may use. The zero value of every field but Command
// is usable.
type Config struct {
	// Command is the program and its arguments that serve as child, for example this binary and the hidden
	// verb "inspect-child".
	Command []string
	// Children is the number of images parsed at the same time; 0 means 1.
	Children int
	// Timeout bounds one call, from the moment a child begins with it; 0 means 10 minutes.
	Timeout time.Duration
	// MemoryBytes is the resident memory above which a child is killed; its Go runtime is told to stay below
	// nine tenths of that. 0 means 2 GiB.
	MemoryBytes int64
	// TempDir is the directory below which children write; "" means the system's. What a pool makes there
	// it deletes, and also what pools left there whose process was killed.
	TempDir string
}

// Result is what inspecting one platform image gives.
type Result struct {
	Image     pratique.ImageConfig
	Inventory pratique.Inventory
	// SPDX and CycloneDX are the SBOMs as JSON, Generator the tool that made them and Packages the number
	// of packages in them.
	SPDX      []byte
	CycloneDX []byte
	Generator pratique.Tool
	Packages  int
}

const (
	defaultTimeout = 10 * time.Minute
	defaultMemory  = 2 << 30
)
