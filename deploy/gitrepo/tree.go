package gitrepo

import (
	"context"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// maxFile is the size in bytes of the largest file that Read returns.
const maxFile = 16 << 20

// maxDepth bounds how deep folders are followed.
const maxDepth = 64

// tree reads one commit's tree from the store.
type tree struct {
	store *store
	root  plumbing.Hash
	dirs  map[string]*object.Tree
}

var _ deploy.Tree = (*tree)(nil)

// Walk implements [deploy.Tree].
func (t *tree) Walk(ctx context.Context, prefix string, visit func(string) error) error {
	prefix = strings.Trim(prefix, "/")
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
			return visit(prefix)
		case e.Mode != filemode.Dir:
			return nil
		}
	}
	return t.walk(ctx, prefix, 0, visit)
}

func (t *tree) walk(ctx context.Context, dir string, depth int, visit func(string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return pratique.Errorf(pratique.Exhausted, "walk tree", "%s: folders are nested deeper than %d", dir, maxDepth)
	}
	d, err := t.dir(dir)
	if err != nil {
		return err
	}
	for _, e := range d.Entries {
		name := path.Join(dir, e.Name)
		if checkPath(name) != nil {
			continue // a tree can be made to hold such names; they are no files of ours
		}
		switch {
		case isFile(e.Mode):
			err = visit(name)
		case e.Mode == filemode.Dir:
			err = t.walk(ctx, name, depth+1, visit)
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
	o, err := t.store.objects.EncodedObject(plumbing.BlobObject, e.Hash)
	if err != nil {
		return nil, err
	}
	if o.Size() > maxFile {
		return nil, pratique.Errorf(pratique.Exhausted, "read file", "%s has %d bytes, more than the %d that are edited", name, o.Size(), maxFile)
	}
	return readAll(o)
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
	d, err := object.GetTree(t.store.objects, h)
	if err != nil {
		return nil, err
	}
	if t.dirs == nil {
		t.dirs = map[string]*object.Tree{}
	}
	t.dirs[name] = d
	return d, nil
}
