// Package inspector parses images in child processes. A [Pool] keeps children of the same binary warm and
// hands each one image or one inventory at a time; [Serve] is what a child runs. A child that dies, hangs or
// grows too big is killed with its whole process group and replaced, and only that one call fails. Children
// start with an empty environment, hold no credentials and write below a directory that the parent deletes. On Linux
// the kernel keeps them to that: each can read what it needs, and reaches no network, no other program and no other
// process.
//
// The package knows the contracts only; which scanner and which SBOM generator a child uses is decided by
// whoever calls [Serve].
package inspector

import (
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Config says how children are started and what each may use. The zero value of every field but Command
// is usable.
type Config struct {
	// Command is the program and its arguments that serve as child, for example this binary and the hidden
	// verb "inspect-child".
	Command []string
	// Children is the number of images parsed at the same time; 0 means 1. Warm is how many of them are started before
	// they are needed; 0 means all.
	Children, Warm int
	// Domain says which images are served by the same child, and share what children found in single layers: a child that
	// one of them took over may lie about the others, and about no more. Nil means [Project].
	Domain func(s pratique.Subject) string
	// OwnMatch has the child that parsed an image match what it found. It is for who looks at one image and remembers
	// nothing; otherwise an inventory is matched by a child that has parsed no image.
	OwnMatch bool
	// MatchOnly is for children that never see an image: then Inspect is refused.
	MatchOnly bool
	// Timeout bounds one call, from the moment a child begins with it; 0 means 10 minutes.
	Timeout time.Duration
	// MemoryBytes is the resident memory above which a child is killed; its Go runtime is told to stay below
	// nine tenths of that. 0 means 2 GiB.
	MemoryBytes int64
	// WrittenBytes is what one call may write to disk; no file may be larger than half of it. 0 means 8 GiB.
	WrittenBytes int64
	// Confinement says what is done where the kernel cannot confine children.
	Confinement Confinement
	// Readable are the directories below which children may read, beside what programs need to run: where layers and
	// databases lie. A child that was started before one of them was made, or replaced, is replaced itself.
	Readable []string
	// TempDir is the directory below which children write; "" means the system's. What a pool makes there
	// it deletes, and also what pools left there whose process was killed.
	TempDir string
	// Shadow says whose SBOMs are also made in full, and compared; nil means none. The children need a
	// [Child.Full] for it.
	Shadow func(s pratique.Subject) bool
	// Java gives the Java database for each image; nil if none is wanted. If it fails, so does the inspection.
	Java func() (scanner.DatabaseDir, error)
	// Analyses keeps what children find in single layers; nil means that nothing is kept. Fingerprint
	// says what they depend on; it has to be that of the children's [Child].
	Analyses    Analyses
	Fingerprint string
}

// Project is the part of a registry that the same people may write to in nearly all registries: all up to the first
// slash of the path. A Harbor project, a GitHub or Docker Hub account, a Quay organization, a GitLab group.
func Project(s pratique.Subject) string {
	first, _, _ := strings.Cut(s.Repository.Path, "/")
	return s.Repository.Registry + "/" + first
}

// Repository is one repository.
func Repository(s pratique.Subject) string { return s.Repository.String() }

// Image is one image: each gets a child of its own, and nothing that was found in its layers serves another.
func Image(s pratique.Subject) string { return s.String() }

// Analyses keeps analyses of single layers for all children and beyond. Children only ever read its files.
type Analyses interface {
	// Get returns the file with the analysis of a layer, which stays until release is called.
	Get(layer pratique.Digest, fingerprint string) (path string, release func(), ok bool)
	// Put keeps one. It never replaces what Get has.
	Put(layer pratique.Digest, fingerprint string, analysis []byte) error
}

// Result is what inspecting one platform image gives.
type Result struct {
	pratique.Inspection
	// Shadow compares these SBOMs with those of the children's generator; nil if the image was not
	// chosen for it.
	Shadow *Shadow
}

const (
	defaultTimeout = 10 * time.Minute
	defaultMemory  = 2 << 30
	defaultWritten = 8 << 30
	// mostFiles is how many files a child may have open.
	mostFiles = 4096
)
