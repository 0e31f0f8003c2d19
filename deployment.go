package pratique

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Bounds of a deployment. An image has as many revisions as its owner pushes tags.
const (
	MaxPresent = 50
	MaxEarlier = 20
)

// DeploymentKey names a deployment: an image repository in a target.
type DeploymentKey struct {
	Target     string     `json:"target"`
	Repository Repository `json:"repository"`
}

// Deployment is an image repository in a target: the digests that the target holds, and those that
// it held before, as far as the facts say. It is the fold of all facts about the two.
type Deployment struct {
	DeploymentKey
	// Remote and Branch are where the newest fact says that the target is.
	Remote string `json:"remote"`
	Branch string `json:"branch"`
	// Present are the revisions that the target holds, the newest first, at most [MaxPresent].
	// There are several if places of the target ask for different tags, and none if somebody took
	// the image away.
	Present []Revision `json:"present"`
	// Earlier are the last revisions of digests that are no longer present, the one that ended last
	// first, at most [MaxEarlier].
	Earlier []Revision `json:"earlier,omitempty"`
	// Drift is set after somebody took a present digest away, until the next commit deploys one.
	Drift *Drifted `json:"drift,omitempty"`
	// Seq is the ledger position of the newest fact.
	Seq uint64 `json:"seq"`
}

