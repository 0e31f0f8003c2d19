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

// maxConfirmed bounds how many of our commits are checked against what their trailers claim.
// Commits of others do not count: whether a commit is ours is checked first.
const maxConfirmed = 500

// claim is what the trailers of a commit claim. Anybody can write trailers.
type claim struct {
	Past
	target, tag, event string
	digest             pratique.Digest
	// pushed is zero if the time is unknown or cannot be right.
	pushed time.Time
}

// claimOf reads the trailers of a commit about the image. Our commits have each trailer once.
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
	c := claim{Past: p, target: values[trailerTarget], tag: values[trailerTag],
		event: values[trailerEvent], digest: d}
	// A commit cannot know of a push that comes after it. Its own time has no fractions of a second.
	at, err := time.Parse(time.RFC3339, values[trailerPushed])
	if err == nil && at.Before(p.At.Add(time.Second)) && !at.After(now) {
		c.pushed = at
	}
	return c, true
}

// branchHistory is what the history of the branch says about the change's image.
type branchHistory struct {
	target Target
	change pratique.Change
	now    time.Time

	// last is the newest commit of ours for this target and tag; nil if there is none.
	last *claim
	// later are our commits after it that name the image, in any target and under any tag, newest
	// first. They are not confirmed yet.
	later []claim
	// rivals are the confirmed ones among them whose tag, another one of this target, was pushed
	// after the change's.
	rivals []claim
	left   int // how many commits may still be confirmed
	// unsure is set when a bound was reached: then something newer may have been written.
	unsure error
}

// read looks for the newest commit of ours for the change's tag, and reports whether it need not
// see more.
func (m *branchHistory) read(ctx context.Context, past iter.Seq[Past]) (bool, error) {
	m.last, m.later, m.rivals, m.left, m.unsure = nil, nil, nil, maxConfirmed, nil
	for p := range past {
		c, ok := claimOf(p, m.change.Subject.Repository, m.now)
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return true, err
		}
		if !c.Ours() { // checked first, so that commits of others do not use up the bound
			continue
		}
		here := c.target == oneLine(m.target.Name)
		tagged := here && c.tag == m.change.Tag
		pushedLater := here && !tagged && !m.change.PushedAt.IsZero() && c.pushed.After(m.change.PushedAt)
		if tagged || pushedLater {
			switch did, err := m.confirm(ctx, c); {
			case err != nil:
				return true, err
			case m.unsure != nil:
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

// exceeded records that the bound on confirmed commits was reached.
func (m *branchHistory) exceeded() {
	m.unsure = pratique.Errorf(pratique.Denied, "read history",
		"more than %d commits of the branch are in our name and name %s, so it could not be found out whether something newer was written, and nothing is written now; "+
			"push the tag again, and if commits are not signed, set the target's signingKey: without one anybody can commit in our name",
		maxConfirmed, m.change.Subject.Repository)
}

// confirm reports whether one of our commits did what its trailers claim: one of the files that it
// changed names the digest.
func (m *branchHistory) confirm(ctx context.Context, c claim) (bool, error) {
	if m.left--; m.left < 0 {
		m.exceeded()
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
	// A commit that cannot be confirmed does not count.
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

// wrote finds our newest commit after the last one for the tag that wrote the digest or has the id.
func (m *branchHistory) wrote(ctx context.Context, d pratique.Digest, id string) (*claim, error) {
	for _, c := range m.later {
		if (c.digest != d || c.target != oneLine(m.target.Name)) && (id == "" || c.ID != id) {
			continue
		}
		if did, err := m.confirm(ctx, c); err != nil || did {
			return &c, err
		}
	}
	return nil, nil
}

// removed reports whether fewer places hold the digest than right after our commit, so somebody
// removed it. If not, the places without it are new, or were repaired since.
func (m *branchHistory) removed(ctx context.Context, now []pratique.Place) (bool, error) {
	held, err := places(ctx, m.last.Tree(), m.target, m.change)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return true, nil //nolint:nilerr // it may have been a person, whose edit stands
	}
	return holding(now, m.change) < holding(held, m.change), nil
}

// placesIn reads the places of one file that ask for an image. What cannot be read has none.
func placesIn(ctx context.Context, f File, image edit.Image) (places []pratique.Place, err error) {
	visit := eachFile(func(f File, content []byte) (err error) {
		places, _, err = locate.All().Places(ctx, f.Path(), content, image)
		return err
	}, nil)
	err = visit(f)
	return places, err
}
