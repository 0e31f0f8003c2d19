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

// find walks the history that is here along first parents and merges, newest first, at most so far.
func (s *store) find(tip plumbing.Hash, is func(*object.Commit) bool) *object.Commit {
	const most = 2000
	seen := map[plumbing.Hash]bool{tip: true}
	queue := []plumbing.Hash{tip}
	for i := 0; i < len(queue) && i < most; i++ {
		c, err := s.commit(queue[i])
		if err != nil {
			continue // behind the shallow boundary
		}
		if is(c) {
			return c
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

// findTrailers returns the newest commit that has all of the trailers, nil if none are asked for.
func (s *store) findTrailers(tip plumbing.Hash, want []deploy.Trailer) *object.Commit {
	if len(want) == 0 {
		return nil
	}
	return s.find(tip, func(c *object.Commit) bool {
		has := trailersOf(c.Message)
		for _, t := range want {
			if !has[t] {
				return false
			}
		}
		return true
	})
}

// trailersOf reads the "Key: value" lines of the last paragraph.
func trailersOf(message string) map[deploy.Trailer]bool {
	message = strings.TrimRight(message, "\n")
	last := message[strings.LastIndex(message, "\n\n")+1:]
	found := map[deploy.Trailer]bool{}
	for line := range strings.Lines(last) {
		if key, value, ok := strings.Cut(line, ":"); ok && trailerKey.MatchString(key) {
			found[deploy.Trailer{Key: key, Value: strings.TrimSpace(value)}] = true
		}
	}
	return found
}
