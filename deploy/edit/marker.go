package edit

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-json-experiment/json"

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

// grammar tells people what a marker may look like.
const grammar = `want {"$pratique": "registry/path"} or {"$pratique": "registry/path:TAG-PATTERN"}, and if the value is not a whole reference, "write": "tag" or "write": "digest" beside it`

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
	ours    bool // it is, or by its bytes may be, about the change's image
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
		s := suspect{start: start, comment: start + hash}
		text := content[start+hash+1 : end]
		if s.marker, s.err = parseMarker(text); s.err == nil {
			s.ours, s.err = s.marker.matches(c)
		} else {
			s.ours = names(text, spellings(c.Subject.Repository))
		}
		if s.ours || s.err != nil {
			found = append(found, s)
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
		return marker{}, fmt.Errorf("this marker is not JSON of the form that is known: %s (%w)", grammar, err)
	}
	image, glob := m.split()
	if _, err := pratique.ParseRepository(canonical(image)); err != nil {
		return marker{}, fmt.Errorf("%w: %s", err, grammar)
	}
	if _, err := path.Match(glob, ""); err != nil {
		return marker{}, fmt.Errorf("tag pattern %.128q: %w", glob, err)
	}
	switch m.Write {
	case "", writeRef, writeDigest, writeTag:
		return m, nil
	}
	return marker{}, fmt.Errorf("cannot write %.128q: want %s, %s or %s", m.Write, writeRef, writeDigest, writeTag)
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

// matches reports whether the marker is for the change. One without a registry means Docker Hub; where it looks as if
// the registry was forgotten, that is an error.
func (m marker) matches(c pratique.Change) (bool, error) {
	image, glob := m.split()
	r := c.Subject.Repository
	if image == r.Path && !same(image, r) {
		return true, fmt.Errorf("repository %q: name the registry too, as in %s; without it, it is one of Docker Hub", image, r)
	}
	ok, _ := path.Match(glob, c.Tag) // a bad pattern was refused by parseMarker
	return (ok || c.Tag == AnyTag) && same(image, r), nil
}

// value is what to write in place of the old value, which has to be one of its kind already: what somebody has made
// of it, such as a template or another image, is not ours to replace.
func (m marker) value(old string, c pratique.Change) (value, reason string) {
	switch m.Write {
	case writeDigest:
		return digestFor(old, c)
	case writeTag:
		return tagFor(old, c)
	}
	value, ok := rename(old, c)
	if !ok {
		return "", fmt.Sprintf("the marked value %.128q is no reference of %s and is not overwritten: write %s:TAG there, or correct the marker; "+
			`for a value that is only a tag or only a digest, the marker takes "write": "tag" or "write": "digest"`, old, c.Subject.Repository, c.Subject.Repository)
	}
	return value, ""
}

// tagFor is the tag to write in place of another one, or of an empty text.
func tagFor(old string, c pratique.Change) (value, reason string) {
	switch {
	case old != "" && !tagForm.MatchString(old):
		return "", fmt.Sprintf(`%.128q is no tag and is not overwritten: write a tag there, or "" in quotes`, old)
	case c.Tag == "":
		return "", "the place asks for a tag, but the image was pushed without one"
	}
	return c.Tag, ""
}

// digestFor is the digest to write in place of another one, or of an empty text.
func digestFor(old string, c pratique.Change) (value, reason string) {
	if old != "" && !digestForm.MatchString(old) {
		return "", fmt.Sprintf(`%.128q is no digest and is not overwritten: write sha256:… there, or "" in quotes`, old)
	}
	return c.Subject.Digest.String(), ""
}

// markers finds the scalars in front of marking comments.
func (f *file) markers() {
	if !bytes.Contains(f.content, []byte(markerKey)) {
		return
	}
	for _, s := range suspects(f.content, f.change) {
		s.line = f.lineOf(s.start)
		n := f.marked(s)
		switch {
		case n == nil && f.isText(s):
		case s.err != nil:
			f.problem(s.line, s.ours, "%v", s.err)
		case n == nil:
			f.problem(s.line, true, "a marker belongs behind one value that stands on the same line, plain or in quotes")
		case f.shared[n]:
			f.problem(s.line, true, "the marked value is used elsewhere through an alias")
		default:
			value, reason := s.marker.value(n.Value, f.change)
			tags := ""
			if _, glob := s.marker.split(); glob != anyTag {
				tags = glob
			}
			f.replace(n, value, tags, reason)
		}
	}
}
