package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Drift compares what the facts say is deployed with what the config repositories hold, and corrects the facts by new
// ones. It only ever adds what is true when it is said, so it may run at any time, and twice.
type Drift struct {
	Base
	Records Records
	Places  Places
}

// Records are what the facts say.
type Records interface {
	// Deployed visits the records of images that have been deployed.
	Deployed(ctx context.Context, visit func(pratique.Record) error) error
}

// Places say what the targets hold now.
type Places interface {
	Places(ctx context.Context, of ...pratique.Repository) ([]pratique.TargetPlaces, error)
}

// roleDeploy is the author of facts about what Git holds.
const roleDeploy = "deploy"

// together is how many repositories of images are looked for in one walk through a config repository.
const together = 50

// Check compares everything once, and returns how many facts it added. What could not be looked at is an error, and the
// rest is compared all the same.
func (d *Drift) Check(ctx context.Context) (added int, err error) {
	images := map[pratique.Repository][]standing{}
	var all []pratique.Repository
	if err := d.Records.Deployed(ctx, func(r pratique.Record) error {
		of := r.Subject.Repository
		if images[of] == nil {
			all = append(all, of)
		}
		images[of] = append(images[of], standingOf(r))
		return nil
	}); err != nil {
		return 0, err
	}
	var failed []error
	for some := range slices.Chunk(all, together) {
		held, err := d.Places.Places(ctx, some...)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, t := range held {
			if t.Failure != "" {
				failed = append(failed, pratique.Errorf(pratique.Unavailable, "look at target "+t.Target, "%s", t.Failure))
				continue
			}
			n, err := d.compare(ctx, t, images[t.Repository])
			if added += n; err != nil {
				return added, err
			}
		}
	}
	return added, errors.Join(failed...)
}

// compare looks at one repository of images in one target.
func (d *Drift) compare(ctx context.Context, t pratique.TargetPlaces, images []standing) (added int, err error) {
	for _, r := range images {
		f, ok := correction(t, r, images)
		if !ok {
			continue
		}
		if err := d.record(ctx, roleDeploy, Work{}, r.Subject, f); err != nil {
			return added, err
		}
		added++
	}
	return added, nil
}

// standing is what is needed of the record of an image, and there may be many.
type standing struct {
	pratique.Record
	tags []string // that it is known to have had
}

// standingOf makes it of a record.
func standingOf(r pratique.Record) standing {
	s := standing{Record: pratique.Record{Subject: r.Subject, Deployed: r.Deployed, Drifted: r.Drifted}}
	add := func(tag string) {
		if tag != "" && !slices.Contains(s.tags, tag) {
			s.tags = append(s.tags, tag)
		}
	}
	if r.Resolved != nil {
		add(r.Resolved.Event.Ref.Tag) // none of a push by digest
	}
	for _, c := range r.Deployed {
		for _, f := range c.Files {
			add(tagIn(f.New))
		}
	}
	return s
}

// tagIn is the tag of a value that was written: it is one, or a reference, or a digest.
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

// asks reports whether a place asks for one of the image's tags.
func (s standing) asks(p pratique.Place) bool {
	return p.Tags == "" || slices.ContainsFunc(s.tags, func(tag string) bool {
		ok, _ := path.Match(p.Tags, tag)
		return ok
	})
}

