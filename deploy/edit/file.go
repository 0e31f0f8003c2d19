package edit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique"
)

// maxProblems bounds the problems of one file.
const maxProblems = 50

// file is one edit in the making: locators fill wanted, then apply splices and verifies.
type file struct {
	path    string
	content []byte
	change  pratique.Change
	ours    bool // the bytes name the image

	lines      []int               // offset of each line
	docs       []*yaml.Node        // positions come from here
	nodes      []*yaml.Node        // all of them, in the order of the text
	keys       map[*yaml.Node]bool // keys of mappings
	shared     map[*yaml.Node]bool // used through an alias too, or inside of such: a change there shows elsewhere
	identities map[*yaml.Node]identity
	refused    map[*yaml.Node]bool // must stay as they are, whoever else wants to write them
	wanted     []want

	out      []byte
	changes  []pratique.FileChange
	at       []int    // for each change, the line before the edit
	asking   []string // for each change, the pattern of tags that its place asks for; empty for all
	problems []Problem
}

// want is one value to write: in place of a scalar, or as a new last field of a mapping.
type want struct {
	node  *yaml.Node // the scalar to replace; nil for a new field
	span  span
	value string

	mapping *yaml.Node // where the new field goes, and behind which of its children
	after   int
	key     string

	tags string // the pattern of tags that the place asks for; empty for all
}

// problem notes that a place cannot be edited.
func (f *file) problem(line int, ours bool, format string, args ...any) {
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, Problem{Problem: f.refuse(line, format, args...), Ours: ours})
	}
}

func (f *file) refuse(line int, format string, args ...any) pratique.Problem {
	const most = 600 // parsers quote what they read
	return pratique.Problem{Path: f.path, Line: line, Reason: pratique.Excerpt(fmt.Sprintf(format, args...), most)}
}

// over wants another value for a scalar, unless there is a reason against it.
func (f *file) over(n *yaml.Node, value, reason string) (want, string) {
	inside, _, odd := f.scalarSpan(n)
	switch {
	case odd != "":
		return want{}, odd + "; write it on one line, plain or in quotes"
	case reason != "":
		return want{}, reason
	case !quotable.MatchString(value):
		return want{}, fmt.Sprintf("%.128q cannot be written into YAML as it is", value)
	}
	return want{node: n, span: inside, value: value}, ""
}

func (f *file) replace(n *yaml.Node, value, tags, reason string) {
	w, reason := f.over(n, value, reason)
	w.tags = tags
	if reason != "" {
		f.problem(n.Line, true, "%s", reason)
		if f.refused == nil {
			f.refused = map[*yaml.Node]bool{}
		}
		f.refused[n] = true
		return
	}
	f.wanted = append(f.wanted, w)
}

// apply makes the edit. What it returns, if anything, is wrong with the file as a whole.
func (f *file) apply(ctx context.Context) pratique.Problem {
	f.out = f.content
	if n := weight(f.content); n > maxNodes {
		return f.refuse(0, "this file is too large to be edited: it may hold %d values, more than %d", n, maxNodes)
	}
	docs, err := parse(ctx, f.content)
	switch {
	case ctx.Err() != nil:
		return f.late()
	case err != nil && f.template():
		return pratique.Problem{}
	case err != nil:
		return f.refuse(lineIn(err), "this file names the image but is not YAML that can be read: %v", err)
	}
	f.docs, f.lines = docs, lineStarts(f.content)
	f.list()
	f.ours = f.ours || isKustomization(f.path) && f.named()
	if wide(f.content) {
		return f.refuse(0, "this file names the image and is written in UTF-16; write it in UTF-8")
	}
	if key := f.duplicate(); key != nil {
		return f.refuse(key.Line, "the key %.128q stands twice in one mapping, so readers differ on what this file says", key.Value)
	}
	if isKustomization(f.path) && f.ours {
		if a, b := f.folded(); b != nil {
			return f.refuse(b.Line, "the keys %.128q in line %d and %.128q in line %d are one for kustomize, which does not tell upper from lower case; keep one of them",
				a.Value, a.Line, b.Value, b.Line)
		}
		f.kustomization()
	}
	f.markers()
	f.settle()
	if ctx.Err() != nil {
		return f.late()
	}
	return f.verify(ctx)
}

// named reports whether a value of the file is the name of the image.
func (f *file) named() bool {
	return slices.ContainsFunc(f.nodes, func(n *yaml.Node) bool {
		return n.Kind == yaml.ScalarNode && same(n.Value, f.change.Subject.Repository)
	})
}

