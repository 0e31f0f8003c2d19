package filetree_test

import (
	"archive/tar"
	"errors"
	"path"
	"slices"
	"strings"
)

// errModel stands for everything that the model cannot unpack.
var errModel = errors.New("the model cannot unpack it")

// model is a file system as simple as it gets: what lies at each path, without any structure. It
// unpacks a layer as containerd does on overlayfs, or onto what is there already, as its native
// snapshotter does.
type model map[string]thing

type thing struct {
	kind    byte // d, f, l, w: a whiteout
	text    string
	opaque  bool
	implied bool
}

// real follows the links on the way to a path, but not the last name.
func (m model) real(name string) (string, error) {
	todo, at := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/"), ""
	for links := 0; len(todo) > 1; {
		head := todo[0]
		todo = todo[1:]
		switch head {
		case "", ".":
			continue
		case "..":
			if at = path.Dir(at); at == "." {
				at = ""
			}
			continue
		}
		next := path.Join(at, head)
		if t, ok := m[next]; ok && t.kind == 'l' {
			if links++; links > 40 {
				return "", errModel
			}
			if strings.HasPrefix(t.text, "/") {
				at = ""
			}
			todo = append(strings.Split(t.text, "/"), todo...)
			continue
		}
		at = next
	}
	return path.Join(at, todo[0]), nil
}

func (m model) removeAll(name string) {
	for p := range m {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(m, p)
		}
	}
}

func (m model) mkdirs(dir string) error {
	if dir == "." || dir == "" {
		return nil
	}
	if t, ok := m[dir]; ok {
		if t.kind != 'd' {
			return errModel
		}
		return nil
	}
	if err := m.mkdirs(path.Dir(dir)); err != nil {
		return err
	}
	m[dir] = thing{kind: 'd', implied: true}
	return nil
}

// unpack applies entries one by one. Given what lies below, the model is the directory of one
// layer: whiteouts stay as marks for lay, and a hard link may lead to what lies below.
func (m model) unpack(entries []header, below model) error {
	overlay := below != nil
	fresh := map[string]bool{}
	for _, e := range entries {
		at, err := m.real(e.name)
		if err != nil {
			return err
		}
		if err := m.mkdirs(path.Dir(at)); err != nil {
			return err
		}
		dir, base := path.Split(at)
		dir = strings.TrimSuffix(dir, "/")
		if base == ".wh..wh..opq" {
			if overlay {
				t := m[dir]
				t.opaque = true
				m[dir] = t
				continue
			}
			for p := range m {
				if strings.HasPrefix(p, dir+"/") && !fresh[p] {
					delete(m, p)
				}
			}
			continue
		}
		if name, ok := strings.CutPrefix(base, ".wh."); ok {
			gone := path.Join(dir, name)
			if !overlay {
				m.removeAll(gone)
				continue
			}
			if have, ok := m[gone]; ok && have.kind != 'w' {
				return errModel // mknod: it exists
			}
			m[gone] = thing{kind: 'w'}
			continue
		}
		if have, ok := m[at]; ok && !(have.kind == 'd' && e.kind == tar.TypeDir) {
			m.removeAll(at)
		}
		switch e.kind {
		case tar.TypeDir:
			t := m[at]
			t.kind, t.implied = 'd', false
			m[at] = t
		case tar.TypeSymlink:
			m[at] = thing{kind: 'l', text: e.text}
		case tar.TypeLink:
			to, err := m.real(e.text)
			if err != nil {
				return err
			}
			t, ok := m[to]
			if !ok && overlay {
				if to, err = below.real(to); err != nil {
					return err
				}
				t, ok = below[to]
			}
			if !ok || t.kind == 'd' || t.kind == 'w' {
				return errModel
			}
			m[at] = t
		default:
			m[at] = thing{kind: 'f', text: e.text}
		}
		fresh[at] = true
	}
	return nil
}

// lay puts a layer, unpacked by itself, over what is there, as overlayfs does.
func (m model) lay(upper model) {
	names := make([]string, 0, len(upper))
	for p := range upper {
		names = append(names, p)
	}
	slices.Sort(names) // directories before what is in them
	for _, p := range names {
		t := upper[p]
		have, ok := m[p]
		switch {
		case t.kind == 'w':
			m.removeAll(p)
			continue
		case t.kind != 'd', ok && have.kind != 'd', t.opaque:
			m.removeAll(p)
		}
		m[p] = thing{kind: t.kind, text: t.text}
	}
}

// list is what is there, a line each.
func (m model) list() []string {
	var all []string
	for p, t := range m {
		if p == "" || p == "." {
			continue
		}
		all = append(all, p+" "+string(t.kind)+" "+t.text)
	}
	slices.Sort(all)
	return all
}
