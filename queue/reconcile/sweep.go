package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// saveEvery is how many tags of a page are checked before the bookmark is saved.
	saveEvery = 100
	maxPages  = 10_000
	maxTags   = 1_000_000
	// maxBroken is how many successive tags are skipped for which the registry does not answer.
	maxBroken = 10
)

// sweep checks all tags of a repository once.
type sweep struct {
	*host
	e        *entry
	at       *position // in the bookmark
	resumed  bool
	unsaved  int  // tags checked since the bookmark was saved
	reported bool // an unreadable tag
	// broken counts the successive tags before this one for which the registry did not answer,
	// though it answers otherwise.
	broken int
	// proofs is nil in a sweep that does not cover the whole list.
	proofs *proofs
}

// begin begins a sweep, or resumes an interrupted one unless a sweep was requested: that has to
// cover all tags.
func begin(h *host, e *entry) *sweep {
	r := h.reconciler
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &e.mark
	resumed := m.Resume != nil && !e.wanted
	e.wanted = false
	if !resumed {
		m.Started, m.Resume = now, &position{}
		e.status.SweepTally = pratique.SweepTally{}
	}
	m.UnderWay, m.Error = true, ""
	e.status.State, e.status.Started, e.status.Next, e.status.Error = Sweeping, m.Started, time.Time{}, ""
	s := &sweep{host: h, e: e, at: m.Resume, resumed: resumed}
	if !resumed {
		s.proofs = &proofs{attestations: map[pratique.Digest]bool{}, images: map[pratique.Digest]string{}}
	}
	return s
}

func (s *sweep) run(ctx context.Context) error {
	for {
		page, err := s.list(ctx)
		if s.resumed && s.at.Page != "" && pratique.KindOf(err) == pratique.Invalid {
			// The URL of the page has expired.
			s.resumed, *s.at = false, position{}
			s.reconciler.update(s.e, func(status *pratique.Sweep) {
				status.SweepTally = pratique.SweepTally{Requests: status.Requests}
			})
			continue
		}
		if err != nil {
			return err
		}
		if err := s.page(ctx, page); err != nil {
			return err
		}
		if page.Next == "" {
			s.restore(ctx)
			return nil
		}
		*s.at = position{Page: page.Next, Pages: s.at.Pages + 1}
		if s.at.Pages >= maxPages {
			return pratique.Errorf(pratique.Exhausted, "list tags", "more than %d pages", maxPages)
		}
		s.save(ctx)
	}
}

// list fetches the page at the position.
func (s *sweep) list(ctx context.Context) (pratique.TagPage, error) {
	var kept tagList
	if s.at.Page == "" {
		kept = s.reconciler.loadList(s.e)
	}
	var page pratique.TagPage
	err := s.retry(ctx, func() (err error) {
		if err := s.spend(ctx); err != nil {
			return err
		}
		page, err = s.reconciler.registry.Tags(ctx, s.e.Repository.Repository, s.at.Page, kept.ETag)
		return err
	})
	switch {
	case err != nil:
		return pratique.TagPage{}, err
	case page.NotModified && kept.ETag == "":
		return pratique.TagPage{}, pratique.Errorf(pratique.Corrupt, "list tags",
			"the registry answers 304 to an unconditional request")
	case page.NotModified:
		return pratique.TagPage{Tags: kept.Tags, Invalid: kept.Invalid, ETag: kept.ETag}, nil
	case s.at.Page == "":
		s.reconciler.saveList(ctx, s.e, kept, page)
	}
	return page, nil
}

// page checks the tags of a page after the position.
func (s *sweep) page(ctx context.Context, page pratique.TagPage) error {
	tags := page.Tags
	if s.at.Last == "" {
		s.count(func(t *pratique.SweepTally) { skip(t, SkippedInvalid, page.Invalid) })
	} else if i := slices.Index(tags, s.at.Last); i >= 0 {
		tags = tags[i+1:]
	}
	for _, tag := range tags {
		if err := s.tag(ctx, tag); err != nil {
			return err
		}
		s.at.Last = tag
		if s.unsaved++; s.unsaved >= saveEvery {
			s.save(ctx)
		}
	}
	if n := s.seen(); n >= maxTags {
		return pratique.Errorf(pratique.Exhausted, "list tags", "%d tags, the limit is %d", n, maxTags)
	}
	return nil
}

