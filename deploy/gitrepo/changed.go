package gitrepo

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// Bounds of a comparison of two commits, and of a search for the commit that changed a file.
const (
	maxChanged  = 2000    // files that differ
	maxCompared = 200_000 // entries of folders that are compared
	maxParents  = 500     // first parents that are followed
	maxVersions = 50      // versions of the file that are read
)

// errMany ends a comparison that is too large for a commit of ours.
var errMany = errors.New("too many differences")

// changed visits the files below prefix in which a commit differs from its first parent; false if
// that is not known.
func (s *store) changed(ctx context.Context, c *object.Commit, prefix string,
	visit func(deploy.File) error) (bool, error) {
	var before plumbing.Hash
	if len(c.ParentHashes) > 0 {
		parent, err := s.commit(c.ParentHashes[0])
		if err != nil {
			return false, nil //nolint:nilerr // the parent is behind the shallow boundary
		}
		before = parent.TreeHash
	}
	after := &tree{store: s, root: c.TreeHash}
	d := &comparison{tree: after, visit: visit, files: maxChanged, entries: maxCompared}
	err := d.below(ctx, strings.Trim(prefix, "/"), before)
	switch kind := pratique.KindOf(err); {
	case errors.Is(err, errMany), errors.Is(err, plumbing.ErrObjectNotFound), kind == pratique.Exhausted:
		return false, nil
	case errors.Is(err, errUnsound): // people can fix the tip of the branch, but not its history
		return false, nil
	}
	return err == nil, err
}

// comparison finds what differs between two trees.
type comparison struct {
	tree           *tree // the newer one
	visit          func(deploy.File) error
	files, entries int // how many may still come
}

func (d *comparison) below(ctx context.Context, prefix string, before plumbing.Hash) error {
	if prefix == "" {
		return d.folder(ctx, "", before, d.tree.root, 0)
	}
	if err := checkPath(prefix); err != nil {
		return err
	}
	entry := func(root plumbing.Hash) (object.TreeEntry, error) {
		if root.IsZero() {
			return object.TreeEntry{}, nil
		}
		e, err := (&tree{store: d.tree.store, root: root}).entry(prefix)
		if pratique.KindOf(err) == pratique.NotFound {
			return object.TreeEntry{}, nil
		}
		return e, err
	}
	old, err := entry(before)
	if err != nil {
		return err
	}
	now, err := entry(d.tree.root)
	if err != nil {
		return err
	}
	return d.compare(ctx, prefix, old, now, 0)
}

func (d *comparison) compare(ctx context.Context, name string, old, now object.TreeEntry,
	depth int) error {
	switch {
	case now.Hash == old.Hash:
	case isFile(now.Mode):
		if d.files--; d.files < 0 {
			return errMany
		}
		return d.visit(&file{d.tree, name, now.Hash})
	case now.Mode == filemode.Dir:
		before := plumbing.ZeroHash
		if old.Mode == filemode.Dir {
			before = old.Hash
		}
		return d.folder(ctx, name, before, now.Hash, depth+1)
	}
	return nil
}

func (d *comparison) folder(ctx context.Context, dir string, before, now plumbing.Hash, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return errMany
	}
	old := map[string]object.TreeEntry{}
	if !before.IsZero() {
		t, err := d.tree.store.tree(dir, before)
		if err != nil {
			return err
		}
		for _, e := range t.Entries {
			old[e.Name] = e
		}
	}
	t, err := d.tree.store.tree(dir, now)
	if err != nil {
		return err
	}
	if d.entries -= len(t.Entries) + len(old); d.entries < 0 {
		return errMany
	}
	for _, e := range t.Entries {
		if checkPath(e.Name) != nil || strings.Contains(e.Name, "/") {
			continue
		}
		if err := d.compare(ctx, path.Join(dir, e.Name), old[e.Name], e, depth); err != nil {
			return err
		}
	}
	return nil
}

// tip is the newest commit of the branch.
type tip struct {
	*tree
	commit *object.Commit
}

var _ deploy.Tip = (*tip)(nil)

func (s *store) at(c *object.Commit) *tip {
	return &tip{tree: &tree{store: s, root: c.TreeHash}, commit: c}
}

// ID implements [deploy.Tip].
func (t *tip) ID() string { return t.commit.Hash.String() }

// Since implements [deploy.Tip].
func (t *tip) Since(ctx context.Context, name string,
	same func(deploy.File) (bool, error)) (string, time.Time, error) {
	versions := map[plumbing.Hash]bool{}
	c := t.commit
	for range maxParents {
		if err := ctx.Err(); err != nil {
			return "", time.Time{}, err
		}
		goesOn, before, err := t.before(c, name, versions, same)
		switch {
		case err != nil:
			return "", time.Time{}, err
		case !goesOn:
			return c.Hash.String(), c.Committer.When.UTC().Truncate(time.Second), nil
		case before == nil || len(versions) > maxVersions:
			return "", time.Time{}, nil
		}
		c = before
	}
	return "", time.Time{}, nil
}

// before reports whether the file is the same in the first parent of a commit. The parent is nil if
// that is unknown.
func (t *tip) before(c *object.Commit, name string, versions map[plumbing.Hash]bool,
	same func(deploy.File) (bool, error)) (bool, *object.Commit, error) {
	if len(c.ParentHashes) == 0 {
		return false, nil, nil
	}
	parent, err := t.store.commit(c.ParentHashes[0])
	if err != nil {
		return true, nil, nil //nolint:nilerr // behind the shallow boundary
	}
	old := &tree{store: t.store, root: parent.TreeHash}
	e, err := old.entry(name)
	switch {
	case pratique.KindOf(err) == pratique.NotFound:
		return false, nil, nil
	case err != nil:
		return true, nil, nil //nolint:nilerr // its trees are not here
	case !isFile(e.Mode):
		return false, nil, nil
	}
	known, seen := versions[e.Hash]
	if !seen {
		if known, err = same(&file{old, name, e.Hash}); err != nil {
			return false, nil, err
		}
		versions[e.Hash] = known
	}
	return known, parent, nil
}
