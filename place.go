package pratique

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Object is what a part of a file describes, as Kubernetes has it. What the file does not say is empty.
type Object struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// At returns "Kind namespace/name field", as far as it is known.
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
	// Object and Field say where it is for people: the number of an entry in a list changes with those above it, so whether
	// two places are the same is decided without them.
	Object Object `json:"object,omitzero"`
	Field  string `json:"field,omitempty"`
	// Tag and Digest are what it names; either may be missing there. TagOnly is set where there is no room for a digest.
	Tag     string `json:"tag,omitempty"`
	Digest  Digest `json:"digest,omitzero"`
	TagOnly bool   `json:"tagOnly,omitempty"`
	// Tags is the pattern of a place that does not ask for every tag.
	Tags string `json:"tags,omitempty"`
	// Since is the commit that put this there, and SinceAt its committer's time. Both are zero if that commit is older than
	// the history that was looked at.
	Since   string    `json:"since,omitempty"`
	SinceAt time.Time `json:"sinceAt,omitzero"`
}

// MaxPlaces bounds the places that a fact lists.
const MaxPlaces = 20

// Drifted says that a target does not hold the fact's subject, though a fact before says that it was deployed there. It
// corrects that fact: the subject is deployed there again only if a later one says so.
type Drifted struct {
	Target string `json:"target"`
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// State is [StateSuperseded] if another digest was deployed over it, and [StateReverted] if somebody took it away.
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	// Tip is the commit that was looked at, Places what it names instead, at most [MaxPlaces]; none if nothing names the
	// image any longer.
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

// forgetDrift takes back what was said about a target. It makes a new list: the old one may be shared with a copy of r.
func (r *Record) forgetDrift(target string) {
	var kept []Drifted
	for _, d := range r.Drifted {
		if d.Target != target {
			kept = append(kept, d)
		}
	}
	r.Drifted = kept
}

// Supersede says that a commit put another digest in the subject's place. Only the fold of a [Deployment] finds that out: the
// fact is about the other digest.
func (r *Record) Supersede(by Digest, c *Commit) {
	r.forgetDrift(c.Target)
	r.Drifted = append(r.Drifted, Drifted{
		Target: c.Target, Remote: c.Remote, Branch: c.Branch, State: StateSuperseded, Tip: c.ID,
		Detail: fmt.Sprintf("commit %s put %s in its place", cmp.Or(c.ID, "unknown"), by),
	})
}

// Standing returns the targets that hold the subject as far as the facts say, in the order in which it came to them.
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

// TargetPlaces is what one target holds of one repository of images.
type TargetPlaces struct {
	Target     string     `json:"target"`
	Remote     string     `json:"remote"`
	Branch     string     `json:"branch"`
	Repository Repository `json:"repository"`
	// Tip is the commit that was looked at, and SeenAt when the branch was known to end there. They are older than the
	// question if Failure says why nobody could look now, and zero if nobody ever did.
	Tip        string    `json:"tip,omitempty"`
	ObservedAt time.Time `json:"observedAt,omitzero"`
	Failure    string    `json:"failure,omitempty"`
	// Places are some of Count, in the order of the files: of each digest one at least, as far as there is room.
	Places []Place `json:"places,omitempty"`
	Count  int     `json:"count"`
	// Problems are places that are the repository's and cannot be edited.
	Problems []Problem `json:"problems,omitempty"`
	// Hints say, where there is no place, what may have been meant as one. Nothing follows from them.
	Hints []Problem `json:"hints,omitempty"`
}
