package gitrepo

import (
	"context"
	"io"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// Bounds of one walk: how deep folders are followed, and how many files and folders are visited.
// One folder can stand in a tree many times, so a small pack can hold more of them than anybody
// could visit.
const (
	maxDepth   = 64
	maxEntries = 500_000
	maxName    = 255 // as file systems have it
	maxPath    = 4095
)

// tree reads one commit's tree from the store.
type tree struct {
	store *store
	root  plumbing.Hash
	dirs  map[string]*object.Tree
}

var _ deploy.Tree = (*tree)(nil)

// Walk implements [deploy.Tree].
func (t *tree) Walk(ctx context.Context, prefix string, visit func(deploy.File) error) error {
	prefix = strings.Trim(prefix, "/")
	root := t.root
	if prefix != "" {
		if err := checkPath(prefix); err != nil {
			return err
		}
		e, err := t.entry(prefix)
		switch {
		case pratique.KindOf(err) == pratique.NotFound:
			return nil
		case err != nil:
			return err
		case isFile(e.Mode):
			return visit(&file{t, prefix, e.Hash})
		case e.Mode != filemode.Dir:
			return nil
		}
		root = e.Hash
	}
	w := &walk{tree: t, visit: visit, left: maxEntries}
	return w.folder(ctx, prefix, root, 0)
}

// walk visits the files below a folder.
type walk struct {
	tree  *tree
	visit func(deploy.File) error
	left  int // entries that may still be visited
}

func (w *walk) folder(ctx context.Context, dir string, root plumbing.Hash, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return pratique.Errorf(pratique.Exhausted, "walk tree",
			"%s: folders are nested deeper than %d", dir, maxDepth)
	}
	d, err := w.tree.store.tree(dir, root)
	if err != nil {
		return err
	}
	for _, e := range d.Entries {
		if w.left--; w.left < 0 {
			return pratique.Errorf(pratique.Exhausted, "walk tree",
				"%s/: there are more than %d files and folders up to here; "+
					"give the target a path with fewer", dir, maxEntries)
		}
		name := path.Join(dir, e.Name)
		if checkPath(e.Name) != nil || strings.Contains(e.Name, "/") || len(e.Name) > maxName ||
			len(name) > maxPath {
			continue // a tree can hold such names, but nobody can check them out
		}
		switch {
		case isFile(e.Mode):
			err = w.visit(&file{w.tree, name, e.Hash})
		case e.Mode == filemode.Dir:
			err = w.folder(ctx, name, e.Hash, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Read implements [deploy.Tree].
func (t *tree) Read(name string) ([]byte, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	e, err := t.entry(name)
	if err != nil {
		return nil, err
	}
	if !isFile(e.Mode) {
		return nil, pratique.Errorf(pratique.NotFound, "read file", "%s is not a regular file", name)
	}
	return t.store.read(name, e.Hash)
}

// file is a regular file of a tree. The walk that found it knows its hash, so nobody has to look
// for that again.
type file struct {
	tree *tree
	path string
	hash plumbing.Hash
}

var _ deploy.File = (*file)(nil)

// Path implements [deploy.File].
func (f *file) Path() string { return f.path }

// Content implements [deploy.File].
func (f *file) Content() string { return f.hash.String() }

// Read implements [deploy.File].
func (f *file) Read() ([]byte, error) { return f.tree.store.read(f.path, f.hash) }

// Open implements [deploy.File].
func (f *file) Open(ctx context.Context) (io.ReadCloser, error) {
	return f.tree.store.open(ctx, f.path, f.hash)
}

// entry finds a file or folder.
func (t *tree) entry(name string) (object.TreeEntry, error) {
	dir, base := path.Split(name)
	d, err := t.dir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return object.TreeEntry{}, err
	}
	for _, e := range d.Entries {
		if e.Name == base {
			return e, nil
		}
	}
	return object.TreeEntry{}, pratique.Errorf(pratique.NotFound, "read tree", "there is no %s", name)
}

// dir returns a folder, remembering it for the next file.
func (t *tree) dir(name string) (*object.Tree, error) {
	if d := t.dirs[name]; d != nil {
		return d, nil
	}
	h := t.root
	if name != "" {
		e, err := t.entry(name)
		if err != nil {
			return nil, err
		}
		if e.Mode != filemode.Dir {
			return nil, pratique.Errorf(pratique.NotFound, "read tree", "%s is not a folder", name)
		}
		h = e.Hash
	}
	d, err := t.store.tree(name, h)
	if err != nil {
		return nil, err
	}
	if t.dirs == nil {
		t.dirs = map[string]*object.Tree{}
	}
	t.dirs[name] = d
	return d, nil
}
