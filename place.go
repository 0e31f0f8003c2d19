package pratique

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Object is the Kubernetes object that a part of a file describes. What the file does not have is
// empty.
type Object struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// At returns "Kind namespace/name field", without what is empty.
func (o Object) At(field string) string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + o.Name
	}
	return strings.Join(strings.Fields(o.Kind+" "+name+" "+field), " ")
}

// Place is a value in a config repository that names an image, as the tip of the branch has it.
type Place struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	// Object and Field are for people. The index of a list entry changes with the entries above it,
	// so they do not identify a place.
	Object Object `json:"object,omitzero"`
	Field  string `json:"field,omitempty"`
	// Tag and Digest are what it names; either may be missing. TagOnly says that the value cannot
	// have a digest.
	Tag     string `json:"tag,omitempty"`
	Digest  Digest `json:"digest,omitzero"`
	TagOnly bool   `json:"tagOnly,omitempty"`
	// Tags is the pattern of a place that asks for certain tags only.
	Tags string `json:"tags,omitempty"`
	// Since is the commit that wrote the value, and SinceAt its committer's time. Both are zero if
	// the commit is older than the history that was read.
	Since   string    `json:"since,omitempty"`
	SinceAt time.Time `json:"sinceAt,omitzero"`
}

// MaxPlaces bounds the places that a fact lists.
const MaxPlaces = 20

// Drifted says that a target does not hold the fact's subject wherever it asks for it, although an
// earlier fact says that it was deployed there. It corrects that fact; the subject is deployed
// there again only if a later fact says so.
type Drifted struct {
	Target string `json:"target"`
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// State is [StateSuperseded] if another digest was deployed, and [StateReverted] if somebody
	// removed the subject.
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	// Remains says that some places still name the subject, and others that ask for it do not.
	Remains bool `json:"remains,omitempty"`
	// Tip is the commit that was read. Places are what it names instead, at most [MaxPlaces]; none
	// if nothing names the image.
	Tip    string  `json:"tip"`
	Places []Place `json:"places,omitempty"`
}

// PlaceProblem is a place of a target that could not be edited.
type PlaceProblem struct {
	Target string `json:"target"`
	Problem
}

// MaxProblems bounds the problems that a fact lists.
const MaxProblems = 20

// forgetDrift removes the drift of a target. It makes a new list, because the old one may be shared
// with a copy of r.
func (r *Record) forgetDrift(target string) {
	var kept []Drifted
	for _, d := range r.Drifted {
		if d.Target != target {
			kept = append(kept, d)
		}
	}
	r.Drifted = kept
}

// Supersede says that a commit put another digest in the subject's place. Only the fold of a
// [Deployment] finds that out: the fact is about the other digest.
func (r *Record) Supersede(by Digest, c *Commit) {
	r.forgetDrift(c.Target)
	r.Drifted = append(r.Drifted, Drifted{
		Target: c.Target, Remote: c.Remote, Branch: c.Branch, State: StateSuperseded, Tip: c.ID,
		Detail: fmt.Sprintf("commit %s put %s in its place", cmp.Or(c.ID, "unknown"), by),
	})
}

// Standing returns the targets that hold the subject as far as the facts say, in the order in which
// it was deployed to them.
func (r *Record) Standing() []string {
	gone, listed := map[string]bool{}, map[string]bool{}
	for _, d := range r.Drifted {
		gone[d.Target] = true
	}
	var targets []string
	for _, c := range r.Deployed {
		if !gone[c.Target] && !listed[c.Target] {
			listed[c.Target] = true
			targets = append(targets, c.Target)
		}
	}
	return targets
}

// TargetPlaces is what one target holds of one image repository.
type TargetPlaces struct {
	Target     string     `json:"target"`
	Remote     string     `json:"remote"`
	Branch     string     `json:"branch"`
	Repository Repository `json:"repository"`
	// Tip is the commit that was read, and ObservedAt when the branch was at it. They are old if
	// Failure says why the branch could not be read now, and zero if it never could.
	Tip        string    `json:"tip,omitempty"`
	ObservedAt time.Time `json:"observedAt,omitzero"`
	Failure    string    `json:"failure,omitempty"`
	// Places are some of Count, in the order of the files, with at least one of each digest if there
	// is room.
	Places []Place `json:"places,omitempty"`
	Count  int     `json:"count"`
	// Problems are places of the repository that cannot be edited.
	Problems []Problem `json:"problems,omitempty"`
	// Hints are lines that may have been meant as places, if there is none. Nothing depends on them.
	Hints []Problem `json:"hints,omitempty"`
}
