package edit

import (
	"context"
	"iter"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// Table lists the locators that are used together. Package locate has all that exist.
type Table []Locator

// Locator finds all places of one kind, for any image, in files of one syntax. It has no state.
// Package edittest says what an implementation has to do.
type Locator interface {
	// Relevant reports whether a file of this name can hold such places.
	Relevant(name string) bool
	// Screen looks for an image in the bytes of a file, so that most files need not be parsed.
	Screen(content []byte, image Image) Look
	// Syntax parses the files. Locators with the same syntax share the parsed file.
	Syntax() Syntax
	// Locate finds the places. The source is one of its syntax.
	Locate(source Source) Found
}

// Syntax parses files of one form. Equal values parse alike.
type Syntax interface {
	// Parse reads a file, within bounds of bytes and memory. It ends soon after the context. The
	// error is an [Unreadable].
	Parse(ctx context.Context, content []byte) (Source, error)
}

// Source is a file as its syntax reads it.
type Source interface {
	// Flaw returns why programs would read the file differently, and the line; empty if they would
	// not.
	Flaw() (line int, reason string)
	// Texts yields all values that could be a name, decoded, so that escapes hide nothing.
	Texts() iter.Seq[string]
	// Difference compares this source, in which [Slot.Set] has made the changes, with the edited
	// file as it was parsed again. It returns the first line that differs, 0 if there is none.
	Difference(after Source) (line int)
}

// Unreadable is why a file could not be parsed.
type Unreadable struct {
	// Line is where, 0 for the whole file.
	Line   int
	Reason string
	// Template is set if the file is a template from which another program makes the real one.
	Template bool
}

func (u *Unreadable) Error() string { return u.Reason }

// Image is what is looked for: a repository under one tag, or under any; the zero value is every
// image.
type Image struct {
	Repository pratique.Repository
	Tag        string
	AnyTag     bool
	// Refresh leaves out the places that do not name the tag already.
	Refresh bool
}

// ImageOf returns the image of a change.
func ImageOf(c pratique.Change) Image {
	return Image{Repository: c.Subject.Repository, Tag: c.Tag, Refresh: c.RefreshOnly}
}

// every reports whether all images are wanted.
func (i Image) every() bool { return i.Repository == pratique.Repository{} }

// NamedIn reports whether some text names the image.
func (i Image) NamedIn(text []byte) bool {
	return i.every() || imagename.Contains(text, imagename.Spellings(i.Repository))
}

// Look is the result of a screening.
type Look int

// What Screen returns. A file that has Nothing is not parsed.
const (
	Nothing Look = iota
	Broken       // not the image, but places that cannot be read
	Hidden       // not the image's name, but bytes that may encode it
	Named        // the name of the image
	Asked        // a marker that asks for the image, or may
)

// Found is what a locator has found in a file, in the order of the text.
type Found struct {
	Sites []Site
	// Stopped is why nothing in the file can be edited, and Line where. Then no image that the file
	// names is written.
	Stopped string
	Line    int
}

// Site is a place for one image.
type Site struct {
	// Image is the repository as the file spells it. Marked is set if a marker names it, and not the
	// values themselves.
	Image  string
	Marked bool
	// Tags is the pattern of tags that the place asks for; empty for all.
	Tags string
	// Values are written together, or not at all.
	Values []Value
	// Reason is why the site cannot be written, and Line where. Then Values may be missing.
	Reason string
	Line   int
	// Unread is the text of a place whose image cannot be read. The problem concerns each image that
	// the text names.
	Unread []byte
	// Any is set if the place may be about any image that the file names.
	Any bool
}

// Form is what a value consists of.
type Form int

// The forms of values.
const (
	Ref    Form = iota // registry/path:tag@sha256:…
	Tag                // the tag alone
	Digest             // sha256:… alone
)

// Value is one value of a site: one that is there, or one that can be added.
type Value struct {
	Form Form
	// Text is the present value, empty for one that is not there yet.
	Text string
	// Line is where it is, or the line that a new one would follow; Object and Field
	// say it for people.
	Line   int
	Object pratique.Object
	Field  string
	// Reason is why it cannot be written, whatever its text.
	Reason string
	Slot   Slot
	// Optional values stay as they are if the image has no tag.
	Optional bool
}

// Slot is where a value is written: the bytes that it replaces, none for a new one.
type Slot struct {
	Start, End int
	// Encode returns the bytes to write, including what a new value needs around it; false if the
	// value cannot be written there.
	Encode func(value string) (string, bool)
	// Set makes the same change in the parsed source.
	Set func(value string)
	// NewLine is set if the value gets a line of its own, after that of Start.
	NewLine bool
}
