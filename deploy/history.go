package deploy

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/deploy/edit/locate"
)

// maxBelieved bounds how many commits of ours are looked into, whether they did what they say. Whether a commit is ours is
// asked of every one that is shown and speaks of the image, so what others write does not use it up.
const maxBelieved = 500

// claim is what the trailers of a commit say that it did. Anybody can write them.
type claim struct {
	Past
	target, tag, event string
	digest             pratique.Digest
	// pushed is zero if the time is unknown or cannot be right.
	pushed time.Time
}

// claimOf reads the trailers of a commit about the image. Ours name each of these things once.
func claimOf(p Past, image pratique.Repository, now time.Time) (claim, bool) {
	values := map[string]string{}
	for _, tr := range p.Trailers {
		switch tr.Key {
		case trailerImage, trailerTag, trailerTarget, trailerEvent, trailerPushed:
			if _, twice := values[tr.Key]; twice {
				return claim{}, false
			}
			values[tr.Key] = tr.Value
		}
	}
	name, digest, _ := strings.Cut(values[trailerImage], "@")
	d, err := pratique.ParseDigest(digest)
	if err != nil || name != image.String() || values[trailerTag] == "" || values[trailerTarget] == "" {
		return claim{}, false
	}
	c := claim{Past: p, target: values[trailerTarget], tag: values[trailerTag], event: values[trailerEvent], digest: d}
	// A commit cannot know of a push that comes after it. Its own time has no fractions of a second.
	at, err := time.Parse(time.RFC3339, values[trailerPushed])
	if err == nil && at.Before(p.At.Add(time.Second)) && !at.After(now) {
		c.pushed = at
	}
	return c, true
}

// memory is what the history of the branch says about the change's image.
type memory struct {
	target Target
	change pratique.Change
	now    time.Time

	// last is the newest commit of ours for this target and tag; nil if there is none.
	last *claim
	// later are the commits of ours after it that speak of the image, in whatever target and under whatever tag, the newest
	// first. Whether they did what they say is not known yet.
	later []claim
	// rivals are those among them, and did it, for another tag of this target that was pushed later than the change's.
	rivals []claim
	left   int // commits of ours that may still be looked into
	// unsure is set when a bound was met: then nobody knows whether something newer was written.
	unsure error
}

// read looks for the newest commit of ours for the change's tag, and reports whether it need not see more.
func (m *memory) read(ctx context.Context, past iter.Seq[Past]) (bool, error) {
	m.last, m.later, m.rivals, m.left, m.unsure = nil, nil, nil, maxBelieved, nil
	for p := range past {
		c, ok := claimOf(p, m.change.Subject.Repository, m.now)
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return true, err
		}
		if !c.Ours() { // asked first: what others write must not use up what is there for ours
			continue
		}
		here := c.target == oneLine(m.target.Name)
		tagged := here && c.tag == m.change.Tag
		pushedLater := here && !tagged && !m.change.PushedAt.IsZero() && c.pushed.After(m.change.PushedAt)
		if tagged || pushedLater {
			switch did, err := m.believe(ctx, c); {
			case err != nil:
				return true, err
			case m.unsure != nil: // nothing can be believed any more
				return true, nil
			case !did:
				continue
			case tagged:
				m.last = &c
				return true, nil
			}
			m.rivals = append(m.rivals, c)
		}
		m.later = append(m.later, c)
	}
	return false, nil
}

// errFound ends a search.
var errFound = errors.New("found")

// bound notes that there is more to find out than may be.
func (m *memory) bound() {
	m.unsure = pratique.Errorf(pratique.Denied, "read history", "more than %d commits of the branch are ours or in our name, and speak of %s, so it could not be found out whether something newer "+
		"was written, and nothing is written; push the tag again, and if commits are not signed, give the target a signingKey, as anybody may write in our name without one",
		maxBelieved, m.change.Subject.Repository)
}

// believe reports whether a commit of ours did what it says: one of the files that it changed names the digest.
func (m *memory) believe(ctx context.Context, c claim) (bool, error) {
	if m.left--; m.left < 0 {
		m.bound()
		return false, nil
	}
	prefix := m.target.Path
	if c.target != oneLine(m.target.Name) {
		prefix = "" // the path of another target is not known
	}
	meant := m.change
	meant.Subject.Digest, meant.Tag, meant.RefreshOnly = c.digest, c.tag, false
	if check(meant) != nil {
		return false, nil
	}
	// Whether it did not, or nobody can tell, it counts for nothing.
	_, err := c.Changed(ctx, prefix, func(f File) error {
		places, err := placesIn(ctx, f, edit.ImageOf(meant))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(places, func(p pratique.Place) bool {
			return p.Digest == c.digest || p.TagOnly && p.Tag == c.tag
		}) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// wrote finds the newest commit of ours, after the last one for the tag, that brought a digest or has that id.
func (m *memory) wrote(ctx context.Context, d pratique.Digest, id string) (*claim, error) {
	for _, c := range m.later {
		if (c.digest != d || c.target != oneLine(m.target.Name)) && (id == "" || c.ID != id) {
			continue
		}
		if did, err := m.believe(ctx, c); err != nil || did {
			return &c, err
		}
	}
	return nil, nil
}

// taken reports whether fewer places hold the digest than when our commit brought it. Otherwise those that do not are new,
// or were repaired since, and nobody has decided about them.
func (m *memory) taken(ctx context.Context, now []pratique.Place) (bool, error) {
	held, err := places(ctx, m.last.Tree(), m.target, m.change)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return true, nil //nolint:nilerr // nobody can tell, and what a person may have done stands
	}
	return holding(now, m.change) < holding(held, m.change), nil
}

// placesIn reads the places of one file that ask for an image. What cannot be read has none.
func placesIn(ctx context.Context, f File, image edit.Image) ([]pratique.Place, error) {
	if !locate.All().Relevant(f.Path()) {
		return nil, nil
	}
	content, err := f.Read()
	if pratique.KindOf(err) == pratique.Exhausted {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	places, _, err := locate.All().Places(ctx, f.Path(), content, image)
	return places, err
}
