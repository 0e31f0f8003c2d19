package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pratique-dev/pratique"
)

// markerKey is what a line must hold to be looked at.
const markerKey = `"$pratique"`

// The forms a marked value is written in.
const (
	writeRef    = "ref"    // registry/path:tag@sha256:…, the default
	writeDigest = "digest" // sha256:…
	writeTag    = "tag"    // the tag alone, for a field beside one with the digest
)

// marker is the JSON of a marking comment: the image as "registry/path", optionally with a pattern for the
// tag behind a colon, and what to write.
type marker struct {
	Image string `json:"$pratique"`
	Write string `json:"write"`
}

// suspect is a line whose comment marks the change's image, or is a marker that cannot be read.
type suspect struct {
	start   int // offset of the line
	comment int // offset of the number sign
	line    int // filled in by markers
	marker  marker
	err     error
}

// suspects looks at lines alone. What it finds may still be the text of a block scalar.
func suspects(content []byte, c pratique.Change) []suspect {
	var found []suspect
	from := len(content) - len(bytes.TrimPrefix(content, bom))
	for {
		at := bytes.Index(content[from:], []byte(markerKey))
		if at < 0 {
			return found
		}
		at += from
		start := from
		if i := bytes.LastIndexAny(content[from:at], breaks); i >= 0 {
			start = from + i + max(1, breakAt(content, from+i))
		}
		end := len(content)
		if i := bytes.IndexAny(content[at:], breaks); i >= 0 {
			end = at + i
		}
		from = end
		hash := bytes.LastIndexByte(content[start:at], '#')
		if hash < 0 {
			continue
		}
		m, err := parseMarker(content[start+hash+1 : end])
		if err != nil || m.matches(c) {
			found = append(found, suspect{start: start, comment: start + hash, marker: m, err: err})
		}
	}
}

func parseMarker(text []byte) (marker, error) {
	var m marker
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return marker{}, fmt.Errorf("this marker is not JSON of the form {\"$pratique\": \"registry/path\"}: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return marker{}, errors.New("nothing may follow the marker on its line")
	}
	image, glob := m.split()
	if _, err := pratique.ParseRepository(image); err != nil {
		return marker{}, err
	}
	if _, err := path.Match(glob, ""); err != nil {
		return marker{}, fmt.Errorf("tag pattern %q: %w", glob, err)
	}
	switch m.Write {
	case "", writeRef, writeDigest, writeTag:
		return m, nil
	}
	return marker{}, fmt.Errorf("cannot write %q: want %s, %s or %s", m.Write, writeRef, writeDigest, writeTag)
}

// split returns the repository and the pattern for the tag; no pattern means every tag.
func (m marker) split() (image, glob string) {
	if i := strings.LastIndexByte(m.Image, ':'); i > strings.LastIndexByte(m.Image, '/') {
		return m.Image[:i], m.Image[i+1:]
	}
	return m.Image, "*"
}

func (m marker) matches(c pratique.Change) bool {
	image, glob := m.split()
	ok, _ := path.Match(glob, c.Tag) // a bad pattern was refused by parseMarker
	return ok && image == c.Subject.Repository.String()
}

func (m marker) value(c pratique.Change) string {
	switch m.Write {
	case writeDigest:
		return c.Subject.Digest.String()
	case writeTag:
		return c.Tag
	}
	ref := pratique.ImageRef{Repository: c.Subject.Repository, Tag: c.Tag, Digest: c.Subject.Digest}
	return ref.String()
}

// markers finds the scalars in front of marking comments.
func (f *file) markers() error {
	if !bytes.Contains(f.content, []byte(markerKey)) {
		return nil
	}
	for _, s := range suspects(f.content, f.change) {
		s.line = f.lineOf(s.start)
		n := f.marked(s)
		switch {
		case n == nil && f.isText(s):
			continue
		case s.err != nil:
			return f.refuse(s.line, "%v", s.err)
		case n == nil:
			return f.refuse(s.line, "a marker belongs behind one value that stands on the same line, plain or in quotes")
		case f.shared[n]:
			return f.refuse(s.line, "the marked value is used elsewhere through an alias")
		}
		value := s.marker.value(f.change)
		if value == "" {
			return f.refuse(s.line, "the marker asks for a tag, but the image was pushed without one")
		}
		if err := f.replace(n, value); err != nil {
			return err
		}
	}
	return nil
}

// last returns the last node that begins on the line or before, nil if there is none.
func (f *file) last(line int) *yaml.Node {
	i := sort.Search(len(f.nodes), func(i int) bool { return f.nodes[i].Line > line })
	if i == 0 {
		return nil
	}
	return f.nodes[i-1]
}

// marked returns the scalar that ends right before the comment.
func (f *file) marked(s suspect) *yaml.Node {
	n := f.last(s.line)
	if n == nil || n.Kind != yaml.ScalarNode || n.Line != s.line || f.keys[n] {
		return nil
	}
	_, end, reason := f.scalarSpan(n)
	if reason != "" || end >= s.comment || !blank(f.content[end:s.comment]) {
		return nil
	}
	return n
}

// isText reports whether the number sign begins no marker: it stands on a line of its own, which is a comment
// about markers or a line of a block scalar, or inside a value.
func (f *file) isText(s suspect) bool {
	if blank(f.content[s.start:s.comment]) {
		return true
	}
	n := f.last(s.line)
	if n == nil || n.Kind != yaml.ScalarNode {
		return false
	}
	inside, _, reason := f.scalarSpan(n)
	if reason == "" {
		return inside.start <= s.comment && s.comment < inside.end
	}
	// The value goes on until the next node, which is below this line.
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	return block && n.Line < s.line || quoted
}

func blank(b []byte) bool { return len(bytes.Trim(b, " \t")) == 0 }
