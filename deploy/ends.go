package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/deploy/edit/locate"
)

// end is how a change ended in one target without an error.
type end struct {
	// state is deployed if the tip of the branch holds the digest at every place of the target,
	// allowed if there is no place for it, and otherwise superseded or reverted.
	state  pratique.State
	commit pratique.Commit   // where it is deployed
	detail string            // where it is not
	drift  *pratique.Drifted // where it is not, and was
}

// places returns those of the tip that ask for the change's image.
func places(ctx context.Context, tip Tree, t Target, c pratique.Change) ([]pratique.Place, error) {
	var all []pratique.Place
	err := tip.Walk(ctx, t.Path, func(f File) error {
		found, err := placesIn(ctx, f, edit.ImageOf(c))
		all = append(all, found...)
		return err
	})
	return all, err
}

// holds reports whether every place names the digest. A place for the tag alone names it with the
// tag.
func holds(all []pratique.Place, c pratique.Change) bool {
	return len(all) > 0 && holding(all, c) == len(all)
}

// holding counts the places that name the digest.
func holding(all []pratique.Place, c pratique.Change) int {
	n := 0
	for _, p := range all {
		if p.Digest == c.Subject.Digest || p.TagOnly && p.Tag == c.Tag {
			n++
		}
	}
	return n
}

// others returns the places that do not hold the digest, with the commits that last changed them,
// newest first.
func others(ctx context.Context, tip Tip, c pratique.Change,
	all []pratique.Place) ([]pratique.Place, error) {
	var found []pratique.Place
	for _, p := range all {
		if len(found) == pratique.MaxPlaces {
			break
		}
		if holding([]pratique.Place{p}, c) == 0 {
			found = append(found, p)
		}
	}
	if err := date(ctx, tip, edit.ImageOf(c), found); err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b pratique.Place) int { return b.SinceAt.Compare(a.SinceAt) })
	return found, nil
}

// date fills in since when each place has its value. The answer is the same for all places of a
// file.
func date(ctx context.Context, tip Tip, image edit.Image, places []pratique.Place) error {
	type origin struct {
		commit string
		at     time.Time
	}
	known := map[string]origin{}
	for i := range places {
		p := &places[i]
		o, ok := known[p.Path]
		if !ok {
			var err error
			if o.commit, o.at, err = since(ctx, tip, image, p.Path); err != nil {
				return err
			}
			known[p.Path] = o
		}
		p.Since, p.SinceAt = o.commit, o.at
	}
	return nil
}

// since finds the commit from which on the file names the image as it does now.
func since(ctx context.Context, tip Tip, image edit.Image, path string) (string, time.Time, error) {
	content, err := tip.Read(path)
	if err != nil {
		return "", time.Time{}, err
	}
	now, _, err := locate.All().Places(ctx, path, content, image)
	if err != nil {
		return "", time.Time{}, err
	}
	return tip.Since(ctx, path, func(f File) (bool, error) {
		before, err := placesIn(ctx, f, image)
		return slices.EqualFunc(before, now, sameValue), err
	})
}

// sameValue reports whether two places of one file name the same image. Line and entry do not
// count: they change with what stands above.
func sameValue(a, b pratique.Place) bool {
	a.Line, a.Object, a.Field = 0, pratique.Object{}, ""
	b.Line, b.Object, b.Field = 0, pratique.Object{}, ""
	return a == b
}

// inPlace is the end of a change that the tip already holds.
func (g *Gate) inPlace(ctx context.Context, tip Tip, m *branchHistory, made edits) (end, error) {
	c := m.change
	commit := pratique.Commit{Target: m.target.Name, Tag: c.Tag, Files: excerpt(made.changes)}
	there := slices.Clone(made.places[:min(len(made.places), pratique.MaxPlaces)])
	if err := date(ctx, tip, edit.ImageOf(c), there); err != nil {
		return end{}, err
	}
	for _, p := range there {
		if p.SinceAt.After(commit.At) {
			commit.ID, commit.At = p.Since, p.SinceAt
		}
	}
	if l := m.last; l != nil && l.digest == c.Subject.Digest {
		if commit.ID == "" {
			commit.ID, commit.At = l.ID, l.At.UTC().Truncate(time.Second)
		}
		// and the fact about it was lost
		commit.Created = l.ID == commit.ID && c.Event != "" && l.event == c.Event
	}
	return end{state: pratique.StateDeployed, commit: commit}, nil
}

// gone is the end of a change that was deployed before and that the branch no longer holds. Nothing
// is written: a person removed it, or a newer image replaced it.
func (g *Gate) gone(ctx context.Context, tip Tip, m *branchHistory, all []pratique.Place) (end, error) {
	c, t := m.change, m.target
	there, err := others(ctx, tip, c, all)
	if err != nil {
		return end{}, err
	}
	e := end{state: pratique.StateReverted, drift: &pratique.Drifted{Target: t.Name, Tip: tip.ID(),
		Places: slices.Clone(there), Remains: holding(all, c) > 0}}
	back := fmt.Sprintf("submit %s:%s with a token that has rollback: true", c.Subject.Repository, c.Tag)
	switch {
	case len(there) == 0:
		e.detail = fmt.Sprintf("commit %s deployed it, and no place below %s asks for this tag any longer; see docs/editing.md", m.last.ID, below(t))
	default:
		p := there[0]
		by, err := m.wrote(ctx, p.Digest, p.Since)
		if err != nil {
			return end{}, err
		}
		switch {
		case by != nil:
			e.state = pratique.StateSuperseded
			e.detail = fmt.Sprintf("commit %s deployed it, and commit %s replaced it: %s; to go back, revert that commit, or %s", m.last.ID, by.ID, describePlace(c, p, by.ID), back)
		case p.Since != "":
			e.detail = fmt.Sprintf("commit %s deployed it, and commit %s, which is not ours, took it away: %s; to have it back, revert that commit, or %s", m.last.ID, p.Since, describePlace(c, p, p.Since), back)
		default:
			e.detail = fmt.Sprintf("commit %s deployed it, and somebody took it away: %s; to have it back, change it there, or %s", m.last.ID, describePlace(c, p, ""), back)
		}
	}
	for i := range e.drift.Places {
		e.drift.Places[i].Path = oneLine(e.drift.Places[i].Path) // a fact has no room for every path
	}
	e.drift.State, e.drift.Detail = e.state, e.detail
	return e, nil
}

// below names the part of the repository that a target writes to.
func below(t Target) string {
	return cmp.Or(t.Path, "the root")
}

// describePlace says what a place names.
func describePlace(c pratique.Change, p pratique.Place, since string) string {
	what := c.Subject.Repository.String()
	if p.Tag != "" {
		what += ":" + oneLine(p.Tag)
	}
	if !p.Digest.IsZero() {
		what += "@" + p.Digest.String()
	}
	text := fmt.Sprintf("Git holds %s in %s, line %d%s", what, oneLine(p.Path), p.Line,
		in(p.Object, p.Field))
	if since != "" {
		text += ", since commit " + since
	}
	return text
}
