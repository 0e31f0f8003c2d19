package gitrepo

import (
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
	cloned  int // number of objects when it was new
}

// full says that enough was added for a new clone to be the cheaper way to get rid of old trees.
func (s *store) full() bool {
	const slack = 50_000
	return len(s.objects.Objects) > 2*s.cloned+slack
}

func (s *store) commit(h plumbing.Hash) (*object.Commit, error) {
	return object.GetCommit(s.objects, h)
}

// find walks the history that is here, newest first and at most so far, until is says something else than
// GoOn. It returns nil if nothing is found.
func (s *store) find(tip plumbing.Hash, is func(*object.Commit) deploy.Step) *object.Commit {
	const most = 2000
	seen := map[plumbing.Hash]bool{tip: true}
	queue := []plumbing.Hash{tip}
	for i := 0; i < len(queue) && i < most; i++ {
		c, err := s.commit(queue[i])
		if err != nil {
			continue // behind the shallow boundary
		}
		switch is(c) {
		case deploy.Found:
			return c
		case deploy.Stop:
			return nil
		}
		for _, p := range c.ParentHashes {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return nil
}

// search finds a commit by its trailers.
func (s *store) search(tip plumbing.Hash, by deploy.Search) *object.Commit {
	if by == nil {
		return nil
	}
	return s.find(tip, func(c *object.Commit) deploy.Step { return by(trailersOf(c.Message)) })
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
