//go:build goexperiment.jsonv2

package trivy

import (
	"cmp"
	"io"
	"io/fs"
	"slices"

	"github.com/pratique-dev/pratique/internal/filetree"
)

// normalLayer is a layer as Trivy should read it. Trivy reads headers literally: of two with one
// path it takes the first, it does not follow links, and it uses names that lead through a link as
// they are written. So a layer in which that differs from what a runtime unpacks is given to Trivy
// as a rewritten stream. It depends on the layer alone, as does the analysis.
type normalLayer struct {
	layer *filetree.Layer
	// items are the rewritten stream; nil if the layer can be read as it is.
	items []filetree.Item
	// read has, for files with several names, the names under which Trivy reads them, with their
	// roles. Other files have the name in their header.
	read map[*filetree.File]map[string]roles
	// otherNames are files that Trivy would also read under names that are not in the stream.
	otherNames []*filetree.File
	// links are the symbolic links that would be read if they were files, and those to package
	// directories.
	links []string
	// releases are the files that identify the distribution.
	releases  []string
	linksDown []string // hard links that lead to lower layers
}

func (r *analyzers) normalize(l *filetree.Layer) *normalLayer {
	n := &normalLayer{layer: l, read: map[*filetree.File]map[string]roles{}, linksDown: l.LinksDown()}
	plain := l.Plain()
	l.Nodes(func(name string, node *filetree.Node) {
		if node.Kind == filetree.Symlink && (isPackageDir(name) || len(r.roles(name, 0)) > 0) {
			n.links = append(n.links, name)
		}
		if node.Kind != filetree.Regular {
			return
		}
		if r.releases[name] {
			n.releases = append(n.releases, name)
		}
	})
	slices.Sort(n.links)
	for _, f := range l.Linked() {
		n.chooseNames(r, f)
		was := f.Head()
		if len(n.read[f]) != 1 || n.read[f][was.Name] == nil ||
			executable(uint32(was.Mode)) != executable(f.Mode) {
			plain = false
		}
	}
	if !plain {
		n.composeItems()
	}
	return n
}

// chooseNames decides under which names a file is read: the first one, and each further one that
// adds a role.
func (n *normalLayer) chooseNames(r *analyzers, f *filetree.File) {
	n.read[f] = map[string]roles{}
	done, more := roles{}, false
	for _, name := range f.Names {
		as := r.roles(name.Path, f.Mode)
		first := len(n.read[f]) == 0
		if left := as.without(done); first || len(left) > 0 {
			n.read[f][name.Path] = as
			done.add(as)
		} else if len(as) > 0 {
			more = true
		}
	}
	if more {
		n.otherNames = append(n.otherNames, f)
	}
}

// composeItems lists the regular files in the order of their headers. Trivy reads nothing else.
func (n *normalLayer) composeItems() {
	type placed struct {
		entry int
		item  filetree.Item
	}
	all := []placed{}
	n.layer.Files(func(name string, node *filetree.Node) {
		f := node.File
		if names, several := n.read[f]; several && names[name] == nil {
			return
		}
		was := f.Head()
		item := filetree.Item{Path: name, Entry: was, Content: f}
		if node.Entry == f.Entry && name == was.Name &&
			executable(uint32(was.Mode)) == executable(f.Mode) {
			item.AsIs, item.Content = true, nil
		}
		all = append(all, placed{node.Entry, item})
	})
	slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.entry, b.entry) })
	n.items = make([]filetree.Item, 0, len(all))
	for _, p := range all {
		n.items = append(n.items, p.item)
	}
}

func (n *normalLayer) open(img *filetree.Image) (io.ReadCloser, error) {
	if n.items == nil {
		return img.OpenLayer(n.layer)
	}
	return img.Open(n.layer, n.items)
}

// hasApk reports whether the layer has a database of apk.
func (n *normalLayer) hasApk() bool {
	return slices.ContainsFunc([]string{"lib/apk/db/installed", "usr/lib/apk/db/installed"},
		func(name string) bool {
			at := n.layer.Lookup(name)
			return at != nil && at.Kind == filetree.Regular
		})
}

func executable(mode uint32) bool { return fs.FileMode(mode)&0o111 != 0 }