// Revision is a digest that a commit brought to a deployment under one tag.
type Revision struct {
	Digest Digest `json:"digest"`
	// Tag is empty if a digest was found in Git again, in a place without a tag.
	Tag string `json:"tag,omitempty"`
	// Commit is the id of the Git commit and At its committer's time. Event is the push that led to
	// it, Seq the position of the fact.
	Commit string    `json:"commit,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Event  string    `json:"event,omitempty"`
	Seq    uint64    `json:"seq"`
	// Places identifies the values that name it; none if the fact did not list them all, or it is
	// no longer present.
	Places []string `json:"places,omitempty"`
	// Until is when it ended, End how: superseded by the digest ReplacedBy, or as Detail says, or
	// reverted by somebody.
	Until      time.Time `json:"until,omitzero"`
	End        State     `json:"end,omitempty"`
	ReplacedBy Digest    `json:"replacedBy,omitzero"`
	Detail     string    `json:"detail,omitempty"`
}

// Deployment returns the deployment that a fact is about; false if it is about none.
func (f Fact) Deployment() (DeploymentKey, bool) {
	return DeploymentKey{Target: f.Target(),
		Repository: f.Subject.Repository}, f.Kind().About() == AboutDeployment
}

// Fold adds the fact at ledger position seq, and returns the digests that it replaced. The first
// fact names the deployment. A fact about another one, or at a position that was folded before,
// changes nothing.
func (d *Deployment) Fold(seq uint64, f Fact) (replaced []Digest) {
	key, ok := f.Deployment()
	if !ok || seq <= d.Seq || d.Seq > 0 && key != d.DeploymentKey {
		return nil
	}
	d.DeploymentKey, d.Seq = key, seq
	switch body := f.Body.(type) {
	case *Commit:
		return d.deploy(seq, f, body)
	case *Drifted:
		d.drift(f, body)
	}
	return nil
}

// Holds reports whether the target holds the digest.
func (d *Deployment) Holds(digest Digest) bool {
	return slices.ContainsFunc(d.Present, func(r Revision) bool { return r.Digest == digest })
}

func (d *Deployment) deploy(seq uint64, f Fact, c *Commit) (replaced []Digest) {
	d.Remote, d.Branch = c.Remote, c.Branch
	next := Revision{
		Digest: f.Subject.Digest, Tag: c.Tag, Commit: c.ID, At: c.At, Event: f.Event, Seq: seq,
		Places: placesOf(c),
	}
	var present, ended []Revision
	known := false // a later event, or a redelivered job, reports the commit that it found
	for _, r := range d.Present {
		same := r.Digest == next.Digest && r.Tag == next.Tag && r.Commit == next.Commit
		known = known || same
		if same || !next.replaces(r) {
			present = append(present, r)
		} else {
			ended = append(ended, r)
		}
	}
	if !known {
		present = slices.Insert(present, 0, next)
	}
	d.Drift, d.Present = nil, present[:min(len(present), MaxPresent)]
	return d.end(ended, func(r *Revision) {
		r.Until, r.End, r.ReplacedBy = f.At, StateSuperseded, next.Digest
	})
}

func (d *Deployment) drift(f Fact, body *Drifted) {
	d.Remote, d.Branch = body.Remote, body.Branch
	if body.Remains {
		d.restore(f.Subject.Digest)
		if body.State == StateReverted && d.Holds(f.Subject.Digest) {
			d.Drift = body
		}
		return
	}
	var ended, stay []Revision
	for _, r := range d.Present {
		if r.Digest == f.Subject.Digest {
			ended = append(ended, r)
		} else {
			stay = append(stay, r)
		}
	}
	if len(ended) == 0 {
		return
	}
	d.Present = stay
	if body.State == StateReverted {
		d.Drift = body
	}
	d.end(ended, func(r *Revision) { r.Until, r.End, r.Detail = f.At, body.State, body.Detail })
}

// restore makes an earlier revision of a digest present again, unless one is.
func (d *Deployment) restore(digest Digest) {
	i := slices.IndexFunc(d.Earlier, func(r Revision) bool { return r.Digest == digest })
	if i < 0 || d.Holds(digest) {
		return
	}
	r := d.Earlier[i]
	r.Until, r.End, r.ReplacedBy, r.Detail = time.Time{}, "", Digest{}, ""
	d.Earlier = slices.Delete(slices.Clone(d.Earlier), i, i+1)
	older := slices.IndexFunc(d.Present, func(other Revision) bool { return other.Seq < r.Seq })
	if older < 0 {
		older = len(d.Present)
	}
	present := slices.Insert(slices.Clone(d.Present), older, r)
	d.Present = present[:min(len(present), MaxPresent)]
}

// end moves revisions to the earlier ones, unless their digest is still present under another tag.
// It returns the digests that are present no longer.
func (d *Deployment) end(ended []Revision, mark func(*Revision)) (gone []Digest) {
	var earlier []Revision
	for _, r := range ended {
		if d.Holds(r.Digest) || slices.Contains(gone, r.Digest) {
			continue
		}
		gone = append(gone, r.Digest)
		mark(&r)
		r.Places = nil
		earlier = append(earlier, r)
	}
	for _, r := range d.Earlier {
		if !d.Holds(r.Digest) && !slices.Contains(gone, r.Digest) {
			earlier = append(earlier, r)
		}
	}
	d.Earlier = earlier[:min(len(earlier), MaxEarlier)]
	return gone
}

// replaces reports whether nothing is left of an older revision. The gate has written every place
// that asks for the tag, so a revision under the same tag is gone. One under another tag is gone if
// all of its places are among those of this revision. Otherwise it stays until somebody looks at
// Git and records that it has drifted.
func (r Revision) replaces(old Revision) bool {
	switch {
	case old.Tag != "" && old.Tag == r.Tag, old.Tag == "" && old.Digest == r.Digest:
		return true
	case len(old.Places) == 0:
		return false
	}
	return !slices.ContainsFunc(old.Places, func(place string) bool {
		return !slices.Contains(r.Places, place)
	})
}

// placesOf identifies the values that a commit names. The line of a value changes with what stands
// above it, so it counts only if nothing else says where the value is.
func placesOf(c *Commit) []string {
	if c.MoreFiles > 0 {
		return nil
	}
	var all []string
	for _, f := range c.Files {
		if f.Field != "" {
			f.Line = 0
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", f.Path, f.Object, f.Field, f.Line))
		all = append(all, hex.EncodeToString(sum[:8]))
	}
	return all
}
