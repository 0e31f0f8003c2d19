package deploying

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// image is a deployed image. There may be many, so it has only the part of the record that is
// needed.
type image struct {
	pratique.Record
	tags []string // all that the image is known to have had
}

func imageOf(r pratique.Record) image {
	i := image{Record: pratique.Record{Subject: r.Subject, Deployed: r.Deployed, Drifted: r.Drifted}}
	add := func(tag string) {
		if tag != "" && !slices.Contains(i.tags, tag) {
			i.tags = append(i.tags, tag)
		}
	}
	if r.Resolved != nil {
		add(r.Resolved.Event.Ref.Tag) // empty for a push by digest
	}
	for _, c := range r.Deployed {
		for _, f := range c.Files {
			add(tagIn(f.New))
		}
	}
	return i
}

// tagIn is the tag in a value that was written: a tag, a reference, or a digest without a tag.
func tagIn(value string) string {
	if _, err := pratique.ParseDigest(value); err == nil {
		return ""
	}
	name, _, _ := strings.Cut(value, "@")
	i := strings.LastIndexAny(name, ":/")
	if i >= 0 && name[i] == '/' {
		return ""
	}
	return name[i+1:]
}

// hasTagFor reports whether a place asks for one of the image's tags.
func (i image) hasTagFor(p pratique.Place) bool {
	return p.Tags == "" || slices.ContainsFunc(i.tags, func(tag string) bool {
		ok, _ := path.Match(p.Tags, tag)
		return ok
	})
}

// isIn reports whether the facts say that a target holds the image.
func (i image) isIn(target string) bool { return slices.Contains(i.Standing(), target) }

// files are the paths to which the last commit wrote the image, as far as the fact names them.
func (i image) files(target string) map[string]bool {
	files := map[string]bool{}
	for _, c := range slices.Backward(i.Deployed) {
		if c.Target != target || len(c.Files) == 0 {
			continue
		}
		for _, f := range c.Files {
			files[f.Path] = true
		}
		break
	}
	return files
}

// comparison is what a target holds of one image. A place that cannot be read does not count for
// the image: then the readable places decide, so that nobody keeps an image deployed by breaking a
// place, or by adding one.
type comparison struct {
	place       *pratique.Place  // the first place that names the digest, nil if there is none
	conflicting []pratique.Place // places that ask for the image and name another
	// files to which the image was written, and of which no readable place names it
	unreadable []string
	tagOnly    bool // a place without a digest names one of the image's tags
}

func (c comparison) holds() bool {
	return len(c.conflicting) == 0 && len(c.unreadable) == 0 && (c.place != nil || c.tagOnly)
}

// compare compares an image with the places of a target.
func compare(t pratique.TargetPlaces, i image, images []image) comparison {
	var c comparison
	written, naming := i.files(t.Target), map[string]bool{}
	for n, p := range t.Places {
		if p.Digest == i.Subject.Digest && c.place == nil {
			c.place = &t.Places[n]
		}
		named := p.TagOnly && slices.Contains(i.tags, p.Tag)
		c.tagOnly = c.tagOnly || named || p.TagOnly && len(i.tags) == 0
		if named || p.Digest == i.Subject.Digest {
			naming[p.Path] = true
		}
	}
	for _, p := range t.Places {
		switch {
		case p.Digest == i.Subject.Digest, p.Digest.IsZero() && naming[p.Path], !i.hasTagFor(p),
			holdsMovedTag(t, p, i, images): // it names the image, or rightly another one
		case !p.Digest.IsZero(), written[p.Path]:
			c.conflicting = append(c.conflicting, p)
		}
	}
	for _, p := range t.Problems {
		for file := range written {
			if !naming[file] && (p.Path == "" || p.Path == file || strings.HasPrefix(file, p.Path+"/")) {
				c.unreadable = append(c.unreadable, p.String())
				break
			}
		}
	}
	return c
}

// holdsMovedTag reports whether a place asks for a tag that the image once had, and rightly holds
// the image that has it now. That image is deployed to the target, too, and this one is where
// others of its tags are asked for.
func holdsMovedTag(t pratique.TargetPlaces, p pratique.Place, i image, images []image) bool {
	if p.Tags == "" || p.Digest.IsZero() {
		return false
	}
	elsewhere := false
	for _, other := range t.Places {
		if other.Digest != i.Subject.Digest {
			continue
		}
		if ok, _ := path.Match(p.Tags, other.Tag); ok || other.Tag == "" {
			return false // the place asks for the tag under which the image is deployed
		}
		elsewhere = true
	}
	return elsewhere && slices.ContainsFunc(images, func(other image) bool {
		return other.Subject.Digest == p.Digest && other.isIn(t.Target) && other.hasTagFor(p)
	})
}

// correction is the fact that corrects what is known of an image in a target, nil if that is right.
func correction(t pratique.TargetPlaces, i image, images []image) pratique.Body {
	deployed := i.isIn(t.Target)
	drifted, remains := false, false
	for _, d := range i.Drifted {
		if d.Target == t.Target {
			drifted, remains = true, d.Remains
		}
	}
	if !deployed && !drifted {
		return nil
	}
	c := compare(t, i, images)
	switch {
	case deployed && !c.holds():
		return driftedFact(t, c, images)
	case drifted && c.place != nil && c.holds():
		return &pratique.Commit{
			Target: t.Target, Remote: t.Remote, Branch: t.Branch,
			Tag: pratique.Excerpt(c.place.Tag, maxField), ID: c.place.Since, At: c.place.SinceAt,
		}
	case drifted && remains != (c.place != nil): // its last place is gone, or one is back
		return driftedFact(t, c, images)
	}
	return nil
}

// driftedFact says what a target holds instead of an image.
func driftedFact(t pratique.TargetPlaces, c comparison, images []image) *pratique.Drifted {
	places := c.conflicting
	if len(places) == 0 {
		places = t.Places
	}
	d := &pratique.Drifted{
		Target: t.Target, Remote: t.Remote, Branch: t.Branch, Tip: t.Tip, State: pratique.StateReverted,
		Detail:  "no file of the target names the image any longer",
		Remains: c.place != nil,
		Places:  slices.Clone(places[:min(len(places), pratique.MaxPlaces)]),
	}
	for n := range d.Places {
		d.Places[n].Path = pipeline.ExcerptPath(d.Places[n].Path)
	}
	switch {
	case len(c.conflicting) == 0 && len(c.unreadable) > 0:
		d.Detail = "it was written to a place that cannot be read now: " +
			pipeline.Excerpt(c.unreadable[0])
	case len(c.conflicting) == 0 && len(t.Problems) > 0:
		d.Detail = "no readable place names the image any longer, and this one cannot be read: " +
			pipeline.Excerpt(t.Problems[0].String())
	case len(places) > 0:
		p := places[0]
		d.Detail = fmt.Sprintf("Git holds %s in %s, line %d", valueAt(t.Repository, p),
			pipeline.ExcerptPath(p.Path), p.Line)
		if at := p.Object.At(p.Field); at != "" {
			d.Detail += " (" + pipeline.ExcerptPath(at) + ")"
		}
		if slices.ContainsFunc(images, func(other image) bool {
			return other.Subject.Digest == p.Digest && other.isIn(t.Target)
		}) {
			d.State = pratique.StateSuperseded
		}
	}
	return d
}

// valueAt is the image that a place names.
func valueAt(r pratique.Repository, p pratique.Place) string {
	value := r.String()
	if p.Tag != "" {
		value += ":" + pipeline.ExcerptPath(p.Tag)
	}
	if !p.Digest.IsZero() {
		value += "@" + p.Digest.String()
	}
	return value
}