// files are the paths that the last commit wrote it to, as far as the fact names them.
func (s standing) files(target string) map[string]bool {
	files := map[string]bool{}
	for _, c := range slices.Backward(s.Deployed) {
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

// held says what a target holds of one image. What cannot be read says nothing for the image: then the places that can be
// read decide, so that nobody keeps an image *deployed* by breaking a place, or by adding some.
type held struct {
	at      int              // the first place that names the digest, negative if there is none
	against []pratique.Place // name something else, and ask for the image
	lost    []string         // files that it was written to, and in which nothing that can be read names it
	maybe   bool             // a place for a tag alone names one of its tags
}

func (h held) whole() bool { return len(h.against) == 0 && len(h.lost) == 0 && (h.at >= 0 || h.maybe) }

func heldOf(t pratique.TargetPlaces, s standing, images []standing) held {
	h := held{at: slices.IndexFunc(t.Places, func(p pratique.Place) bool { return p.Digest == s.Subject.Digest })}
	written, holding := s.files(t.Target), map[string]bool{}
	for _, p := range t.Places {
		named := p.TagOnly && slices.Contains(s.tags, p.Tag)
		h.maybe = h.maybe || named || p.TagOnly && len(s.tags) == 0
		if named || p.Digest == s.Subject.Digest {
			holding[p.Path] = true
		}
	}
	for _, p := range t.Places {
		switch {
		case holding[p.Path] && p.Digest.IsZero(), p.Digest == s.Subject.Digest, !s.asks(p), movedOn(t, p, s, images):
		case !p.Digest.IsZero(), written[p.Path]:
			h.against = append(h.against, p)
		}
	}
	for _, p := range t.Problems {
		for file := range written {
			if !holding[file] && (p.Path == "" || p.Path == file || strings.HasPrefix(file, p.Path+"/")) {
				h.lost = append(h.lost, p.String())
				break
			}
		}
	}
	return h
}

// movedOn reports whether a place asks for a tag that the image had once, and rightly holds the image that has it now: one that
// stands in the target itself, while this one stands where others of its tags are asked for.
func movedOn(t pratique.TargetPlaces, p pratique.Place, s standing, images []standing) bool {
	if p.Tags == "" || p.Digest.IsZero() {
		return false
	}
	stands := false
	for _, own := range t.Places {
		if own.Digest != s.Subject.Digest {
			continue
		}
		if ok, _ := path.Match(p.Tags, own.Tag); ok || own.Tag == "" {
			return false // it asks for the tag that the image stands under
		}
		stands = true
	}
	return stands && slices.ContainsFunc(images, func(other standing) bool {
		return other.Subject.Digest == p.Digest && slices.Contains(other.Standing(), t.Target) && other.asks(p)
	})
}

// correction is the fact that an image needs about a target; false if what the facts say is so.
func correction(t pratique.TargetPlaces, r standing, images []standing) (pratique.Fact, bool) {
	said := slices.Contains(r.Standing(), t.Target)
	gone := slices.ContainsFunc(r.Drifted, func(d pratique.Drifted) bool { return d.Target == t.Target })
	if !said && !gone {
		return pratique.Fact{}, false
	}
	h := heldOf(t, r, images)
	switch {
	case said && !h.whole():
		return pratique.Fact{Body: drifted(t, h, images)}, true
	case gone && h.at >= 0 && h.whole():
		p := t.Places[h.at]
		return pratique.Fact{Body: &pratique.Commit{
			Target: t.Target, Remote: t.Remote, Branch: t.Branch, Tag: pratique.Excerpt(p.Tag, mostName), ID: p.Since, At: p.SinceAt,
		}}, true
	}
	return pratique.Fact{}, false
}

// drifted says what stands in a target instead of an image.
func drifted(t pratique.TargetPlaces, h held, images []standing) *pratique.Drifted {
	there := h.against
	if len(there) == 0 {
		there = t.Places
	}
	d := &pratique.Drifted{
		Target: t.Target, Remote: t.Remote, Branch: t.Branch, Tip: t.Tip, State: pratique.StateReverted,
		Detail: "no file of the target names the image any longer", Places: slices.Clone(there[:min(len(there), pratique.MaxPlaces)]),
	}
	for i := range d.Places {
		d.Places[i].Path = pratique.Excerpt(d.Places[i].Path, mostPath) // a fact has no room for every path
	}
	switch {
	case len(h.against) == 0 && len(h.lost) > 0:
		d.Detail = "it was written to a place that cannot be read now: " + pratique.Excerpt(h.lost[0], 2*mostPath)
	case len(h.against) == 0 && len(t.Problems) > 0:
		d.Detail = "no place that can be read names the image any longer, and this one cannot be: " + pratique.Excerpt(t.Problems[0].String(), 2*mostPath)
	case len(there) > 0:
		p := there[0]
		what := t.Repository.String()
		if p.Tag != "" {
			what += ":" + pratique.Excerpt(p.Tag, mostPath)
		}
		if !p.Digest.IsZero() {
			what += "@" + p.Digest.String()
		}
		d.Detail = fmt.Sprintf("Git holds %s in %s, line %d", what, pratique.Excerpt(p.Path, mostPath), p.Line)
		if at := p.Object.At(p.Field); at != "" {
			d.Detail += " (" + pratique.Excerpt(at, mostPath) + ")"
		}
		if slices.ContainsFunc(images, func(other standing) bool {
			return other.Subject.Digest == p.Digest && slices.Contains(other.Standing(), t.Target)
		}) {
			d.State = pratique.StateSuperseded
		}
	}
	return d
}
