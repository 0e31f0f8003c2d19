package edit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// File is a file that was read, with all places that the locators found in it.
type File struct {
	table   Table
	path    string
	content []byte

	sources map[Syntax]Source
	found   []Found
	// unreadable is why there is none of that, slow that there was no time for it.
	unreadable *Unreadable
	slow       bool
}

// open reads a file for the images, or for all. It returns nil, and parses nothing, if the bytes
// name none of them.
func (t Table) open(ctx context.Context, name string, content []byte, images ...Image) *File {
	f := &File{table: t, path: name, content: content}
	if len(images) == 0 {
		images = []Image{{}}
	}
	if !slices.ContainsFunc(images, func(i Image) bool { return f.look(i) != Nothing }) {
		return nil
	}
	f.read(ctx)
	return f
}

// reopen reads another content of the file.
func (f *File) reopen(ctx context.Context, content []byte) *File {
	after := &File{table: f.table, path: f.path, content: content}
	after.read(ctx)
	return after
}

func (f *File) read(ctx context.Context) {
	f.sources = map[Syntax]Source{}
	for _, l := range f.table {
		if !l.Relevant(f.path) {
			continue
		}
		syntax := l.Syntax()
		if f.sources[syntax] == nil {
			source, err := syntax.Parse(ctx, f.content)
			if ctx.Err() != nil {
				f.slow = true
				return
			}
			if err != nil {
				if !errors.As(err, &f.unreadable) {
					f.unreadable = &Unreadable{Reason: err.Error()}
				}
				return
			}
			f.sources[syntax] = source
		}
		f.found = append(f.found, l.Locate(f.sources[syntax]))
	}
	f.slow = ctx.Err() != nil
}

// look screens the bytes for an image.
func (f *File) look(image Image) Look {
	most := Nothing
	for _, l := range f.table {
		if l.Relevant(f.path) {
			most = max(most, l.Screen(f.content, image))
		}
	}
	return most
}

// names reports whether the file names the image, as far as that can be known.
func (f *File) names(image Image) bool {
	look := f.look(image)
	if look == Hidden {
		for _, source := range f.sources {
			for text := range source.Texts() {
				if imagename.Same(text, image.Repository) {
					return true
				}
			}
		}
	}
	return look >= Named
}

// pick is a value that belongs to the image, with its site.
type pick struct {
	Value
	site *Site
}

// pick returns the values of the image in the order of the text, each once, and what is wrong with
// its places, or with the file as a whole if that stops all of them.
func (f *File) pick(image Image) (picked []pick, wrong problems, whole *pratique.Problem) {
	named := f.names(image)
	if stopped := f.stopped(image); stopped != nil {
		if !named {
			stopped = &pratique.Problem{} // of others
		}
		return nil, nil, stopped
	}
	refused := map[int]bool{} // by their start: they stay as they are, even if another place names them
	for i := range f.found {
		if f.found[i].Stopped != "" {
			continue
		}
		for k := range f.found[i].Sites {
			s := &f.found[i].Sites[k]
			switch of, reason := s.About(image); {
			case s.Unread != nil:
				wrong = append(wrong, f.problem(s.Line, image.NamedIn(s.Unread), "%s", s.Reason))
			case s.Any && !named, !of:
			case reason != "":
				wrong = append(wrong, f.problem(s.Line, true, "%s", reason))
			default:
				values, bad, reason := s.wanted(image)
				if reason != "" {
					wrong = append(wrong, f.problem(bad.Line, true, "%s", reason))
					if bad.Reason == "" {
						refused[bad.Slot.Start] = true
					}
				}
				picked = append(picked, values...)
			}
		}
	}
	picked, conflicts := f.agreed(picked, refused)
	wrong = append(wrong, conflicts...)
	if image.Refresh {
		picked = naming(picked, image.Tag)
	}
	return picked, wrong[:min(len(wrong), maxProblems)].inOrder(), nil
}

// stopped is what is wrong with the file as a whole.
func (f *File) stopped(image Image) *pratique.Problem {
	switch u := f.unreadable; {
	case f.slow:
		return f.late()
	case u != nil && u.Template && f.look(image) < Asked:
		return &pratique.Problem{} // nobody can want an edit of it
	case u != nil:
		return f.whole(u.Line, "%s", u.Reason)
	}
	for _, source := range f.sources {
		if line, reason := source.Flaw(); reason != "" {
			return f.whole(line, "%s", reason)
		}
	}
	for _, found := range f.found {
		if found.Stopped != "" && f.names(image) {
			return f.whole(found.Line, "%s", found.Stopped)
		}
	}
	return nil
}

// About reports whether a site is one of the image, and why it cannot be written.
func (s *Site) About(image Image) (of bool, reason string) {
	switch {
	case s.Any, image.every():
		return true, s.Reason
	case imagename.Same(s.Image, image.Repository):
	case s.Marked && s.Image == image.Repository.Path: // as if the registry was forgotten
		return true, fmt.Sprintf("repository %q: name the registry too, as in %s; without it, it is one of Docker Hub", s.Image, image.Repository)
	default:
		return false, ""
	}
	if s.Tags != "" && !image.AnyTag {
		if ok, _ := path.Match(s.Tags, image.Tag); !ok { // a bad pattern is a reason of its own
			return false, ""
		}
	}
	return true, s.Reason
}

// wanted returns the values of a site that are to be written: all of them, or none and the one that
// stops the others, with the reason.
func (s *Site) wanted(image Image) (values []pick, bad Value, reason string) {
	for _, v := range s.Values {
		if v.Optional && image.Tag == "" && !image.AnyTag {
			continue
		}
		if reason := cmp.Or(v.Reason, v.odd(image)); reason != "" {
			return nil, v, reason
		}
		values = append(values, pick{v, s})
	}
	return values, Value{}, ""
}

// agreed returns the values in the order of the text, each once. If two places want different values
// at one position, neither is written.
func (f *File) agreed(picked []pick, refused map[int]bool) (kept []pick, conflicts problems) {
	slices.SortStableFunc(picked, func(a, b pick) int { return a.Slot.Start - b.Slot.Start })
	for i := 0; i < len(picked); {
		p, agree := picked[i], true
		for i++; i < len(picked) && picked[i].Slot.Start == p.Slot.Start; i++ {
			agree = agree && picked[i].Form == p.Form
		}
		switch {
		case !agree:
			conflicts = append(conflicts,
				f.problem(p.Line, true, "two markers want different values here"))
		case !refused[p.Slot.Start]:
			kept = append(kept, p)
		}
	}
	return kept, conflicts
}

func (f *File) problem(line int, ours bool, format string, args ...any) Problem {
	return Problem{Problem: *f.whole(line, format, args...), Ours: ours}
}

func (f *File) whole(line int, format string, args ...any) *pratique.Problem {
	const most = 600 // parsers quote what they read
	return &pratique.Problem{Path: f.path, Line: line,
		Reason: pratique.Excerpt(fmt.Sprintf(format, args...), most)}
}

func (f *File) late() *pratique.Problem {
	return f.whole(0, "editing this file took longer than %s", patience)
}
