package locate

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy/edit"
	"github.com/pratique-dev/pratique/internal/imagename"
	"github.com/pratique-dev/pratique/internal/yamltext"
)

// markerKey is what a line must hold to be looked at.
const markerKey = `"$pratique"`

// The forms a marked value is written in.
const (
	writeRef    = "ref"    // registry/path:tag@sha256:…, the default
	writeDigest = "digest" // sha256:…
	writeTag    = "tag"    // the tag alone, for a field beside one with the digest
)

// grammar describes the form of a marker in errors.
const grammar = `want {"$pratique": "registry/path"} or {"$pratique": "registry/path:TAG-PATTERN"}, and if the value is not a whole reference, "write": "tag" or "write": "digest" beside it`

// marker is the JSON of a marking comment: the image as "registry/path", optionally with a pattern
// for the tag behind a colon, and what to write.
type marker struct {
	Image string `json:"$pratique"`
	Write string `json:"write"`
}

// suspect is a line whose comment is a marker, or one that cannot be read.
type suspect struct {
	start   int // offset of the line
	comment int // offset of the number sign
	marker  marker
	text    []byte // behind the number sign
	err     error
}

// suspects looks at single lines. What it finds may still be part of a block scalar.
func suspects(content []byte) iter.Seq[suspect] {
	return func(yield func(suspect) bool) {
		from := len(content) - len(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")))
		for {
			at := bytes.Index(content[from:], []byte(markerKey))
			if at < 0 {
				return
			}
			at += from
			start := from
			if i := bytes.LastIndexAny(content[from:at], yamltext.Breaks); i >= 0 {
				start = from + i + max(1, yamltext.BreakAt(content, from+i))
			}
			end := len(content)
			if i := bytes.IndexAny(content[at:], yamltext.Breaks); i >= 0 {
				end = at + i
			}
			from = end
			hash := bytes.LastIndexByte(content[start:at], '#')
			if hash < 0 {
				continue
			}
			s := suspect{start: start, comment: start + hash, text: content[start+hash+1 : end]}
			s.marker, s.err = parseMarker(s.text)
			if !yield(s) {
				return
			}
		}
	}
}

// maxMarker bounds the text of a marker.
const maxMarker = 2 << 10

func parseMarker(text []byte) (marker, error) {
	if len(text) > maxMarker {
		return marker{}, fmt.Errorf("this marker has more than %d bytes: %s", maxMarker, grammar)
	}
	var m marker
	if err := json.Unmarshal(text, &m, json.RejectUnknownMembers(true)); err != nil {
		if strings.Contains(err.Error(), "after top-level value") {
			return marker{}, errors.New("nothing may follow the marker on its line")
		}
		return marker{}, fmt.Errorf("this marker is not JSON of the form that is known: %s (%w)",
			grammar, err)
	}
	image, glob := m.split()
	if _, err := pratique.ParseRepository(imagename.Canonical(image)); err != nil {
		return marker{}, fmt.Errorf("%w: %s", err, grammar)
	}
	if _, err := path.Match(glob, ""); err != nil {
		return marker{}, fmt.Errorf("tag pattern %.128q: %w", glob, err)
	}
	switch m.Write {
	case "", writeRef, writeDigest, writeTag:
		return m, nil
	}
	return marker{}, fmt.Errorf("cannot write %.128q: want %s, %s or %s", m.Write, writeRef,
		writeDigest, writeTag)
}

// split returns the repository and the pattern for the tag; no pattern means every tag.
func (m marker) split() (image, glob string) {
	if i := strings.LastIndexByte(m.Image, ':'); i > strings.LastIndexByte(m.Image, '/') {
		return m.Image[:i], m.Image[i+1:]
	}
	return m.Image, anyTag
}

// anyTag is the pattern of a marker that names none.
const anyTag = "*"

// marked locates the scalars in front of marking comments.
type marked struct{}

// Relevant implements [edit.Locator].
func (marked) Relevant(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return true
	}
	return isKustomization(name)
}

// Syntax implements [edit.Locator].
func (marked) Syntax() edit.Syntax { return yamlSyntax{} }

// Screen implements [edit.Locator].
func (marked) Screen(content []byte, image edit.Image) edit.Look {
	look := edit.Nothing
	if !bytes.Contains(content, []byte(markerKey)) {
		return look
	}
	for s := range suspects(content) {
		site := s.site()
		of, _ := site.About(image)
		switch {
		case s.err != nil && !image.NamedIn(s.text):
			look = edit.Broken
		case s.err != nil, of:
			return edit.Asked
		}
	}
	return look
}

// site is that of a marker without its value.
func (s suspect) site() edit.Site {
	if s.err != nil {
		return edit.Site{Marked: true, Unread: s.text, Reason: s.err.Error()}
	}
	image, glob := s.marker.split()
	if glob == anyTag {
		glob = ""
	}
	return edit.Site{Image: image, Marked: true, Tags: glob}
}

// forms are the words for what to write.
var forms = map[string]edit.Form{"": edit.Ref, writeRef: edit.Ref, writeTag: edit.Tag,
	writeDigest: edit.Digest}

// Locate implements [edit.Locator].
func (marked) Locate(source edit.Source) edit.Found {
	t := source.(*yamlSource)
	var found edit.Found
	var nodes []*yaml.Node // of each site; nil where it has no value
	for s := range suspects(t.Content) {
		site := s.site()
		site.Line = t.LineOf(s.start)
		n := t.marked(s, site.Line)
		switch {
		case n == nil && t.isText(s, site.Line):
			continue
		case s.err != nil:
			n = nil
		case n == nil:
			site.Reason = "a marker belongs behind one value that stands on the same line, plain or in quotes"
		case t.Shared(n):
			n, site.Reason = nil, "the marked value is used elsewhere through an alias"
		default:
			site.Values = []edit.Value{t.value(forms[s.marker.Write], n)}
		}
		found.Sites, nodes = append(found.Sites, site), append(nodes, n)
	}
	where := t.Locations(slices.DeleteFunc(slices.Clone(nodes), func(n *yaml.Node) bool {
		return n == nil
	})...)
	for i, n := range nodes {
		if n != nil {
			v := &found.Sites[i].Values[0]
			v.Object, v.Field = where[n].Object, where[n].Field
		}
	}
	return found
}

// marked returns the scalar that ends right before the comment.
func (s *yamlSource) marked(m suspect, line int) *yaml.Node {
	n := s.Last(line)
	if n == nil || n.Kind != yaml.ScalarNode || n.Line != line || s.IsKey(n) {
		return nil
	}
	_, end, reason := s.Scalar(n)
	if reason != "" || end >= m.comment || !blank(s.Content[end:m.comment]) {
		return nil
	}
	return n
}

// isText reports whether the number sign begins no marker: it stands on a line of its own, which is
// a comment about markers or a line of a block scalar, or inside a value.
func (s *yamlSource) isText(m suspect, line int) bool {
	if blank(s.Content[m.start:m.comment]) {
		return true
	}
	n := s.Last(line)
	if n == nil || n.Kind != yaml.ScalarNode {
		return false
	}
	inside, _, reason := s.Scalar(n)
	if reason == "" {
		return inside.Start <= m.comment && m.comment < inside.End
	}
	// The value goes on until the next node, which is below this line.
	block := n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	return block && n.Line < line || quoted
}

func blank(b []byte) bool { return len(bytes.Trim(b, " \t")) == 0 }
