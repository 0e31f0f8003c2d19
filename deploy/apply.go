package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit/locate"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// Bounds of the work for one change in one target. People who can push to a config repository
// decide how much it holds, and one folder can occur in a tree many times.
const (
	// for reading the history, for the edit, and for finding out how the change ends
	editTime    = time.Minute
	editBytes   = 4 << 30 // that are looked at
	maxPlaces   = 10_000
	maxProblems = 50 // of those that wait, and of the others
)

// timely runs look with a time limit. After [editTime] it fails with kind Denied: people can change
// the files, and then every push that waits is tried again.
func timely(ctx context.Context, look func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, editTime)
	defer cancel()
	err := look(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return pratique.Errorf(pratique.Denied, "edit",
			"reading the files of the target took longer than %s: give it a path with fewer files",
			editTime)
	}
	return err
}

// edits are what a change asks of the files of one target.
type edits struct {
	files    map[string][]byte // only those that change
	changes  []pratique.FileChange
	places   []pratique.Place // as they are before the edit
	problems []TargetProblem
}

// apply edits the files below the target's path. What cannot be edited is a problem of its place,
// and the rest goes on.
func apply(ctx context.Context, tree Tree, t Target, c pratique.Change) (edits, error) {
	a := &applying{target: t.Name, change: c, left: editBytes, made: edits{files: map[string][]byte{}}}
	err := timely(ctx, func(ctx context.Context) error {
		return tree.Walk(ctx, t.Path, eachFile(func(f File, content []byte) error {
			return a.file(ctx, f, content)
		}, func(f File, cause error) error { return a.tooLarge(ctx, f, cause) }))
	})
	switch {
	case ctx.Err() != nil:
		return edits{}, ctx.Err()
	case pratique.KindOf(err) == pratique.Exhausted: // as timely has it
		return edits{}, pratique.Wrap(pratique.Denied, "edit", "", err)
	case err != nil:
		return edits{}, err
	}
	if t.Path == "" {
		a.environments()
	}
	return a.made, nil
}

// applying is one change on its way through the files of a target.
type applying struct {
	target string
	change pratique.Change
	made   edits
	left   int64           // bytes that may still be looked at
	large  map[string]bool // what is known of files that are too large to be edited, by content
}

func (a *applying) file(ctx context.Context, f File, content []byte) error {
	if err := a.spend(f, int64(len(content))); err != nil {
		return err
	}
	r, err := locate.All().Apply(ctx, f.Path(), content, a.change)
	if err != nil {
		return err
	}
	if a.made.changes = append(a.made.changes, r.Changes...); len(a.made.changes) > maxPlaces {
		return pratique.Errorf(pratique.Exhausted, "edit",
			"%s: up to here the target has more than %d places of the image; give it a path with fewer files", f.Path(), maxPlaces)
	}
	a.made.places = append(a.made.places, r.Places...)
	if slices.ContainsFunc(r.Changes, func(m pratique.FileChange) bool { return m.Old != m.New }) {
		a.made.files[f.Path()] = r.Content
	}
	for _, p := range r.Problems {
		a.problem(p.Problem, p.Ours)
	}
	return nil
}

// spend counts bytes that are read.
func (a *applying) spend(f File, n int64) error {
	if a.left -= n; a.left < 0 {
		return pratique.Errorf(pratique.Exhausted, "edit",
			"%s: up to here the files of the target have more than %d MiB; give it a path with fewer files", f.Path(), editBytes>>20)
	}
	return nil
}

// tooLarge handles a file that is too large to be edited. If it names the image, people have to
// make it smaller. If its bytes are not even at hand, no program would read it as configuration.
func (a *applying) tooLarge(ctx context.Context, f File, cause error) error {
	names, known := a.large[f.Content()]
	if !known {
		r, err := f.Open(ctx)
		if pratique.KindOf(err) == pratique.Exhausted {
			a.problem(pratique.Problem{Path: f.Path(),
				Reason: "this file is too large to be looked at: " + reason(cause)}, false)
			return nil
		}
		if err != nil {
			return err
		}
		defer r.Close()
		counted := &counting{r: r}
		names, err = imagename.Mentions(ctx, counted, a.change.Subject.Repository)
		if err != nil {
			return err
		}
		if err := a.spend(f, counted.n); err != nil {
			return err
		}
		if a.large == nil {
			a.large = map[string]bool{}
		}
		a.large[f.Content()] = names
	}
	if names {
		a.problem(pratique.Problem{Path: f.Path(),
			Reason: "this file names the image and is too large to be edited: " + reason(cause)}, true)
	}
	return nil
}

// reason returns the text of an error without its operations.
func reason(err error) string {
	var e *pratique.Error
	for errors.As(err, &e) && e.Err != nil {
		err = e.Err
	}
	return err.Error()
}

func (a *applying) problem(p pratique.Problem, waits bool) {
	same := 0
	for _, known := range a.made.problems {
		if known.Waits == waits {
			same++
		}
	}
	if same < maxProblems {
		a.made.problems = append(a.made.problems,
			TargetProblem{Target: a.target, Problem: p, Waits: waits})
	}
}

// counting counts the bytes that are read.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// environmentNames are the names that folders of environments usually have.
var environmentNames = []string{"dev", "development", "int", "integration", "live", "preprod",
	"preview", "prod", "production", "qa", "sandbox", "stage", "staging", "test", "testing", "uat"}

// environments reports a target that has no path and so writes to several environments at once.
func (a *applying) environments() {
	found := map[string]string{} // the first file of each
	var names []string
	for _, change := range a.made.changes {
		folders := strings.Split(change.Path, "/")
		for _, name := range folders[:len(folders)-1] {
			if slices.Contains(environmentNames, strings.ToLower(name)) && found[name] == "" {
				found[name] = change.Path
				names = append(names, name)
			}
		}
	}
	if len(names) > 1 {
		a.problem(pratique.Problem{Reason: fmt.Sprintf(
			"the target has no path, and the image stands in folders of several environments (%s): "+
				"each push is written to all of them at once, unless each has a target with its path",
			strings.Join(names, ", "))}, false)
	}
}

// Bounds of the files that a fact about a commit lists. The commit has them all.
const (
	recordedFiles = 500
	recordedBytes = 128 << 10
)

// excerpt bounds the changes for a fact. Others chose the paths and the old values.
func excerpt(all []pratique.FileChange) []pratique.FileChange {
	left := recordedBytes
	for i, c := range all {
		if left -= len(c.Path) + len(c.Old) + len(c.New) + len(c.Object.At(c.Field)); left < 0 ||
			i == recordedFiles {
			return all[:i:i]
		}
	}
	return all
}

// shownProblems bounds how many problems an error names.
const shownProblems = 5

// waiting returns an error if some places of the image wait for people.
func waiting(problems []TargetProblem) error {
	var texts []string
	more := 0
	for _, p := range problems {
		switch {
		case !p.Waits:
		case len(texts) == shownProblems:
			more++
		default:
			texts = append(texts, oneLine(p.String()))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	text := strings.Join(texts, "; ")
	if more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return pratique.Errorf(pratique.Denied, "edit", "%s", text)
}
