package edit

import (
	"context"
	"strings"

	"github.com/pratique-dev/pratique"
)

// AnyTag stands for every tag in a change that is only read. No real tag has this form.
const AnyTag = "+"

// Read returns the places of a file that ask for the change's image. The error is that of the context.
func Read(ctx context.Context, name string, content []byte, c pratique.Change) ([]pratique.Place, []Problem, error) {
	if c.Subject.Digest.IsZero() {
		c.Subject.Digest = pratique.DigestOf(nil) // nothing is written
	}
	r, err := Apply(ctx, name, content, c)
	return r.Places, r.Problems, err
}

// places are what the changes are made of.
func (f *file) places() []pratique.Place {
	values := make([]value, len(f.changes))
	for i, change := range f.changes {
		values[i] = valueOf(change.Old, change.New, f.change)
		values[i].line, values[i].tags = f.at[i], f.asking[i]
	}
	var places []pratique.Place
	for _, p := range pairs(values) {
		place := pratique.Place{Path: f.path, Line: p[0].line, TagOnly: len(p) == 1 && p[0].kind == writeTag, Tags: p[0].tags}
		for _, v := range p {
			if v.tag != "" {
				place.Tag = v.tag
			}
			if !v.digest.IsZero() {
				place.Digest = v.digest
			}
		}
		places = append(places, place)
	}
	return places
}

// value is one scalar of a place. What names an image may be in two: one has the tag, the other the digest.
type value struct {
	kind   string // writeRef, writeDigest or writeTag
	tag    string
	digest pratique.Digest
	line   int
	tags   string
}

// valueOf says what a value names; what is to be written there shows its kind.
func valueOf(old, wanted string, c pratique.Change) value {
	switch wanted {
	case c.Tag:
		return value{kind: writeTag, tag: old}
	case c.Subject.Digest.String():
		d, _ := pratique.ParseDigest(old) // none, or one of another algorithm, is no digest that we know
		return value{kind: writeDigest, digest: d}
	}
	v := value{kind: writeRef}
	if parts := reference.FindStringSubmatch(old); parts != nil {
		v.tag = strings.TrimPrefix(parts[3], ":")
		v.digest, _ = pratique.ParseDigest(strings.TrimPrefix(parts[4], "@"))
	}
	return v
}

// pairs joins a tag with the digest beside it.
func pairs(values []value) [][]value {
	var all [][]value
	for i := 0; i < len(values); i++ {
		v := values[i]
		if i+1 < len(values) && v.kind != writeRef && values[i+1].kind != writeRef && v.kind != values[i+1].kind {
			all = append(all, []value{v, values[i+1]})
			i++
			continue
		}
		all = append(all, []value{v})
	}
	return all
}

// naming leaves the values of places that name the change's tag already.
func (f *file) naming(edits []want) []want {
	values := make([]value, len(edits))
	for i, w := range edits {
		old := ""
		if w.node != nil {
			old = w.node.Value
		}
		values[i] = valueOf(old, w.value, f.change)
		values[i].line = i
	}
	var kept []want
	for _, p := range pairs(values) {
		named := false
		for _, v := range p {
			named = named || v.tag == f.change.Tag
		}
		for _, v := range p {
			if named {
				kept = append(kept, edits[v.line])
			}
		}
	}
	return kept
}
