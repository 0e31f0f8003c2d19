package edit

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/pratique-dev/pratique"
)

// edition is the state of one edit.
type edition struct {
	file   *File
	change pratique.Change
	image  Image
	picked []pick   // what is to be written, in the order of the text
	texts  []string // what each of them becomes
}

// edit makes the edit and fills in what became of each place. It returns a problem of the file as a
// whole, nil if there is none.
func (e *edition) edit(ctx context.Context, r *Result) *pratique.Problem {
	picked, problems, whole := e.file.pick(e.image)
	if whole != nil {
		return whole
	}
	e.picked = picked
	for _, p := range e.encode() {
		problems.add(p.Problem, p.Ours)
	}
	if line := e.overlap(); line > 0 {
		return e.file.whole(line, more)
	}
	r.Content, r.Changes = e.splice()
	r.Places = placesOf(e.file.path, e.picked)
	r.Problems = problems.inOrder()
	if bytes.Equal(r.Content, e.file.content) {
		return nil
	}
	return e.verify(ctx, r.Content, picked)
}

// encode finds what each value becomes, in the form of its syntax. If one value of a site cannot be
// written, none of the site is.
func (e *edition) encode() []Problem {
	var problems []Problem
	refused := map[*Site]bool{}
	for _, p := range e.picked {
		value := p.becomes(e.change)
		text, ok := p.Slot.Encode(value)
		if !ok && !refused[p.site] {
			refused[p.site] = true
			problems = append(problems,
				e.file.problem(p.Line, true, "%.128q cannot be written here as it is", value))
		}
		e.texts = append(e.texts, text)
	}
	if len(refused) == 0 {
		return nil
	}
	var kept []pick
	var texts []string
	for i, p := range e.picked {
		if !refused[p.site] {
			kept, texts = append(kept, p), append(texts, e.texts[i])
		}
	}
	e.picked, e.texts = kept, texts
	return problems
}

// overlap returns the line of a value whose bytes overlap those of the value before it, or lie
// outside the file; 0 if there is none.
func (e *edition) overlap() (line int) {
	end := 0
	for _, p := range e.picked {
		if p.Slot.Start < end || p.Slot.End < p.Slot.Start || p.Slot.End > len(e.file.content) {
			return max(p.Line, 1)
		}
		end = p.Slot.End
	}
	return 0
}

// splice writes the values that change, and lists all values. It makes the same changes in the
// sources.
func (e *edition) splice() ([]byte, []pratique.FileChange) {
	var out bytes.Buffer
	var changes []pratique.FileChange
	last, added := 0, 0
	for i, p := range e.picked {
		change := pratique.FileChange{Path: e.file.path, Line: p.Line + added, Object: p.Object,
			Field: p.Field, Old: p.Text, New: p.becomes(e.change)}
		if p.Slot.NewLine {
			added++
			change.Line++
		}
		changes = append(changes, change)
		if change.Old == change.New {
			continue
		}
		out.Write(e.file.content[last:p.Slot.Start])
		out.WriteString(e.texts[i])
		last = p.Slot.End
		p.Slot.Set(change.New)
	}
	if out.Len() == 0 {
		return e.file.content, changes
	}
	out.Write(e.file.content[last:])
	return out.Bytes(), changes
}

// more is what is said of an edit that is not what was meant.
const more = "editing would change more than the image"

// verify reads the result again: its syntaxes have to see nothing else than what was meant, and its
// locators the new values where the old ones were. Before are all places of the image, also those
// that are not written.
func (e *edition) verify(ctx context.Context, content []byte, before []pick) *pratique.Problem {
	after := e.file.reopen(ctx, content)
	switch {
	case ctx.Err() != nil:
		return e.file.late()
	case after.unreadable != nil:
		return e.file.whole(after.unreadable.Line, "the edited file could not be read again: %s",
			after.unreadable.Reason)
	}
	for syntax, source := range e.file.sources {
		if line := source.Difference(after.sources[syntax]); line > 0 {
			return e.file.whole(line, more)
		}
	}
	now, _, whole := after.pick(e.image)
	if whole != nil || len(now) != len(before) {
		return e.file.whole(0, more)
	}
	written := map[int]string{}
	for _, p := range e.picked {
		written[p.Slot.Start] = p.becomes(e.change)
	}
	for i, p := range before {
		want, ok := written[p.Slot.Start]
		if !ok {
			want = p.Text
		}
		if now[i].Text != want || now[i].Form != p.Form {
			return e.file.whole(now[i].Line, more)
		}
	}
	return nil
}

// problems collects what is wrong with places, as much as is shown.
type problems []Problem

// maxProblems bounds the problems of one file.
const maxProblems = 50

func (all *problems) add(p pratique.Problem, ours bool) {
	if len(*all) < maxProblems {
		*all = append(*all, Problem{Problem: p, Ours: ours})
	}
}

func (all problems) inOrder() []Problem {
	slices.SortStableFunc(all, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return all
}
