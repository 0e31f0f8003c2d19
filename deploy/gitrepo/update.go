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
	// With a commit on its way, everything that may pass is worth another look; but a server that is silent again is looked at
	// later, when the commit is found in the history.
	return w.repo.pace.late < 2 && len(w.unknown) > 0 && !pratique.KindOf(err).Permanent() && pratique.KindOf(err) != pratique.Denied
}

// attempt looks at the tip, edits on it and pushes, once.
func (w *work) attempt(ctx context.Context) (deploy.Pushed, error) {
	r := w.repo
	s, tip, err := r.openPush(ctx)
	if err != nil {
		return deploy.Pushed{}, err
	}
	defer s.close()
	if err := r.sync(ctx, tip, nil); err != nil {
		return deploy.Pushed{}, err
	}
	if c := r.local.among(tip, w.unknown); c != nil {
		return r.pushed(c), nil
	}
	if err := r.show(ctx, tip, w.update.History); err != nil {
		return deploy.Pushed{}, err
	}
	base, err := r.local.commit(tip)
	if err != nil {
		return deploy.Pushed{}, err
	}
	edit, err := w.update.Edit(ctx, r.local.at(base))
	if err != nil {
		return deploy.Pushed{}, &editError{err}
	}
	made, err := r.build(base, edit)
	if err != nil {
		return deploy.Pushed{}, err
	}
	if made == nil {
		return deploy.Pushed{Remote: r.remote, Branch: r.branch}, nil
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
	r.local.tip, r.known = made.commit.Hash, r.now()
	return r.pushed(made.commit), nil
}

// pushed describes a commit of the branch that we made.
func (r *Repo) pushed(c *object.Commit) deploy.Pushed {
	return deploy.Pushed{Remote: r.remote, Branch: r.branch, Commit: c.Hash.String(), At: c.Committer.When.UTC().Truncate(time.Second)}
}
