package deploy

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/deploy/edit/locate"
)

// Bounds of [Gate.Places]: how old a reused answer may be, and how many places it lists.
const (
	lookAge    = 2 * time.Second
	shownLooks = 200
)

// Places returns what each target that asks for one of the repositories holds of it now, at the tip
// of its branch. If a remote cannot be asked before the context ends, the answer says so and has
// what was known last.
func (g *Gate) Places(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error) {
	// Frequent callers must not keep the gate from its work: one looks at a time, so changes get
	// the lock in between.
	select {
	case g.looking <- struct{}{}:
		defer func() { <-g.looking }()
	case <-ctx.Done():
		return nil, pratique.Wrap(pratique.Unavailable, "look at config repositories", "", ctx.Err())
	}
	var all []pratique.TargetPlaces
	for _, t := range g.c.Targets {
		var wanted []edit.Image // under whatever tag
		for _, r := range of {
			if pratique.MatchAny(t.Images, r.String()) {
				wanted = append(wanted, edit.Image{Repository: r, AnyTag: true})
			}
		}
		if len(wanted) == 0 {
			continue
		}
		found := make([]pratique.TargetPlaces, len(wanted))
		viewed, err := t.Repository.View(ctx, lookAge, func(ctx context.Context, tip Tip) error {
			return look(ctx, tip, t, wanted, found)
		})
		for i, image := range wanted {
			p := &found[i]
			p.Repository, p.Target = image.Repository, t.Name
			p.Remote, p.Branch, p.ObservedAt = viewed.Remote, viewed.Branch, viewed.At
			if failed := cmp.Or(err, viewed.Failed); failed != nil {
				p.Failure = oneLine("could not look: " + failed.Error())
				if err != nil { // what was found is not all of it
					p.Tip, p.ObservedAt, p.Places, p.Problems = "", time.Time{}, nil, nil
				}
			}
		}
		all = append(all, found...)
	}
	return all, nil
}

// eachFile returns a visitor that reads the files in which places may stand. A file that is too
// large to be edited is for the second function; nil leaves it out.
func eachFile(read func(f File, content []byte) error,
	tooLarge func(f File, cause error) error) func(File) error {
	return func(f File) error {
		if !locate.All().Relevant(f.Path()) {
			return nil
		}
		content, err := f.Read()
		switch {
		case err == nil:
			return read(f, content)
		case pratique.KindOf(err) != pratique.Exhausted:
			return err
		case tooLarge == nil:
			return nil
		}
		return tooLarge(f, err)
	}
}

// look fills in what one target holds.
func look(ctx context.Context, tip Tip, t Target, wanted []edit.Image,
	found []pratique.TargetPlaces) error {
	ctx, cancel := context.WithTimeout(ctx, editTime)
	defer cancel()
	for i := range found {
		found[i].Tip = tip.ID()
	}
	err := tip.Walk(ctx, t.Path, eachFile(func(f File, content []byte) error {
		all, err := locate.All().PlacesOf(ctx, f.Path(), content, wanted...)
		if err != nil {
			return err
		}
		for i, of := range all {
			found[i].Count += len(of.Places)
			found[i].Places = append(found[i].Places,
				of.Places[:min(len(of.Places), maxPlaces-len(found[i].Places))]...)
			for _, p := range of.Problems {
				if p.Ours && len(found[i].Problems) < maxProblems {
					found[i].Problems = append(found[i].Problems, p.Problem)
				}
			}
		}
		return nil
	}, func(f File, cause error) error {
		for i := range found { // it may be where any of them stands
			if len(found[i].Problems) < maxProblems {
				found[i].Problems = append(found[i].Problems, pratique.Problem{Path: f.Path(),
					Reason: oneLine(cause.Error())})
			}
		}
		return nil
	}))
	switch pratique.KindOf(err) {
	case pratique.Denied, pratique.Exhausted: // people can fix it, and what can be read is still of use
		for i := range found {
			found[i].Problems = append(found[i].Problems,
				pratique.Problem{Path: oneLine(strings.Trim(t.Path, "/")),
					Reason: oneLine("not everything here can be read: " + err.Error())})
		}
		err = nil
	}
	if err != nil {
		return err
	}
	// Hints are for people, who ask for one repository at a time.
	if len(wanted) == 1 && found[0].Count == 0 && len(found[0].Problems) == 0 {
		if found[0].Hints, err = hints(ctx, tip, t, wanted[0].Repository); err != nil {
			return err
		}
	}
	for i := range wanted {
		found[i].Places = varied(found[i].Places, shownLooks)
		first := found[i].Places[:min(len(found[i].Places), pratique.MaxPlaces)]
		if err := date(ctx, tip, wanted[i], first); err != nil {
			return err
		}
	}
	return nil
}

// varied picks at most that many places in order, but the first one of each digest and tag pattern
// before all others, so that nobody can hide one behind many others.
func varied(all []pratique.Place, most int) []pratique.Place {
	if len(all) <= most {
		return all
	}
	type kind struct {
		digest pratique.Digest
		tags   string
	}
	seen, picked := map[kind]bool{}, make([]bool, len(all))
	left := most
	for pass := range 2 {
		for i, p := range all {
			k := kind{p.Digest, p.Tags}
			if left == 0 || picked[i] || pass == 0 && seen[k] {
				continue
			}
			seen[k], picked[i] = true, true
			left--
		}
	}
	kept := make([]pratique.Place, 0, most)
	for i, p := range all {
		if picked[i] {
			kept = append(kept, p)
		}
	}
	return kept
}
