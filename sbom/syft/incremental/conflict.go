package incremental

import (
	"fmt"
	"path"
	"strings"

	"github.com/anchore/stereoscope/pkg/image"
	"github.com/anchore/syft/syft/file"
)

// conflict returns the paths that the upper layers add, or the reason why they cannot be cataloged
// alone: they change something in the base, or something in the base refers to them.
func (b *base) conflict(upper *image.Image, all entries,
	resolver file.Resolver) (added map[string]struct{}, why string) {
	for _, l := range upper.Layers {
		for _, p := range l.Tree.AllRealPaths() {
			if name, ok := removed(path.Dir(string(p)), path.Base(string(p))); ok && b.has(name) {
				return nil, "it removes " + name
			}
		}
	}
	added = map[string]struct{}{}
	for p, e := range all {
		below, there := b.paths.at(p)
		switch {
		case !there:
			added[p] = struct{}{}
		case !below.dir || !e.dir:
			return nil, "it replaces " + p
		}
	}
	for p, e := range all {
		if why := b.conflictOf(p, e, all); why != "" {
			return nil, why
		}
	}
	for ; b != nil; b = b.below {
		if why := b.leadsInto(added, resolver); why != "" {
			return nil, why
		}
	}
	return added, ""
}

// leadsInto returns how the base itself, without those below it, refers to one of the added paths;
// "" if it does not.
func (b *base) leadsInto(added map[string]struct{}, resolver file.Resolver) (why string) {
	for p := range added {
		if dir, ok := nearest(path.Dir(p), b.linked); ok {
			return "the base has a second way to " + dir
		}
	}
	for end := range b.missing {
		if under(end, added) {
			return "the base looks for " + end
		}
	}
	for _, pattern := range b.globs {
		if found, err := resolver.FilesByGlob(pattern); err != nil || len(found) > 0 {
			return "the base looks for " + pattern
		}
	}
	return ""
}

// has reports whether something exists at a path, or at the end of its links.
func (b *base) has(name string) bool {
	if _, there := b.paths.at(name); there {
		return true
	}
	end, ok := b.paths.resolve(name)
	if !ok {
		return true
	}
	_, there := b.paths.at(end)
	return there
}

// conflictOf returns the conflict of one entry of the upper layers; "" if there is none.
func (b *base) conflictOf(p string, e entry, upper entries) (why string) {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if below, there := b.paths.at(dir); there && !below.dir {
			return p + " lies behind a link or a file of the base"
		}
	}
	if e.link == "" {
		return ""
	}
	// A link into the base gives one of its files a second name. The meaning of a link that goes up
	// after it went down depends on who follows it.
	if at := strings.LastIndex(e.link, ".."); at > 0 && strings.Trim(e.link[:at], "./") != "" {
		return fmt.Sprintf("the link %s goes up after a name", p)
	}
	target := clean(e.link)
	if !e.hard && !strings.HasPrefix(e.link, "/") {
		target = clean(path.Join(path.Dir(p), e.link))
	}
	alone := paths{here: upper}
	end, ok := alone.resolve(target)
	if !ok {
		return fmt.Sprintf("the link %s is in a loop", p)
	}
	for _, name := range []string{target, end} {
		if name == "/" || b.has(name) {
			return fmt.Sprintf("the link %s leads into the base", p)
		}
	}
	return ""
}

// mayMatch is false for patterns with a name that nothing in the image has.
func (b *base) mayMatch(pattern string) bool {
	for _, part := range split(pattern) {
		if literalName(part) && !b.any(func(b *base) bool { _, there := b.names[part]; return there }) {
			return false
		}
	}
	return true
}

// whiteout is the prefix of the name of a removed file.
const whiteout = ".wh."

// removed returns what a whiteout removes: a name, or all content of its directory.
func removed(dir, base string) (string, bool) {
	name, ok := strings.CutPrefix(base, whiteout)
	if !ok {
		return "", false
	}
	if strings.HasPrefix(name, whiteout) { // .wh..wh..opq and its kin
		return clean(dir), true
	}
	return clean(dir + "/" + name), true
}
