package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Tags is what the registry says of tags.
type Tags interface {
	// Digest returns what a tag names now, or what a digest of another algorithm than sha256 names; NotFound if there is
	// no such tag or manifest.
	Digest(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
	// TagsOf returns the tags that name the subject now.
	TagsOf(ctx context.Context, s pratique.Subject) ([]string, error)
}

// underItsTags takes a push in under each tag that names its digest, since the sender told only that. The event itself
// goes no further: what matters is under which tag an image was pushed. A manifest without a tag is a part of an index,
// which has one.
func (s *Inspect) underItsTags(ctx context.Context, w Work) error {
	digest, err := s.meant(ctx, w.Event.Ref)
	if err != nil {
		return err
	}
	w.Subject = pratique.Subject{Repository: w.Event.Ref.Repository, Digest: digest}
	if _, over, err := s.Ledger.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // its acknowledgement was lost
	}
	tags, err := s.Tags.TagsOf(ctx, w.Subject)
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return s.complete(ctx, pratique.StageInspect, w, pratique.StateIgnored, "the sender named no tag, and none names this digest")
	}
	events := make([]pratique.Event, len(tags))
	for i, tag := range tags {
		e := w.Event
		e.ID, e.Delivery, e.TagUnknown, e.Ref.Tag = "", "", false, tag
		events[i] = e
	}
	if err := s.Publish(ctx, events); err != nil {
		return err
	}
	return s.complete(ctx, pratique.StageInspect, w, pratique.StateIgnored, "the sender named no tag; taken in as "+listed(tags))
}

// listed shows the first of many.
func listed(tags []string) string {
	const most = 10
	if more := len(tags) - most; more > 0 {
		return strings.Join(tags[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(tags, ", ")
}

// confirm asks the registry whether the tag of a submission names the digest that was given beside it: whoever submits may
// write any tag there. If not, the tag is taken off before any fact names it; the digest is evaluated, and is written nowhere.
// What senders report is not asked for here: that a tag has moved on is ordinary, and the gate asks before it writes.
func (s *Inspect) confirm(ctx context.Context, w *Work) error {
	ref := w.Event.Ref
	if w.Event.Source != pratique.SourceSubmission || ref.Tag == "" || ref.ContentID().IsZero() {
		return nil
	}
	given, err := s.meant(ctx, ref)
	if err != nil {
		return err
	}
	tagged, err := s.Tags.Digest(ctx, pratique.ImageRef{Repository: ref.Repository, Tag: ref.Tag})
	switch {
	case pratique.KindOf(err) == pratique.NotFound:
		w.Unconfirmed = fmt.Sprintf("the registry has no tag %s; only the digest was evaluated", ref.Tag)
	case err != nil:
		return err
	case tagged != given:
		w.Unconfirmed = fmt.Sprintf("the tag %s names %s; only the digest that was given was evaluated", ref.Tag, tagged)
	default:
		return nil
	}
	w.Event.Ref.Tag = ""
	return nil
}

// meant is the sha256 digest of the manifest that the digest of a ref names. The registry is asked if that is of another
// algorithm.
func (s *Inspect) meant(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	if ref.Other.IsZero() {
		return ref.Digest, nil
	}
	return s.Tags.Digest(ctx, pratique.ImageRef{Repository: ref.Repository, Other: ref.Other})
}
