package edit

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/imagename"
)

// reference has the parts of one: what kustomize takes for "name=" in front of it, the name, the
// tag and the digest.
var reference = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._/:-]{0,255}=)?([A-Za-z0-9][A-Za-z0-9._/:-]{0,511}?)(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?$`)

// The forms of values that are one part of it.
var (
	tagForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestForm = regexp.MustCompile(`^[a-z0-9]+:[0-9a-f]{32,128}$`)
)

// odd returns why a value may not be replaced, empty if it may. The value must already have the
// form of its kind: a template or another image must not be replaced.
func (v Value) odd(image Image) string {
	switch v.Form {
	case Digest:
		if v.Text != "" && !digestForm.MatchString(v.Text) {
			return fmt.Sprintf(`%.128q is no digest and is not overwritten: write sha256:… there, or "" in quotes`, v.Text)
		}
	case Tag:
		switch {
		case v.Text != "" && !tagForm.MatchString(v.Text):
			return fmt.Sprintf(`%.128q is no tag and is not overwritten: write a tag there, or "" in quotes`, v.Text)
		case image.Tag == "" && !image.AnyTag:
			return "the place asks for a tag, but the image was pushed without one"
		}
	case Ref:
		if parts := reference.FindStringSubmatch(v.Text); parts == nil ||
			!imagename.Same(parts[2], image.Repository) {
			return fmt.Sprintf("the marked value %.128q is no reference of %s and is not overwritten: write %s:TAG there, or correct the marker; "+
				`for a value that is only a tag or only a digest, the marker takes "write": "tag" or "write": "digest"`, v.Text, image.Repository, image.Repository)
		}
	}
	return ""
}

// becomes returns the new value. All other parts of a reference stay as they are spelled.
func (v Value) becomes(c pratique.Change) string {
	switch v.Form {
	case Tag:
		return c.Tag
	case Digest:
		return c.Subject.Digest.String()
	}
	parts := reference.FindStringSubmatch(v.Text)
	out := parts[1] + parts[2]
	if c.Tag != "" {
		out += ":" + c.Tag
	}
	return out + "@" + c.Subject.Digest.String()
}

// name is the repository that a value names itself, empty if it does not.
func (v Value) name() string {
	if parts := v.parts(); parts != nil {
		return parts[2]
	}
	return ""
}

// tag returns the tag that a value names, empty if it has not the form of one.
func (v Value) tag() string {
	if v.Form == Tag && tagForm.MatchString(v.Text) {
		return v.Text
	}
	if parts := v.parts(); parts != nil {
		return strings.TrimPrefix(parts[3], ":")
	}
	return ""
}

// digest returns the sha256 digest that a value names, zero if there is none.
func (v Value) digest() pratique.Digest {
	text := v.Text
	if parts := v.parts(); parts != nil {
		text = strings.TrimPrefix(parts[4], "@")
	}
	if v.Form == Tag {
		text = ""
	}
	d, _ := pratique.ParseDigest(text)
	return d
}

func (v Value) parts() []string {
	if v.Form != Ref {
		return nil
	}
	return reference.FindStringSubmatch(v.Text)
}
