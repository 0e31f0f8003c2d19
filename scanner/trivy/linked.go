//go:build goexperiment.jsonv2

package trivy

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

// tree is an image as its container sees it, with each layer as Trivy should read it.
type tree struct {
	image   *filetree.Image
	layers  []*normalLayer // as the image has them
	byLayer map[*filetree.Layer]*normalLayer
}

func (s *Scanner) tree(img *filetree.Image) *tree {
	t := &tree{image: img, byLayer: map[*filetree.Layer]*normalLayer{}}
	for _, l := range img.Layers {
		if t.byLayer[l] == nil {
			t.byLayer[l] = s.normalized.Get(l, s.analyzers.normalize)
		}
		t.layers = append(t.layers, t.byLayer[l])
	}
	return t
}

// shows reports whether a path of the image is that file.
func (t *tree) shows(name string, f *filetree.File) bool {
	n := t.image.Tree.Lookup(name)
	return n != nil && n.File == f
}

// linked are files of one layer, with the names by which Trivy would read them if it followed
// links.
type linked struct {
	layer *normalLayer
	items []filetree.Item
}

// linker finds files that can only be reached by links.
type linker struct {
	tree      *tree
	analyzers *analyzers
	done      map[*filetree.File]roles // the roles for which files are read already
	found     map[*normalLayer][]filetree.Item
}

// findLinked finds files that Trivy would read at a path that only a link leads to: a symbolic
// link, a hard link to another layer, or a hard link whose other name, by which the file is read,
// was removed. A file that is read for the same purpose under another name is left out: it would be
// reported twice, unlike by Trivy.
func (t *tree) findLinked(r *analyzers) ([]linked, error) {
	l := linker{tree: t, analyzers: r, done: map[*filetree.File]roles{},
		found: map[*normalLayer][]filetree.Item{}}
	for _, name := range t.candidates(r) {
		if err := l.follow(name, true); err != nil {
			return nil, err
		}
	}
	for _, n := range t.layers {
		for _, name := range n.linksDown {
			if at := t.image.Tree.Lookup(name); at != nil && at.Kind == filetree.Regular {
				l.add(name, at.File, at.File.Mode)
			}
		}
		for _, f := range n.otherNames {
			for _, name := range f.Names {
				if t.shows(name.Path, f) {
					l.add(name.Path, f, f.Mode)
				}
			}
		}
	}
	var all []linked
	for n, items := range l.found {
		all = append(all, linked{layer: n, items: items})
	}
	slices.SortFunc(all, func(a, b linked) int {
		return strings.Compare(a.layer.layer.DiffID.Hex(), b.layer.layer.DiffID.Hex())
	})
	return all, nil
}

// candidates returns the paths at which a link may lead to a relevant file.
func (t *tree) candidates(r *analyzers) []string {
	all := slices.Concat(slices.Collect(maps.Keys(r.fixed)), packageDirs())
	for _, n := range t.layers {
		all = append(all, n.links...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// follow adds the file at the end of a path; for a directory, the files in it.
func (l *linker) follow(name string, into bool) error {
	if n := l.tree.image.Tree.Lookup(name); n != nil && n.Kind != filetree.Symlink {
		return nil // not behind a link; nor are its files, and its links are candidates
	}
	real, n, err := l.tree.image.Resolve(name)
	switch {
	case errors.Is(err, filetree.ErrLoop) && (filetree.IsSystemPath(name) ||
		slices.Contains(packageDirs(), name)):
		return pratique.Errorf(pratique.Corrupt, "follow links", "the links at %s lead in a circle", name)
	case errors.Is(err, filetree.ErrLoop):
		return nil
	case err != nil:
		return err
	case n == nil || real == name:
		return nil
	case n.Kind == filetree.Regular:
		l.add(name, n.File, 0)
	case n.Kind == filetree.Directory && into:
		var in []string
		for child := range n.Children() {
			in = append(in, child)
		}
		slices.Sort(in)
		for _, child := range in {
			if err := l.follow(path.Join(name, child), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds a file under a name, unless it is read for the same roles already. A mode of 0 leaves
// executables aside: they are read under their own names.
func (l *linker) add(name string, f *filetree.File, mode uint32) {
	left := l.analyzers.roles(name, mode).without(l.rolesOf(f))
	if len(left) == 0 {
		return
	}
	l.done[f].add(left)
	n := l.tree.byLayer[f.Layer]
	l.found[n] = append(l.found[n], filetree.Item{Path: name, Content: f})
}

// rolesOf returns the roles for which a file is read under the names that the image still shows.
func (l *linker) rolesOf(f *filetree.File) roles {
	if done, ok := l.done[f]; ok {
		return done
	}
	done := roles{}
	if names, several := l.tree.byLayer[f.Layer].read[f]; several {
		for name, as := range names {
			if l.tree.shows(name, f) {
				done.add(as)
			}
		}
	} else if name := f.Head().Name; l.tree.shows(name, f) {
		done.add(l.analyzers.roles(name, f.Mode))
	}
	l.done[f] = done
	return done
}
