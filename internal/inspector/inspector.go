// Package inspector parses images in child processes. A [Pool] keeps children of the same binary
// warm and gives each one image or inventory at a time; [Serve] runs in the child. A child that
// dies, hangs or grows too big is killed with its process group and replaced, and only that call
// fails. Children start with an empty environment, hold no credentials and write below a directory
// that the parent deletes. On Linux the kernel enforces this: a child can only read what it needs,
// and cannot use the network, other programs or other processes.
//
// The package uses the contracts of scanner and SBOM generator; the caller of [Serve] chooses the
// implementations.
package inspector

import (
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/confine"
	"github.com/pratique-dev/pratique/scanner"
)

// Config says how children are started and what each may use. Only Command is required.
type Config struct {
	// Command is the child's program with its arguments, for example this binary and the hidden
	// verb "inspect-child".
	Command []string
	// Children is the number of images parsed at the same time; 0 means 1. Warm is how many of them
	// are started in advance; 0 means all.
	Children, Warm int
	// Domain returns the domain of an image. Images of a domain share children and analyses of
	// layers: a child that one of them compromised may lie about the others, but not about images
	// of other domains. Nil means [Project].
	Domain func(s pratique.Subject) string
	// OwnMatch lets the child that parsed an image match its inventory, for callers that inspect
	// one image and store nothing. Otherwise children that match have parsed no image.
	OwnMatch bool
	// MatchOnly is for children that never parse an image: Inspect is refused.
	MatchOnly bool
	// Timeout bounds one call from the moment a child begins with it; 0 means 10 minutes.
	Timeout time.Duration
	// MemoryBytes is the resident memory above which a child is killed; its Go runtime is limited
	// to nine tenths of that. 0 means 2 GiB.
	MemoryBytes int64
	// WrittenBytes is what one call may write to disk; no file may be larger than half of it. 0
	// means 8 GiB.
	WrittenBytes int64
	// Confinement says what is done if the kernel cannot confine children.
	Confinement confine.Mode
	// Readable are the directories that children may read, in addition to what programs need: those
	// of layers and databases. A child that was started before one of them was made, or replaced,
	// is replaced.
	Readable []string
	// TempDir is the directory below which children write; "" means the system's. The pool deletes
	// what it makes there, and what pools of killed processes left there.
	TempDir string
	// Shadow chooses the images whose SBOMs are also made in full and compared; nil means none. The
	// children need a [Child.Full] for it.
	Shadow func(s pratique.Subject) bool
	// Java returns the Java database for the next image; nil means none. If it fails, so does the
	// inspection.
	Java func() (scanner.DatabaseDir, error)
	// Analyses keeps what children find in single layers; nil keeps nothing. Fingerprint identifies
	// what they depend on, and has to equal that of the [Child].
	Analyses    Analyses
	Fingerprint string
}

// Project is the first part of a repository's path, with the registry: a Harbor project, a GitHub
// or Docker Hub account, a Quay organization, a GitLab group. In nearly all registries the same
// people may write to all of it.
func Project(s pratique.Subject) string {
	first, _, _ := strings.Cut(s.Repository.Path, "/")
	return s.Repository.Registry + "/" + first
}

// Repository is one repository.
func Repository(s pratique.Subject) string { return s.Repository.String() }

// Image is one image: each gets a child of its own, and shares no analyses.
func Image(s pratique.Subject) string { return s.String() }

// Analyses keeps analyses of single layers for all children, also across restarts. Children only
// read its files.
type Analyses interface {
	// Get returns the file with the analysis of a layer, which stays until release is called.
	Get(layer pratique.Digest, fingerprint string) (path string, release func(), ok bool)
	// Put stores an analysis. It never replaces one.
	Put(layer pratique.Digest, fingerprint string, analysis []byte) error
}

// Result is the result of inspecting one platform image.
type Result struct {
	pratique.Inspection
	// Shadow compares these SBOMs with those of the regular generator; nil if the image was not
	// chosen for that.
	Shadow *Shadow
}

const (
	defaultTimeout = 10 * time.Minute
	defaultMemory  = 2 << 30
	defaultWritten = 8 << 30
)
