package inspecting

import (
	"context"
	"fmt"
	"strings"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Tags looks up tags in the registry.
type Tags interface {
	// Digest returns the sha256 digest of the manifest that a tag, or a digest of another algorithm,
	// names now. The error is NotFound if there is no such tag or manifest.
	Digest(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error)
	// TagsOf returns the tags that name the subject now.
	TagsOf(ctx context.Context, s pratique.Subject) ([]string, error)
}

// publishTags publishes a push as one push for each tag that names its digest, because the sender
// named only the digest. The event itself ends here: what matters is the tag under which an image
// was pushed. A manifest without a tag belongs to an index, which has one.
func (s *Stage) publishTags(ctx context.Context, w pipeline.Work) error {
	digest, err := s.manifestDigest(ctx, w.Event.Ref)
	if err != nil {
		return err
	}
	w.Subject = pratique.Subject{Repository: w.Event.Ref.Repository, Digest: digest}
	if _, over, err := s.Facts.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // the message was redelivered
	}
	tags, err := s.Tags.TagsOf(ctx, w.Subject)
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return s.Complete(ctx, w, pratique.StateIgnored,
			"the sender named no tag, and no tag names this digest")
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
	return s.Complete(ctx, w, pratique.StateIgnored,
		"the sender named no tag; accepted as a push of "+firstTags(tags))
}

// firstTags lists the first tags, and counts the others.
func firstTags(tags []string) string {
	const limit = 10
	if more := len(tags) - limit; more > 0 {
		return strings.Join(tags[:limit], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(tags, ", ")
}

// confirmTag asks the registry whether the tag of a submission names the digest of the submission:
// a submitter may write any tag next to a digest. If it does not, the tag is dropped before any
// fact names it, and the digest is evaluated but not deployed. Reports of senders are not confirmed
// here: a tag often has moved on, and the gate asks before it writes.
func (s *Stage) confirmTag(ctx context.Context, w *pipeline.Work) error {
	ref := w.Event.Ref
	if w.Event.Source != pratique.SourceSubmission || ref.Tag == "" || ref.ContentID().IsZero() {
		return nil
	}
	submitted, err := s.manifestDigest(ctx, ref)
	if err != nil {
		return err
	}
	tagged, err := s.Tags.Digest(ctx, pratique.ImageRef{Repository: ref.Repository, Tag: ref.Tag})
	switch {
	case pratique.KindOf(err) == pratique.NotFound:
		w.Unconfirmed = fmt.Sprintf("the registry has no tag %s; only the digest was evaluated", ref.Tag)
	case err != nil:
		return err
	case tagged != submitted:
		w.Unconfirmed = fmt.Sprintf("the tag %s names %s; only the submitted digest was evaluated",
			ref.Tag, tagged)
	default:
		return nil
	}
	w.Event.Ref.Tag = ""
	return nil
}

// manifestDigest is the sha256 digest of the manifest that the digest of a ref names. If that is of
// another algorithm, the registry is asked.
func (s *Stage) manifestDigest(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	if ref.Other.IsZero() {
		return ref.Digest, nil
	}
	return s.Tags.Digest(ctx, pratique.ImageRef{Repository: ref.Repository, Other: ref.Other})
}
