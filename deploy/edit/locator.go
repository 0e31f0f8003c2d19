package edit

import (
	"context"
	"iter"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// Table is the locators that are used together. Package locate has those that there are.
type Table []Locator

// Locator finds all places of one kind in files of one syntax: those of every image, with
// everything that can be said without a change. It has no state. Package edittest says what an
// implementation has to do.
type Locator interface {
	// Relevant reports whether a file of this name can hold such places.
	Relevant(name string) bool
	// Screen says what the bytes of a file alone tell of an image, so that most files are never
	// parsed.
	Screen(content []byte, image Image) Look
	// Syntax is how the files are read. Locators with the same one share what was read.
	Syntax() Syntax
	// Locate finds the places. The source is one of its syntax.
	Locate(source Source) Found
}

// Syntax reads files of one form. Two values that are equal read alike.
type Syntax interface {
	// Parse reads a file, within bounds of bytes and memory. It ends soon after the context. The
	// error is an [Unreadable].
	Parse(ctx context.Context, content []byte) (Source, error)
}

// Source is a file as its syntax reads it.
type Source interface {
	// Flaw says why readers differ on the file as a whole, and on which line; nothing if they do
	// not.
	Flaw() (line int, reason string)
	// Texts are all values that could be a name, as a reader sees them: what its bytes hide is
	// there, too.
	Texts() iter.Seq[string]
	// Difference compares what is meant, which is this source with what [Slot.Note] was told, with
	// what is there after the edit. It returns the first line that says something else, 0 if there
	// is none.
	Difference(after Source) (line int)
}

// Unreadable is why a file could not be parsed.
type Unreadable struct {
	// Line is where, 0 for the whole file.
	Line   int
	Reason string
	// Template says that the file is meant for a program that makes another one from it.
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

// ImageOf is what a change is about.
func ImageOf(c pratique.Change) Image {
	return Image{Repository: c.Subject.Repository, Tag: c.Tag, Refresh: c.RefreshOnly}
}

// every reports whether all images are looked for.
func (i Image) every() bool { return i.Repository == pratique.Repository{} }

// NamedIn reports whether some text names the image.
func (i Image) NamedIn(text []byte) bool {
	return i.every() || imagename.Contains(text, imagename.Spellings(i.Repository))
}

// Look is what the bytes of a file say about an image.
type Look int

// What Screen returns. A file that has Nothing is not parsed.
const (
	Nothing Look = iota
	Broken       // nothing of the image, but places that nobody can read
	Hidden       // nothing of the image, but its name may be there in a form that only a parser knows
	Named        // the name of the image
	Asked        // a place that asks for the image by a marker, or may
)

// Found is what a locator has found in a file, in the order of the text.
type Found struct {
	Sites []Site
	// Stopped says why none of it can be edited, and on which line: no image that the file names is
	// written then.
	Stopped string
	Line    int
}

// Site is a place for one image.
type Site struct {
	// Image is the repository as the file spells it. Marked says that a marker names it, beside
	// values that may be anything.
	Image  string
	Marked bool
	// Tags is the pattern of tags that the place asks for; empty for all.
	Tags string
	// Values are what can be written there: all of them, or none.
	Values []Value
	// Reason is why nobody may write there, with its line. Then Values may be missing.
	Reason string
	Line   int
	// Unread is the text of a place of which the image cannot be read. It is about each image that
	// the text names.
	Unread []byte
	// Any says that the place may be about each image that the file names.
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

// Value is one value of a site, which is there or for which there is room.
type Value struct {
	Form Form
	// Text is what it says, empty for one that is not there yet.
	Text string
	// Line is where it is, or the line that a new one would follow; Object and Field say the same
	// for people.
	Line   int
	Object pratique.Object
	Field  string
	// Reason is why it cannot be written, whatever it says.
	Reason string
	Slot   Slot
	// Optional is left as it is where the image has no tag.
	Optional bool
}

// Slot is the room for a value: the bytes that it replaces, which are none for a new one.
type Slot struct {
	Start, End int
	// Encode returns what to put there, with all that a new value needs around it. It reports
	// whether that can be.
	Encode func(value string) (string, bool)
	// Note makes the same change in the source.
	Note func(value string)
	// NewLine says that the value gets a line of its own, behind that of Start.
	NewLine bool
}