// tag checks one tag, with retries. An error ends the sweep, or interrupts it.
func (s *sweep) tag(ctx context.Context, tag string) error {
	switch {
	case pratique.IsSignatureTag(tag):
		s.proofs.addAttestation(tag)
		s.skip(SkippedSignature)
		return nil
	case len(s.e.Tags) > 0 && !pratique.MatchAny(s.e.Tags, tag):
		s.skip(SkippedFilter)
		return nil
	}
	err := s.retry(ctx, func() error { return s.checkTag(ctx, tag) })
	kind := pratique.KindOf(err)
	switch {
	case err == nil:
	case kind == pratique.NotFound:
		s.skip(SkippedVanished)
	case kind.Permanent():
		s.unreadable(tag, err)
	case transient(err) && !concernsAllTags(err) && s.broken < maxBroken && s.registryAnswers(ctx):
		s.broken++
		s.unreadable(tag, err)
		s.reconciler.update(s.e, func(status *pratique.Sweep) { status.Error = "" })
		return nil
	default:
		return err
	}
	s.broken = 0
	return nil
}

// registryAnswers reports whether the registry answers for other requests than that of a tag. A
// single tag whose manifest is lost must not keep the others from being checked.
func (s *sweep) registryAnswers(ctx context.Context) bool {
	if s.spend(ctx) != nil {
		return false
	}
	_, err := s.reconciler.registry.Tags(ctx, s.e.Repository.Repository, s.at.Page, "")
	return err == nil
}

// unreadable skips a tag, and reports only the first of a sweep: the others tend to have the same
// cause.
func (s *sweep) unreadable(tag string, err error) {
	s.skip(SkippedUnreadable)
	if s.reported {
		return
	}
	s.reported = true
	s.reconciler.config.OnError(pratique.Wrap(pratique.Unknown, "reconcile tag",
		s.e.Repository.Repository.String()+":"+tag, err))
}

// checkTag looks up what a tag names and publishes an event if that is new. When it was pushed is
// not known, nor whether it should be deployed, so the event only refreshes places in Git that name
// this tag. What is known is read first, to detect a report in the meantime.
func (s *sweep) checkTag(ctx context.Context, tag string) error {
	r := s.reconciler
	ref := pratique.ImageRef{Repository: s.e.Repository.Repository, Tag: tag}
	known, err := r.known.Tag(ref)
	if err != nil {
		return s.storeFailed("look up known tag", ref, err)
	}
	if known.Waiting {
		s.skip(SkippedWaiting)
		return nil
	}
	digest, changed, err := r.registry.DigestIfChanged(ctx, ref, known.Digest, s.spend)
	if err != nil {
		return err
	}
	if !changed {
		s.proofs.addImage(ref.Tag, known.Digest)
		s.count(func(t *pratique.SweepTally) { t.Tags++; t.Unchanged++ })
		return nil
	}
	ref.Digest = digest
	stored, err := r.known.PublishUnlessChanged(ctx, pratique.Event{
		Ref: ref, Source: s.e.Source, Priority: pratique.PriorityManual, RefreshOnly: true,
		ReceivedAt: r.config.Now().UTC(),
	}, known)
	switch {
	case err != nil:
		return s.storeFailed("publish push", ref, err)
	case stored:
		s.count(func(t *pratique.SweepTally) { t.Tags++; t.News++ })
		s.reconciler.update(s.e, func(status *pratique.Sweep) { status.Totals.News++ })
	default:
		s.skip(SkippedOvertaken)
	}
	return nil
}

// storeFailed reports an error of our own store, whose text may name files, and returns one for the
// status. That is never permanent, so that the tag is not skipped.
func (s *sweep) storeFailed(op string, ref pratique.ImageRef, err error) error {
	s.reconciler.config.OnError(pratique.Wrap(pratique.Unknown, op, ref.String(), err))
	kind := pratique.KindOf(err)
	if kind.Permanent() || kind == pratique.Denied {
		kind = pratique.Internal
	}
	return &storeError{pratique.Errorf(kind, op, "the service's own store failed: %s", kind)}
}

func (s *sweep) count(change func(t *pratique.SweepTally)) {
	s.reconciler.update(s.e, func(status *pratique.Sweep) { change(&status.SweepTally) })
}

func (s *sweep) skip(reason string) { s.count(func(t *pratique.SweepTally) { skip(t, reason, 1) }) }

func (s *sweep) seen() (n int) {
	s.count(func(t *pratique.SweepTally) { n = t.Tags })
	return n
}

func (s *sweep) save(ctx context.Context) {
	s.unsaved = 0
	s.reconciler.save(ctx, s.e)
}