func (f *file) late() pratique.Problem {
	return f.refuse(0, "editing this file took longer than %s", patience)
}

// template reports whether a file that cannot be read as YAML is a template of something else, such as Helm, and asks
// for nothing by a marker. Then nobody can want an edit of it.
func (f *file) template() bool {
	return bytes.Contains(f.content, []byte("{{")) &&
		!slices.ContainsFunc(suspects(f.content, f.change), func(s suspect) bool { return s.ours })
}

// settle orders the wanted values, drops what two locators agree on, and splices.
func (f *file) settle() {
	var out bytes.Buffer
	last, added := 0, 0
	for _, w := range f.agreed() {
		line := f.lineOf(w.span.start) + added
		f.at, f.asking = append(f.at, line-added), append(f.asking, w.tags)
		if w.node != nil {
			f.changes = append(f.changes, pratique.FileChange{Path: f.path, Line: line, Old: w.node.Value, New: w.value})
			if w.node.Value == w.value {
				continue
			}
		}
		text := w.text(f)
		if w.node == nil {
			if !w.flow() {
				added++
				line++
			}
			f.changes = append(f.changes, pratique.FileChange{Path: f.path, Line: line, New: w.value})
		}
		out.Write(f.content[last:w.span.start])
		out.WriteString(text)
		last = w.span.end
		w.note()
	}
	if last == 0 {
		f.out = f.content
		return
	}
	out.Write(f.content[last:])
	f.out = out.Bytes()
}

// agreed are the wanted values in the order of the text, each once. Where two want different things, neither is done.
func (f *file) agreed() []want {
	slices.SortStableFunc(f.wanted, func(a, b want) int { return a.span.start - b.span.start })
	var edits []want
	for i := 0; i < len(f.wanted); {
		w, agree := f.wanted[i], true
		for i++; i < len(f.wanted) && f.wanted[i].span.start == w.span.start; i++ {
			agree = agree && f.wanted[i].value == w.value
		}
		if !agree {
			f.problem(f.lineOf(w.span.start), true, "two markers want different values here")
			continue
		}
		if w.node == nil || !f.refused[w.node] {
			edits = append(edits, w)
		}
	}
	if f.change.RefreshOnly {
		return f.naming(edits)
	}
	return edits
}

func (w want) flow() bool { return w.mapping != nil && w.mapping.Style&yaml.FlowStyle != 0 }

// text is what goes between the span's ends.
func (w want) text(f *file) string {
	if w.node != nil {
		if w.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			return w.value
		}
		return scalar(w.value)
	}
	field := w.key + ": " + scalar(w.value)
	if w.flow() {
		return ", " + field
	}
	indent := strings.Repeat(" ", w.mapping.Content[0].Column-1)
	return f.lineBreak(w.span.start) + indent + field
}

// note makes the wanted change in the parsed tree too, for verify to compare with.
func (w want) note() {
	if w.node != nil {
		w.node.Value, w.node.Tag = w.value, "!!str"
		return
	}
	str := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	w.mapping.Content = slices.Insert(w.mapping.Content, w.after, str(w.key), str(w.value))
}

// verify parses the result and compares it with the tree that was meant. What it returns, if anything, is wrong with the
// file as a whole.
func (f *file) verify(ctx context.Context) pratique.Problem {
	if len(f.out) == len(f.content) && bytes.Equal(f.out, f.content) {
		return pratique.Problem{}
	}
	docs, err := parse(ctx, f.out)
	switch {
	case ctx.Err() != nil:
		return f.late()
	case err != nil:
		return f.refuse(lineIn(err), "the edited file could not be read again: %v", err)
	}
	if len(docs) != len(f.docs) {
		return f.refuse(1, "editing would change the number of documents")
	}
	for i := range docs {
		if n := difference(f.docs[i], docs[i]); n != nil {
			return f.refuse(n.Line, "editing would change more than the image")
		}
	}
	return pratique.Problem{}
}

// difference returns the first node of got that is not what was meant, or nil.
func difference(meant, got *yaml.Node) *yaml.Node {
	if meant.Kind != got.Kind || meant.Value != got.Value || meant.ShortTag() != got.ShortTag() ||
		meant.Anchor != got.Anchor || len(meant.Content) != len(got.Content) {
		return got
	}
	for i := range meant.Content {
		if n := difference(meant.Content[i], got.Content[i]); n != nil {
			return n
		}
	}
	return nil
}
