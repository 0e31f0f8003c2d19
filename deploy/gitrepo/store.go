package gitrepo

import (
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/pratique-dev/pratique/deploy"
)

// store is the objects of the branch that are here: everything from tip back to the shallow commits.
type store struct {
	objects *memory.Storage
	tip     plumbing.Hash
	cloned  int  // number of objects when it was new
	deep    bool // more history than that of a new clone was fetched, or cannot be
}

// full says that enough was added for a new clone to be the cheaper way to get rid of old trees.
func (s *store) full() bool {
	const slack = 50_000
	return len(s.objects.Objects) > 2*s.cloned+slack
}

func (s *store) commit(h plumbing.Hash) (*object.Commit, error) {
	return object.GetCommit(s.objects, h)
}

// find walks the history that is here, newest first, until is says something else than GoOn. It returns nil if
// nothing is found; cut is true if that is because the history here ends before that of the branch does.
func (s *store) find(tip plumbing.Hash, is func(*object.Commit) deploy.Step) (found *object.Commit, cut bool) {
	seen := map[plumbing.Hash]bool{}
	var queue []*object.Commit
	add := func(h plumbing.Hash) {
		if seen[h] {
			return
		}
		seen[h] = true
		if c, err := s.commit(h); err == nil {
			queue = append(queue, c)
		} else {
			cut = true // behind the shallow boundary
		}
	}
	add(tip)
	for range history {
		if len(queue) == 0 {
			return nil, cut
		}
		// Behind a merge there are several lines, and what is few steps away may be old.
		i := 0
		for k, c := range queue {
			if c.Committer.When.After(queue[i].Committer.When) {
				i = k
			}
		}
		c := queue[i]
		queue = slices.Delete(queue, i, i+1)
		switch is(c) {
		case deploy.Found:
			return c, false
		case deploy.Stop:
			return nil, false
		}
		for _, p := range c.ParentHashes {
			add(p)
		}
	}
	return nil, false
}

// search finds a commit by its trailers.
func (s *store) search(tip plumbing.Hash, by deploy.Search) (found *object.Commit, cut bool) {
	if by == nil {
		return nil, false
	}
	return s.find(tip, func(c *object.Commit) deploy.Step { return by(c.Hash.String(), trailersOf(c.Message)) })
}

// trailersOf reads the "Key: value" lines of the last paragraph.
func trailersOf(message string) []deploy.Trailer {
	message = strings.TrimRight(message, "\n")
	last := message[strings.LastIndex(message, "\n\n")+1:]
	var found []deploy.Trailer
	for line := range strings.Lines(last) {
		if key, value, ok := strings.Cut(line, ":"); ok && trailerKey.MatchString(key) {
			found = append(found, deploy.Trailer{Key: key, Value: strings.TrimSpace(value)})
		}
	}
	return found
}
