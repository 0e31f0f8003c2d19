package pkgdb

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/filetree"
)

// Screen checks the package databases of an image, at the paths that a container sees. distroless
// reports that dpkg's packages are in var/lib/dpkg/status.d only, which dpkg itself does not read.
func Screen(img *filetree.Image) (distroless bool, err error) {
	s := screen{img}
	found := map[string]bool{}
	for _, dir := range dirs() {
		names, err := s.list(dir)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			n, _, err := s.file(name)
			if err != nil {
				return false, err
			}
			if n == nil || n.File.Head().Size == 0 {
				continue
			}
			found[dir] = true
			if err := s.check(name, n); err != nil {
				return false, err
			}
		}
	}
	for _, dir := range rpmDirs() {
		if err := s.rpm(dir + rpmDB); err != nil {
			return false, err
		}
	}
	return found[statusDir] && !found["var/lib/dpkg/"], nil
}

type screen struct{ img *filetree.Image }

// list returns the package databases in a directory, by name.
func (s screen) list(dir string) ([]string, error) {
	_, n, err := s.resolve(dir)
	if err != nil || n == nil || n.Kind != filetree.Directory {
		return nil, err
	}
	var names []string
	for _, child := range slices.Sorted(maps.Keys(maps.Collect(n.Children()))) {
		if checkOf(dir+child) != nil {
			names = append(names, dir+child)
		}
	}
	return names, nil
}

// rpm checks the logs beside a database. SQLite looks for them beside the file, not beside a link
// to it.
func (s screen) rpm(db string) error {
	n, real, err := s.file(db)
	if err != nil || n == nil {
		return err
	}
	for _, end := range rpmLogs() {
		for _, at := range []string{db, real} {
			n, _, err := s.file(at + end)
			if err != nil {
				return err
			}
			if n == nil {
				continue
			}
			if err := s.check(db+end, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// file returns the regular file at the end of a path, nil if there is none, and its path without
// links.
func (s screen) file(name string) (n *filetree.Node, real string, err error) {
	real, n, err = s.resolve(name)
	if err != nil || n == nil || n.Kind != filetree.Regular {
		return nil, "", err
	}
	return n, real, nil
}

// resolve treats a loop of links as a missing file, as package managers do. The engines decide
// whether it is allowed.
func (s screen) resolve(name string) (real string, n *filetree.Node, err error) {
	real, n, err = s.img.Resolve(strings.TrimSuffix(name, "/"))
	if errors.Is(err, filetree.ErrLoop) {
		return "", nil, nil
	}
	return real, n, err
}

// check checks a file by its name.
func (s screen) check(name string, n *filetree.Node) (err error) {
	content, err := s.img.OpenFile(n.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if err = Check(name, content); pratique.KindOf(err) == pratique.Unknown { // all of it was read before
		return pratique.Wrap(pratique.Unavailable, op, name, err)
	}
	return err
}
