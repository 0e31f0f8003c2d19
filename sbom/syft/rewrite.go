package syft

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique/internal/contextio"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
)

// Syft takes the name in a header literally, looks for the target of a hard link in the same layer
// only, and resolves ".." in a link without following other links. Layers that it would misread for
// one of these reasons are rewritten.

// layerTraits decide whether Syft misreads a layer.
type layerTraits struct {
	// plain reports that Syft reads the layer correctly, whatever the layers below.
	plain bool
	// upwardLinks are symbolic links with ".." after a name, which Syft may resolve incorrectly.
	upwardLinks []string
}

func traitsOf(l *filetree.Layer) layerTraits {
	n := layerTraits{plain: l.Plain()}
	l.Nodes(func(name string, node *filetree.Node) {
		if node.Entry < 0 {
			return
		}
		if e := l.Entries[node.Entry]; e.Type == tar.TypeLink {
			to := l.Lookup(strings.TrimPrefix(path.Clean("/"+e.Link), "/"))
			n.plain = n.plain && to != nil && to.Kind == node.Kind && to.File == node.File &&
				to.Link == node.Link
		}
		if at := strings.LastIndex(node.Link, ".."); node.Kind == filetree.Symlink && at > 0 &&
			strings.Trim(node.Link[:at], "./") != "" {
			n.upwardLinks = append(n.upwardLinks, name)
		}
	})
	return n
}

// files merges the layers of an image, and returns the traits of each.
func (g *Generator) files(ctx context.Context, img layers.Image) (*filetree.Image, []layerTraits, error) {
	files, err := g.trees.Image(ctx, img)
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]layerTraits, len(files.Layers))
	for i, l := range files.Layers {
		all[i] = g.traits.Get(l, traitsOf)
	}
	return files, all, nil
}

// ReadsCorrectly reports whether Syft reads an image's layers as a runtime unpacks them.
func (g *Generator) ReadsCorrectly(ctx context.Context, img layers.Image) (bool, error) {
	files, all, err := g.files(ctx, img)
	if err != nil {
		return false, err
	}
	for _, n := range all {
		misled, err := misreadLinks(files, n)
		if err != nil || !n.plain || len(misled) > 0 {
			return false, err
		}
	}
	return true, nil
}

// misreadLinks returns the upward links of a layer that Syft resolves incorrectly, with their
// targets from the root; "" if there is none.
func misreadLinks(files *filetree.Image, n layerTraits) (map[string]string, error) {
	found := map[string]string{}
	for _, name := range n.upwardLinks {
		node := files.Tree.Lookup(name)
		if node == nil || node.Kind != filetree.Symlink {
			continue
		}
		real, there, err := resolve(files, name)
		if err != nil {
			return nil, err
		}
		lexical := path.Clean(node.Link)
		if !strings.HasPrefix(lexical, "/") {
			lexical = path.Join("/", path.Dir(name), lexical)
		}
		guessed, found2, err := resolve(files, lexical)
		if err != nil {
			return nil, err
		}
		if real != guessed || there != found2 {
			if found[name] = ""; there {
				found[name] = "/" + real
			}
		}
	}
	return found, nil
}

func resolve(files *filetree.Image, name string) (real string, there bool, err error) {
	real, n, err := files.Resolve(name)
	if errors.Is(err, filetree.ErrLoop) {
		return "", false, nil
	}
	return real, n != nil, err
}

// whiteout is the prefix of the name of a removed file.
const whiteout = ".wh."

// items lists the entries of a rewritten layer.
func items(files *filetree.Image, l *filetree.Layer, misled map[string]string) []filetree.Item {
	type placed struct {
		entry int
		path  string
		node  *filetree.Node
	}
	var all []placed
	l.Nodes(func(name string, node *filetree.Node) {
		if node.Entry >= 0 {
			all = append(all, placed{node.Entry, name, node})
		}
	})
	for _, name := range l.LinksDown() {
		if node := files.Tree.Lookup(name); node != nil && node.Entry >= 0 &&
			node.Kind != filetree.Directory {
			all = append(all, placed{len(l.Entries), name, node})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.entry, b.entry), strings.Compare(a.path, b.path))
	})
	var out []filetree.Item
	first := map[*filetree.File]string{}
	for _, p := range all {
		item := filetree.Item{Path: p.path}
		target, misleads := misled[p.path]
		switch {
		case p.node.Kind == filetree.Symlink && misleads && target == "":
			continue
		case p.node.Kind == filetree.Symlink:
			item.Type, item.Link = tar.TypeSymlink, cmp.Or(target, p.node.Link)
		case p.node.Kind == filetree.Regular && first[p.node.File] != "":
			item.Type, item.Link = tar.TypeLink, first[p.node.File]
		case p.node.Kind == filetree.Regular:
			item.Content, first[p.node.File] = p.node.File, p.path
		default:
			item.Entry = l.Entries[p.entry]
			item.AsIs = item.Entry.Name == p.path
		}
		out = append(out, item)
	}
	removed, opaque := l.Removals()
	for _, name := range removed {
		out = append(out, filetree.Item{Path: path.Join(path.Dir(name), whiteout+path.Base(name)),
			Type: tar.TypeReg})
	}
	for _, name := range opaque {
		out = append(out, filetree.Item{Path: name + "/.wh..wh..opq", Type: tar.TypeReg})
	}
	return out
}

// rewriteMisread is a [rewriter] of the layers that Syft would misread.
func (g *Generator) rewriteMisread(ctx context.Context, img layers.Image,
	name func(i int) string) (map[int]bool, error) {
	files, all, err := g.files(ctx, img)
	if err != nil {
		return nil, err
	}
	done := map[int]bool{}
	for i, l := range files.Layers {
		misled, err := misreadLinks(files, all[i])
		if err != nil {
			return nil, err
		}
		if all[i].plain && len(misled) == 0 {
			continue
		}
		if err := write(ctx, name(i), files, l, items(files, l, misled)); err != nil {
			return nil, err
		}
		done[i] = true
	}
	return done, nil
}

// write writes a rewritten layer to a file.
func write(ctx context.Context, name string, files *filetree.Image, l *filetree.Layer,
	items []filetree.Item) error {
	body, err := files.Open(l, items)
	if err != nil {
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return errors.Join(err, body.Close())
	}
	_, err = io.Copy(out, contextio.NewReader(ctx, body))
	return errors.Join(err, out.Close(), body.Close())
}
