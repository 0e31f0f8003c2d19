package deploy

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/pratique-dev/pratique"
)

// write writes the change to one target, or returns how it ends there without a commit. The
// problems are those of all files that were read, whatever the end.
func (g *Gate) write(ctx context.Context, t Target, c pratique.Change) (end, []TargetProblem, error) {
	if err := g.current(ctx, c); err != nil { // also before the lock, so as not to delay others
		return end{}, nil, err
	}
	var made edits
	var e end
	var unread error
	now := g.c.Now()
	if c.PushedAt.After(now) { // another process's clock; a commit must not name a time after its own
		c.PushedAt = now
	}
	m := &branchHistory{target: t, change: c, now: now}
	u := Update{History: func(past iter.Seq[Past]) (enough bool) {
		unread = timely(ctx, func(ctx context.Context) (err error) {
			enough, err = m.read(ctx, past)
			return err
		})
		return enough
	}}
	u.Edit = func(ctx context.Context, tip Tip) (Edit, error) {
		made, e = edits{}, end{}
		if unread != nil {
			return Edit{}, unread
		}
		err := g.current(ctx, c)
		if err != nil {
			return Edit{}, err
		}
		if made, err = apply(ctx, tip, t, c); err != nil {
			return Edit{}, err
		}
		err = timely(ctx, func(ctx context.Context) (err error) {
			e, err = g.endWithoutCommit(ctx, tip, m, made)
			return err
		})
		if err != nil || e.state != "" {
			return Edit{}, err
		}
		return Edit{Files: made.files, Message: message(t, c, made.changes),
			Trailers: trailers(t, c, made.changes)}, nil
	}
	p, err := t.Repository.Update(ctx, u)
	if err != nil {
		return end{}, made.problems, err
	}
	if e.state == "" {
		e.state = pratique.StateDeployed
		e.commit = pratique.Commit{Target: t.Name, Tag: c.Tag, ID: p.Commit, Created: true,
			Files: excerpt(made.changes), At: p.At}
	}
	e.commit.Remote, e.commit.Branch = p.Remote, p.Branch
	if e.drift != nil {
		e.drift.Remote, e.drift.Branch = p.Remote, p.Branch
	}
	return e, made.problems, nil
}

// endWithoutCommit returns how the change ends if nothing is to be written; its state is empty if
// something is. The tip decides: earlier commits alone never make an image deployed.
func (g *Gate) endWithoutCommit(ctx context.Context, tip Tip, m *branchHistory, made edits) (end, error) {
	c := m.change
	before := m.last != nil && m.last.digest == c.Subject.Digest
	switch {
	case len(made.changes) == 0 && c.RefreshOnly:
		return g.unnamed(ctx, tip, m)
	case len(made.changes) == 0 && before && waiting(made.problems) == nil:
		return g.gone(ctx, tip, m, nil)
	case len(made.changes) == 0:
		return end{state: pratique.StateAllowed}, nil
	case len(made.files) == 0:
		return g.inPlace(ctx, tip, m, made)
	}
	// With the right to go back, a submission may undo what a person did, once.
	again := c.AllowOlder && m.last != nil && m.last.event != c.Event
	removed := false
	var e end
	var err error
	if before && !again {
		if removed, err = m.removed(ctx, made.places); err != nil {
			return end{}, err
		}
	}
	if removed {
		e, err = g.gone(ctx, tip, m, made.places)
	} else if e, err = overtaken(ctx, tip, m, made.places); err == nil && e.state == "" &&
		c.Asked && !c.AllowOlder {
		e, err = g.downgrade(ctx, tip, m, made.places)
	}
	if err == nil && e.state != "" && holds(made.places, c) { // only the tag differs
		return g.inPlace(ctx, tip, m, made)
	}
	if err == nil && e.state == "" { // it would be written
		err = m.unsure
	}
	return e, err
}

// unnamed is the end of an image that a sweep found and whose tag Git does not name.
func (g *Gate) unnamed(ctx context.Context, tip Tip, m *branchHistory) (end, error) {
	plain := *m
	plain.change.RefreshOnly = false
	c := plain.change
	all, err := places(ctx, tip, m.target, c)
	if err != nil || len(all) == 0 {
		return end{state: pratique.StateAllowed}, err
	}
	if holds(all, c) {
		return g.inPlace(ctx, tip, &plain, edits{places: all})
	}
	there, err := others(ctx, tip, c, all)
	if err != nil || len(there) == 0 {
		return end{state: pratique.StateAllowed}, err
	}
	return end{state: pratique.StateAllowed,
		detail: fmt.Sprintf("a sweep found it, and %s; pratique reconcile --deploy %s:%s writes it",
			describePlace(c, there[0], there[0].Since), c.Subject.Repository, c.Tag)}, nil
}

// downgrade is the end of a submission of an image that is older than the one in place.
func (g *Gate) downgrade(ctx context.Context, tip Tip, m *branchHistory,
	all []pratique.Place) (end, error) {
	there, err := others(ctx, tip, m.change, all)
	if err != nil {
		return end{}, err
	}
	why, err := g.older(ctx, m, there)
	if err != nil || why == "" {
		return end{}, err
	}
	return end{state: pratique.StateSuperseded, detail: why}, nil
}

// overtaken is the end of a change if a later push of another tag was written to one of its places.
// Pushes that were written only to other places do not matter: markers can ask for different tags
// within one target.
func overtaken(ctx context.Context, tip Tip, m *branchHistory, all []pratique.Place) (end, error) {
	asked := map[string]bool{}
	for _, r := range m.rivals {
		other := m.change
		other.Tag, other.RefreshOnly = r.tag, false
		if asked[r.tag] {
			continue
		}
		asked[r.tag] = true
		theirs, err := places(ctx, tip, m.target, other)
		if err != nil {
			return end{}, err
		}
		if slices.ContainsFunc(theirs, func(p pratique.Place) bool {
			return slices.ContainsFunc(all, func(o pratique.Place) bool {
				return o.Path == p.Path && o.Line == p.Line
			})
		}) {
			return end{state: pratique.StateSuperseded,
				detail: fmt.Sprintf("%s:%s was pushed later, and commit %s wrote it",
					m.change.Subject.Repository, r.tag, r.ID)}, nil
		}
	}
	return end{}, nil
}
