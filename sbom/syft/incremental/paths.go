package incremental

import (
	"path"
	"strings"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
)

// paths are the paths of an image, whose lower layers may have paths of their own.
type paths struct {
	here  entries
	below *paths // nil if this is all
}

// entries maps absolute clean paths to what exists there, including directories that no layer
// lists.
type entries map[string]entry

type entry struct {
	dir bool
	// link is the target of a symbolic or hard link, as written; "" for everything else.
	link string
	hard bool
}

// at returns what exists at a path, without following links.
func (p *paths) at(name string) (e entry, there bool) {
	for ; p != nil; p = p.below {
		if e, there = p.here[name]; there {
			break
		}
	}
	return e, there
}

// pathsOf lists the squashed tree of an image that was read.
func pathsOf(img *image.Image) entries {
	tree := img.SquashedTree()
	all := entries{}
	for _, p := range tree.AllRealPaths() {
		// what has no metadata is a directory that only its children imply
		all[string(p)] = entry{dir: true}
	}
	for _, ref := range tree.AllFiles(file.AllTypes()...) {
		e := entry{}
		if meta, err := img.FileCatalog.Get(ref); err == nil {
			e.dir = meta.Type == file.TypeDirectory
			e.hard = meta.Type == file.TypeHardLink
			if e.hard || meta.Type == file.TypeSymLink {
				e.link = meta.LinkDestination
			}
		}
		all[string(ref.RealPath)] = e
	}
	return all
}

// maxLinks bounds the links that are followed.
const maxLinks = 64

// resolve follows all links in a path and returns where it ends, whether or not something exists
// there; ok is false for loops.
func (p *paths) resolve(name string) (end string, ok bool) {
	rest, at := split(name), "/"
	for links := 0; len(rest) > 0; {
		head := rest[0]
		rest = rest[1:]
		if head == ".." {
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, head)
		e, known := p.at(next)
		if !known || e.link == "" {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", false
		}
		if e.hard || strings.HasPrefix(e.link, "/") {
			at = "/"
		}
		rest = append(split(e.link), rest...)
	}
	return at, true
}

// split returns the elements of a path, without empty ones and dots.
func split(name string) []string {
	var parts []string
	for _, part := range strings.Split(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// under reports whether name or one of its parents is in the set.
func under(name string, set map[string]struct{}) bool {
	_, ok := nearest(name, set)
	return ok
}

// nearest returns the longest of name and its parents that is in the set.
func nearest(name string, set map[string]struct{}) (string, bool) {
	for ; ; name = path.Dir(name) {
		if _, ok := set[name]; ok {
			return name, true
		}
		if name == "/" || name == "." {
			return "", false
		}
	}
}

// clean returns a path in the form of [entries].
func clean(p string) string { return path.Clean("/" + p) }

// special are the characters of patterns.
const special = `*?[{\`

// literalName reports whether a pattern is a plain name.
func literalName(pattern string) bool { return !strings.ContainsAny(pattern, special) }

// literal returns the directory in which a pattern can match: the part before its first special
// character.
func literal(pattern string) string {
	if at := strings.IndexAny(pattern, special); at >= 0 {
		pattern = pattern[:at]
		return path.Dir(clean(pattern + "x"))
	}
	return clean(pattern)
}
