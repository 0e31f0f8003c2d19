// Package edit changes image references in YAML files and nothing else: a value is replaced byte for byte in
// place, and the result is parsed again and compared before it is returned. Comments, blank lines, line
// endings, order and indentation stay as they are. What cannot be edited safely is a problem of its place, never
// rewritten, and stops no other place.
package edit

import (
	"bytes"
	"cmp"
	"context"
	"path"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// patience bounds the time for one file. What is looked at is bounded too, so it is there for what nobody thought of.
const patience = 30 * time.Second

// Result is what one file has for a change.
type Result struct {
	// Content is the new content, or the old one if nothing had to change.
	Content []byte
	// Changes has one entry for each place of the image that could be edited. Where the value was right already, Old
	// equals New. It is empty if the file does not name the image.
	Changes []pratique.FileChange
	// Places are the same as they are before the edit, each once.
	Places []pratique.Place
	// Problems are places that could not be edited, in the order of the file.
	Problems []Problem
}

// Problem is a place that could not be edited.
type Problem struct {
	pratique.Problem
	// Ours is true if the place belongs to the change's image or, by its bytes, may belong to it. Other problems are
	// those of markers that nobody can read.
	Ours bool
}

// Relevant reports whether a file of this name can hold image references that Apply knows.
func Relevant(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return true
	}
	return isKustomization(name)
}

// Apply writes the change's digest at every place of the file that asks for its image. The error is that of the
// context and no other: whatever is wrong with the file is among the problems. A change that is RefreshOnly is for the
// places alone that name its tag already.
func Apply(ctx context.Context, name string, content []byte, c pratique.Change) (Result, error) {
	nothing := Result{Content: content}
	if err := ctx.Err(); err != nil {
		return nothing, err
	}
	look := screen(name, content, c)
	if look == nothingHere {
		return nothing, nil
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f := &file{path: name, content: content, change: c, ours: look == ours}
	whole := f.apply(limited)
	if err := ctx.Err(); err != nil {
		return nothing, err
	}
	if whole.Reason != "" {
		if f.ours {
			nothing.Problems = []Problem{{Problem: whole, Ours: true}}
		}
		return nothing, nil
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return Result{Content: f.out, Changes: f.changes, Places: f.places(), Problems: f.problems}, nil
}

// look is what the bytes of a file say.
type look int

const (
	nothingHere look = iota
	others           // nothing of the image, but markers that cannot be read, or names that only a parser can read
	ours
)

// screen looks at bytes only, so that most files are never parsed.
func screen(name string, content []byte, c pratique.Change) look {
	if !Relevant(name) {
		return nothingHere
	}
	if isKustomization(name) && names(content, spellings(c.Subject.Repository)) {
		return ours
	}
	found := nothingHere
	if isKustomization(name) && veiled(content) {
		found = others
	}
	if !bytes.Contains(content, []byte(markerKey)) {
		return found
	}
	for _, s := range suspects(content, c) {
		if s.ours {
			return ours
		}
		found = others
	}
	return found
}

// veiled reports whether the bytes of a file can hold a name that cannot be found in them: by a backslash in a quoted text, or
// because every second byte is something else.
func veiled(content []byte) bool {
	return bytes.IndexByte(content, '\\') >= 0 || wide(content)
}

// wide reports whether a file begins as UTF-16 does, which parsers read, too.
func wide(content []byte) bool {
	return bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff"))
}

func isKustomization(name string) bool {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}
