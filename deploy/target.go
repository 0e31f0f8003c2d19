package deploy

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/pratique-dev/pratique"
)

// write brings the change to one target, or says how it ends there without a commit. The problems are those of the files
// that were looked at, whatever the end.
func (g *Gate) write(ctx context.Context, t Target, c pratique.Change) (end, []TargetProblem, error) {
	if err := g.current(ctx, c); err != nil { // before the lock too, to leave others alone
		return end{}, nil, err
	}
	var made edits
	var e end
	var unread error
	now := g.c.Now()
	if c.PushedAt.After(now) { // the clock of another process of ours; no commit may speak of what comes after it
		c.PushedAt = now
	}
	m := &memory{target: t, change: c, now: now}
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
			e, err = g.settled(ctx, tip, m, made)
			return err
		})
		if err != nil || e.state != "" {
			return Edit{}, err
		}
		return Edit{Files: made.files, Message: message(t, c, made.changes), Trailers: trailers(t, c, made.changes)}, nil
	}
	p, err := t.Repository.Update(ctx, u)
	if err != nil {
		return end{}, made.problems, err
	}
	if e.state == "" {
		e.state = pratique.StateDeployed
		e.commit = pratique.Commit{Target: t.Name, Tag: c.Tag, ID: p.Commit, Created: true, Files: excerpt(made.changes), At: p.At}
	}
	e.commit.Remote, e.commit.Branch = p.Remote, p.Branch
	if e.drift != nil {
		e.drift.Remote, e.drift.Branch = p.Remote, p.Branch
	}
	return e, made.problems, nil
}

// settled returns how the change ends in a target where nothing is to be written; no state if something is. The tip has
// the word: what the history says of earlier commits never makes an image deployed.
func (g *Gate) settled(ctx context.Context, tip Tip, m *memory, made edits) (end, error) {
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
	// Whoever may go back may undo what a person did, once for each time of asking.
	again := c.AllowOlder && m.last != nil && m.last.event != c.Event
	taken := false
	var e end
	var err error
	if before && !again {
		if taken, err = m.taken(ctx, made.places); err != nil {
			return end{}, err
		}
	}
	if taken {
		e, err = g.gone(ctx, tip, m, made.places)
	} else if e, err = overtaken(ctx, tip, m, made.places); err == nil && e.state == "" && c.Asked && !c.AllowOlder {
		e, err = g.goesBack(ctx, tip, m, made.places)
	}
	if err == nil && e.state != "" && holds(made.places, c) { // only the tag beside it is another one
		return g.inPlace(ctx, tip, m, made)
	}
	if err == nil && e.state == "" { // it would be written
		err = m.unsure
	}
	return e, err
}

// unnamed is the end of what a sweep found where Git does not name the tag.
func (g *Gate) unnamed(ctx context.Context, tip Tip, m *memory) (end, error) {
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
	return end{state: pratique.StateAllowed, detail: fmt.Sprintf("a sweep found it, and %s; pratique reconcile --deploy %s:%s writes it",
		standing(c, there[0], there[0].Since), c.Subject.Repository, c.Tag)}, nil
}

// goesBack is the end of a submission of what is older than what stands there.
func (g *Gate) goesBack(ctx context.Context, tip Tip, m *memory, all []pratique.Place) (end, error) {
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

// overtaken is the end of a change where a later push of another tag was written to one of its places. Others are not in
// its way: markers may ask for different tags in different places of one target.
func overtaken(ctx context.Context, tip Tip, m *memory, all []pratique.Place) (end, error) {
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
			return slices.ContainsFunc(all, func(o pratique.Place) bool { return o.Path == p.Path && o.Line == p.Line })
		}) {
			return end{state: pratique.StateSuperseded, detail: fmt.Sprintf("%s:%s was pushed later, and commit %s wrote it",
				m.change.Subject.Repository, r.tag, r.ID)}, nil
		}
	}
	return end{}, nil
}
