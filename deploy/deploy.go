// Package deploy turns an allowed image into commits in config repositories. It is the gate: before
// it writes, it verifies the signed verification summary itself, and it refuses a change whose tag
// has moved on. Package verify decides which summary counts, package edit edits files, and package
// gitrepo pushes commits.
package deploy

import (
	"context"
	"fmt"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/verify"
)

// Target is a place in a config repository where digests of matching images are written.
type Target struct {
	// Name is written into commits, so it has to stay the same for one place.
	Name string
	// Images are patterns for "registry/path". At least one.
	Images []pratique.Glob
	// Tags are patterns for the pushed tag; none means every tag.
	Tags []pratique.Glob
	// Path is the folder below which files are edited; empty means the whole repository.
	Path string
	// Repository is where commits go.
	Repository Repository
}

// Validate checks the names and patterns of a target.
func (t Target) Validate() error {
	if t.Name == "" || t.Name != oneLine(t.Name) {
		return fmt.Errorf("target %q: give it a name of one line", t.Name)
	}
	if len(t.Images) == 0 {
		return fmt.Errorf("target %s: name at least one image pattern, such as registry.example.com/team/*", t.Name)
	}
	for _, g := range slices.Concat(t.Images, t.Tags) {
		if err := g.Validate(); err != nil {
			return fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	if t.Repository == nil {
		return fmt.Errorf("target %s: no repository", t.Name)
	}
	return nil
}

// Matches reports whether the target asks for this image under this tag. An image that was pushed
// by digest alone, as the platform children of an index are, matches no target.
func (t Target) Matches(repository pratique.Repository, tag string) bool {
	return tag != "" && pratique.MatchAny(t.Images, repository.String()) &&
		(len(t.Tags) == 0 || pratique.MatchAny(t.Tags, tag))
}

// Summaries reads verification summaries from the registry; a [verify.Reader] does.
type Summaries interface {
	// Summary returns the summary of the subject that counts. It fails with kind NotFound if there
	// is none and Unverified if there are some but none holds.
	Summary(ctx context.Context, subject pratique.Subject) (verify.Summary, error)
}

// Tags resolves tags.
type Tags interface {
	// Digest returns the digest behind ref's tag, uncached; kind NotFound if the tag is gone.
	Digest(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
}

// Outcome is how a change ended in one target.
type Outcome struct {
	// State is deployed if the target held the digest at the tip of its branch; superseded if the
	// tag names another image by now, or something newer stands there; reverted if the digest was
	// deployed before and somebody took it away; and allowed if the target has no file that names
	// the image, or none that a sweep may write to.
	State pratique.State
	// Commit is the commit that this change made, or since which the branch holds the digest: that
	// may be anybody's. It is set if the state is deployed. Files lists the values that name it;
	// where Old equals New nothing had to be written. ID is empty if that commit is older than the
	// history at hand.
	Commit *pratique.Commit
	// Detail explains the state for people, and names what Git holds instead, with its commit.
	Detail string
	// Drifted is set if the target held the digest once and does not now.
	Drifted *pratique.Drifted
	// Problems are places that could not be edited.
	Problems []TargetProblem
}

// TargetProblem is a place of a target that could not be edited. The other places were.
type TargetProblem struct {
	Target string
	pratique.Problem
	// Waits is true if the place is, or may be, one of the image: then [Gate.Deploy] fails with
	// kind Denied, and the change is to be tried again when people have changed the place. Other
	// problems are only reported.
	Waits bool
}
