// Package edit reads image references in configuration files, and changes them and nothing else: a
// value is replaced byte for byte in place, and the result is parsed again and compared before it
// is returned. Comments, blank lines, line endings, order and indentation stay as they are. What
// cannot be edited safely is a problem of its place, never rewritten, and stops no other place.
//
// A table of locators (package locate) knows where image references are; everything else is the same
// for all of them.
package edit

import (
	"context"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// patience bounds the time for one file. Sizes and depths are bounded, too, so it is only a safety
// net.
const patience = 30 * time.Second

// Result is the outcome of a change in one file.
type Result struct {
	// Content is the new content, or the old one if nothing had to change.
	Content []byte
	// Changes has one entry for each place of the image that could be edited. Where the value was
	// right already, Old equals New. It is empty if the file does not name the image.
	Changes []pratique.FileChange
	// Places are the same as they are before the edit, each once.
	Places []pratique.Place
	// Problems are places that could not be edited, in the order of the file.
	Problems []Problem
}

// Problem is a place that could not be edited.
type Problem struct {
	pratique.Problem
	// Ours is true if the place belongs to the change's image or, by its bytes, may belong to it.
	// Other problems are those of markers that cannot be read.
	Ours bool
}

// Relevant reports whether a file of this name can hold places that a locator of the table knows.
func (t Table) Relevant(name string) bool {
	return slices.ContainsFunc(t, func(l Locator) bool { return l.Relevant(name) })
}

// Apply writes the change's digest at every place of the file that asks for its image. The error is
// that of the context and no other: everything wrong with the file is among the problems. A
// RefreshOnly change is written only to places that already name its tag.
func (t Table) Apply(ctx context.Context, name string, content []byte,
	c pratique.Change) (Result, error) {
	r := Result{Content: content}
	image := ImageOf(c)
	err := t.within(ctx, name, content, func(limited context.Context, f *File) {
		e := &edition{file: f, change: c, image: image}
		if whole := e.edit(limited, &r); whole != nil {
			r = Result{Content: content, Problems: wholly(whole)}
		}
	}, image)
	if err != nil {
		r = Result{Content: content}
	}
	return r, err
}

// Places returns the places of a file that ask for an image, and what is wrong with some. The error
// is that of the context.
func (t Table) Places(ctx context.Context, name string, content []byte,
	image Image) ([]pratique.Place, []Problem, error) {
	all, err := t.PlacesOf(ctx, name, content, image)
	if err != nil {
		return nil, nil, err
	}
	return all[0].Places, all[0].Problems, nil
}

// Asking are the places of one image.
type Asking struct {
	Places   []pratique.Place
	Problems []Problem
}

// PlacesOf is [Table.Places] for several images, in their order. The file is read once.
func (t Table) PlacesOf(ctx context.Context, name string, content []byte,
	images ...Image) ([]Asking, error) {
	all := make([]Asking, len(images))
	err := t.within(ctx, name, content, func(_ context.Context, f *File) {
		for i, image := range images {
			picked, wrong, whole := f.pick(image)
			if whole != nil {
				all[i].Problems = wholly(whole)
				continue
			}
			all[i] = Asking{placesOf(name, picked), wrong}
		}
	}, images...)
	return all, err
}

// Read returns everything in a file that names an image, in the order of the text, and what could
// not be read. The error is that of the context.
func (t Table) Read(ctx context.Context, name string, content []byte) (all []Reference,
	wrong []Problem, err error) {
	err = t.within(ctx, name, content, func(_ context.Context, f *File) {
		if whole := f.stopped(Image{}); whole != nil {
			wrong = wholly(whole)
			return
		}
		all, wrong = f.references()
	})
	return all, wrong, err
}

// within reads a file for the images, or for all of them, and does something with it, within the
// time for one file.
func (t Table) within(ctx context.Context, name string, content []byte,
	do func(context.Context, *File), images ...Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if f := t.open(limited, name, content, images...); f != nil {
		do(limited, f)
	}
	return ctx.Err()
}

// wholly returns the result for a file that cannot be edited as a whole.
func wholly(whole *pratique.Problem) []Problem {
	if whole.Reason == "" {
		return nil
	}
	return []Problem{{Problem: *whole, Ours: true}}
}
