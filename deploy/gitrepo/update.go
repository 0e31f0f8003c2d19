package gitrepo

import (
	"context"
	"errors"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// work is one update with what its tries have learned.
type work struct {
	repo   *Repo
	update deploy.Update
	// unknown are commits that were sent without hearing what became of them.
	unknown map[plumbing.Hash]bool
	reclone bool // the one new clone after missing objects was made
}

// editError carries an error of the caller's Edit past the retries.
type editError struct{ error }

// Results of a try that are worth another one.
var (
	errMoved   = errors.New("the branch moved on")
	errUnknown = errors.New("the connection was lost before the server said whether it took the commit")
)

// again says whether another try makes sense after err.
func (w *work) again(err error) bool {
	switch {
	case errors.Is(err, errMoved):
		return true
	case errors.Is(err, plumbing.ErrObjectNotFound) && !w.reclone:
		w.reclone, w.repo.local = true, nil
		return true
	}
	var ours *editError
	if errors.As(err, &ours) {
		return false
	}
	// With a commit on its way, everything that may pass is worth another look.
	return len(w.unknown) > 0 && !pratique.KindOf(err).Permanent() && pratique.KindOf(err) != pratique.Denied
}

// attempt looks at the tip, edits on it and pushes, once.
func (w *work) attempt(ctx context.Context) (deploy.Pushed, error) {
	r := w.repo
	s, tip, err := r.openPush(ctx)
	if err != nil {
		return deploy.Pushed{}, err
	}
	defer s.close()
	if err := r.sync(ctx, tip); err != nil {
		return deploy.Pushed{}, err
	}
	if c, _ := r.local.find(tip, w.sent); c != nil {
		return r.pushed(c, true), nil
	}
	done, cut := r.local.search(tip, w.update.Done)
	if cut && !r.local.deep {
		if err := r.deepen(ctx, tip); err != nil {
			return deploy.Pushed{}, err
		}
		done, _ = r.local.search(tip, w.update.Done)
	}
	if done != nil {
		return r.pushed(done, false), nil
	}
	base, err := r.local.commit(tip)
	if err != nil {
		return deploy.Pushed{}, err
	}
	edit, err := w.update.Edit(ctx, &tree{store: r.local, root: base.TreeHash})
	if err != nil {
		return deploy.Pushed{}, &editError{err}
	}
	made, err := r.build(base, edit)
	if err != nil {
		return deploy.Pushed{}, err
	}
	if made == nil {
		return r.unchanged(tip, w.update.Earlier), nil
	}
	if err := s.push(ctx, tip, made); err != nil {
		if errors.Is(err, errUnknown) {
			if w.unknown == nil {
				w.unknown = map[plumbing.Hash]bool{}
			}
			w.unknown[made.commit.Hash] = true
		}
		return deploy.Pushed{}, err
	}
	r.local.tip = made.commit.Hash
	return r.pushed(made.commit, true), nil
}

// sent finds a commit that we sent without hearing what became of it.
func (w *work) sent(c *object.Commit) deploy.Step {
	switch {
	case len(w.unknown) == 0:
		return deploy.Stop
	case w.unknown[c.Hash]:
		return deploy.Found
	}
	return deploy.GoOn
}

// pushed describes a commit of the branch.
func (r *Repo) pushed(c *object.Commit, created bool) deploy.Pushed {
	return deploy.Pushed{Remote: r.remote, Branch: r.branch, Commit: c.Hash.String(), Created: created, At: c.Committer.When.UTC().Truncate(time.Second)}
}

// unchanged describes an update that had nothing to do.
func (r *Repo) unchanged(tip plumbing.Hash, earlier deploy.Search) deploy.Pushed {
	if c, _ := r.local.search(tip, earlier); c != nil {
		return r.pushed(c, false)
	}
	return deploy.Pushed{Remote: r.remote, Branch: r.branch}
}
