package syft

import (
	"fmt"
	"path"
	"strings"

	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/file"
)

// footprint returns the paths that the upper layers add to what is known, or why they cannot be looked at
// alone: they change something below, or something below leads into them.
func (k *known) footprint(upper *image.Image, all paths, resolver file.Resolver) (added map[string]struct{}, why string) {
	for _, l := range upper.Layers {
		for _, p := range l.Tree.AllRealPaths() {
			if name, ok := removed(path.Dir(string(p)), path.Base(string(p))); ok && k.has(name) {
				return nil, "it removes " + name
			}
		}
	}
	added = map[string]struct{}{}
	for p, e := range all {
		below, there := k.paths[p]
		switch {
		case !there:
			added[p] = struct{}{}
		case !below.dir || !e.dir:
			return nil, "it replaces " + p
		}
	}
	for p, e := range all {
		if why := k.adds(p, e, all); why != "" {
			return nil, why
		}
	}
	for p := range added {
		if dir, ok := nearest(path.Dir(p), k.doors); ok {
			return nil, "the base has a second way to " + dir
		}
	}
	for end := range k.ends {
		if under(end, added) {
			return nil, "the base looks for " + end
		}
	}
	for _, pattern := range k.globs {
		if found, err := resolver.FilesByGlob(pattern); err != nil || len(found) > 0 {
			return nil, "the base looks for " + pattern
		}
	}
	return added, ""
}

// has reports whether there is something at a path, or at the end of the links that it leads through.
func (k *known) has(name string) bool {
	if _, there := k.paths[name]; there {
		return true
	}
	end, ok := k.paths.resolve(name)
	if !ok {
		return true
	}
	_, there := k.paths[end]
	return there
}

// adds says what is wrong with one entry of the upper layers.
func (k *known) adds(p string, e entry, upper paths) string {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if below, there := k.paths[dir]; there && !below.dir {
			return p + " lies behind a link or a file of the base"
		}
	}
	if e.link == "" {
		return ""
	}
	// A link into the base gives one of its files a second name. What a link means that goes up from where
	// another link leads depends on who follows it.
	if at := strings.LastIndex(e.link, ".."); at > 0 && strings.Trim(e.link[:at], "./") != "" {
		return fmt.Sprintf("the link %s goes up on its way", p)
	}
	target := clean(e.link)
	if !e.hard && !strings.HasPrefix(e.link, "/") {
		target = clean(path.Join(path.Dir(p), e.link))
	}
	end, ok := upper.resolve(target)
	if !ok {
		return fmt.Sprintf("the link %s leads in a circle", p)
	}
	for _, name := range []string{target, end} {
		if name == "/" || k.has(name) {
			return fmt.Sprintf("the link %s leads into the base", p)
		}
	}
	return ""
}

// mayMatch is false for patterns with a name in them that nothing in the image has.
func (k *known) mayMatch(pattern string) bool {
	for _, part := range split(pattern) {
		if _, there := k.names[part]; plain(part) && !there {
			return false
		}
	}
	return true
}
