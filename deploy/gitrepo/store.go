package gitrepo

import (
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// store is the objects of the branch that are here: everything from tip back to the shallow commits.
type store struct {
	objects *memory.Storage
	tip     plumbing.Hash
	cloned  int  // number of objects when it was new
	deep    bool // more history than that of a new clone was fetched, or cannot be

	ours map[plumbing.Hash]bool // of which commits it is known whether this service made them

	limits  limits
	large   map[plumbing.Hash]large
	kept    int64 // bytes of the objects that came from the server
	first   int64 // the same when it was new
	partial bool  // some objects that are too large were left out
}

func newStore(l limits) *store {
	return &store{objects: memory.NewStorage(), limits: l, large: map[plumbing.Hash]large{},
		ours: map[plumbing.Hash]bool{}}
}

// full reports whether so much was added that a new clone is the cheaper way to drop old trees.
func (s *store) full() bool {
	const slack = 50_000
	return len(s.objects.Objects) > 2*s.cloned+slack || s.kept > s.limits.kept/2 && s.kept > 2*s.first
}

func (s *store) commit(h plumbing.Hash) (*object.Commit, error) {
	return object.GetCommit(s.objects, h)
}
