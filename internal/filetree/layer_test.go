package filetree_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
	"github.com/pratique-dev/pratique/internal/layers"
)

// header is one entry of a layer in the making; text is its content, or where it leads.
type header struct {
	name string
	kind byte
	text string
}

func file(name, text string) header { return header{name, tar.TypeReg, text} }
func dir(name string) header        { return header{name, tar.TypeDir, ""} }
func sym(name, to string) header    { return header{name, tar.TypeSymlink, to} }
func hard(name, to string) header   { return header{name, tar.TypeLink, to} }
func gone(name string) header       { return header{name, tar.TypeReg, ""} }

// packed is the tar stream of a layer.
func packed(t testing.TB, entries []header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644}
		switch e.kind {
		case tar.TypeReg:
			h.Size = int64(len(e.text))
		case tar.TypeDir:
			h.Mode = 0o755
		default:
			h.Linkname = e.text
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := io.WriteString(w, e.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// image writes layers to a directory; only what filetree asks of an image is there.
func image(t testing.TB, all ...[]header) layers.Image {
	t.Helper()
	var img layers.Image
	dir := t.TempDir()
	for _, entries := range all {
		body := packed(t, entries)
		d := pratique.DigestOf(body)
		path := filepath.Join(dir, d.Hex())
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		img.Layers = append(img.Layers, layers.Layer{DiffID: d, Path: path})
	}
	return img
}

// listed is what is in a tree, as the model lists it.
func listed(t testing.TB, img *filetree.Image) []string {
	t.Helper()
	var all []string
	img.Tree.Walk(func(path string, n *filetree.Node) {
		switch n.Kind {
		case filetree.Directory:
			all = append(all, path+" d ")
		case filetree.Symlink:
			all = append(all, path+" l "+n.Link)
		case filetree.Regular:
			all = append(all, path+" f "+content(t, img, n.File))
		default:
			t.Errorf("%s is of kind %d", path, n.Kind)
		}
	})
	slices.Sort(all)
	return all
}

// content reads a file as an analyzer gets it.
func content(t testing.TB, img *filetree.Image, f *filetree.File) string {
	t.Helper()
	body, err := img.OpenFile(f)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var out strings.Builder
	if _, err := io.Copy(&out, body); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
