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

// work is one update and the state of its attempts.
type work struct {
	repo   *Repo
	update deploy.Update
	// unknown are commits that were sent and whose outcome is unknown.
	unknown map[plumbing.Hash]bool
	reclone bool // after missing objects the branch is cloned again, once
}

// editError carries an error of the caller's Edit past the retries.
type editError struct{ error }

// Errors after which another attempt makes sense.
var (
	errMoved   = errors.New("the branch moved on")
	errUnknown = errors.New("the connection was lost before the server confirmed the commit")
)

// again reports whether another attempt makes sense after err.
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
	// If the outcome of a push is unknown, any temporary error is worth another attempt. But after
	// a second timeout a later update finds out: it sees the commit in the history.
	return w.repo.access.timeouts < 2 && len(w.unknown) > 0 && !pratique.KindOf(err).Permanent() &&
		pratique.KindOf(err) != pratique.Denied
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
	return deploy.Pushed{Remote: r.remote, Branch: r.branch, Commit: c.Hash.String(),
		At: c.Committer.When.UTC().Truncate(time.Second)}
}
