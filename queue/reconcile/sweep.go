package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

const (
	// saveEvery is the number of tags after which the bookmark is moved within a page.
	saveEvery = 100
	maxPages  = 10_000
	maxTags   = 1_000_000
	// maxBroken is how many tags one after the other are passed over because the registry does not answer for them.
	maxBroken = 10
)

// sweep is one walk over the tags of a repository.
type sweep struct {
	*host
	e       *entry
	at      *position // in the bookmark
	resumed bool
	unsaved int  // tags done since the bookmark was moved
	told    bool // of a tag that is unreadable
	// broken counts the tags before this one for which the registry did not answer, though it did otherwise.
	broken int
	// proofs is nil in a sweep that does not see the whole list.
	proofs *proofs
}

// begin goes on with the sweep that ended early. One that is asked for starts anew: what the other had passed may be
// what is looked for.
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
		e.status.Tally = Tally{}
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
			// The registry does not take its own question again, after this time.
			s.resumed, *s.at = false, position{}
			s.reconciler.update(s.e, func(status *Status) { status.Tally = Tally{Requests: status.Requests} })
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
			return pratique.Errorf(pratique.Exhausted, "list tags", "the list has no end after %d pages", maxPages)
		}
		s.save(ctx)
	}
}

// list gets the page at the position.
func (s *sweep) list(ctx context.Context) (pratique.TagPage, error) {
	var kept tagList
	if s.at.Page == "" {
		kept = s.reconciler.loadList(s.e)
	}
	var page pratique.TagPage
	err := s.patiently(ctx, func() (err error) {
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
		return pratique.TagPage{}, pratique.Errorf(pratique.Corrupt, "list tags", "the registry says that nothing has changed, which was not the question")
	case page.NotModified:
		return pratique.TagPage{Tags: kept.Tags, Invalid: kept.Invalid, ETag: kept.ETag}, nil
	case s.at.Page == "":
		s.reconciler.keepList(ctx, s.e, kept, page)
	}
	return page, nil
}

// page looks at the tags of a page behind the position.
func (s *sweep) page(ctx context.Context, page pratique.TagPage) error {
	tags := page.Tags
	if s.at.Last == "" {
		s.count(func(t *Tally) { t.skip(SkippedInvalid, page.Invalid) })
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

// tag looks at one tag. An error ends the sweep, or interrupts it.
func (s *sweep) tag(ctx context.Context, tag string) error {
	switch {
	case pratique.IsSignatureTag(tag):
		s.proofs.sees(tag)
		s.skip(SkippedSignature)
		return nil
	case len(s.e.Tags) > 0 && !pratique.MatchAny(s.e.Tags, tag):
		s.skip(SkippedFilter)
		return nil
	}
	err := s.patiently(ctx, func() error { return s.look(ctx, tag) })
	kind := pratique.KindOf(err)
	switch {
	case err == nil:
	case kind == pratique.NotFound:
		s.skip(SkippedVanished)
	case kind.Permanent():
		s.unreadable(tag, err)
	case passing(err) && !slow(err) && s.broken < maxBroken && s.answers(ctx):
		s.broken++
		s.unreadable(tag, err)
		s.reconciler.update(s.e, func(status *Status) { status.Error = "" })
		return nil
	default:
		return err
	}
	s.broken = 0
	return nil
}

// answers asks whether the registry works, when it did not answer for a tag for a while: one tag whose manifest it
// has lost is not to keep the others from being looked at, in this sweep and each that goes on from there.
func (s *sweep) answers(ctx context.Context) bool {
	if s.spend(ctx) != nil {
		return false
	}
	_, err := s.reconciler.registry.Tags(ctx, s.e.Repository.Repository, s.at.Page, "")
	return err == nil
}

// unreadable passes over a tag and reports the first, for all: they tend to have one cause.
func (s *sweep) unreadable(tag string, err error) {
	s.skip(SkippedUnreadable)
	if s.told {
		return
	}
	s.told = true
	s.reconciler.config.OnError(pratique.Wrap(pratique.Unknown, "reconcile tag", s.e.Repository.Repository.String()+":"+tag, err))
}

// look asks what a tag names and hands it on if it is news, to be evaluated. Nobody knows when the tag was pushed, or whether
// it was meant to be deployed, so the event orders nothing: it is written only where Git names this tag already. What is
// known is read first: then a report that comes in the meantime is seen to have changed it.
func (s *sweep) look(ctx context.Context, tag string) error {
	r := s.reconciler
	ref := pratique.ImageRef{Repository: s.e.Repository.Repository, Tag: tag}
	known, err := r.known.Tag(ref)
	if err != nil {
		return s.storeFault("look up known tag", ref, err)
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
		s.proofs.names(ref.Tag, known.Digest)
		s.count(func(t *Tally) { t.Tags++; t.Unchanged++ })
		return nil
	}
	ref.Digest = digest
	stored, err := r.known.PublishUnlessChanged(ctx, pratique.Event{
		Ref: ref, Source: s.e.Source, Priority: pratique.PriorityManual, RefreshOnly: true, ReceivedAt: r.config.Now().UTC(),
	}, known)
	switch {
	case err != nil:
		return s.storeFault("hand on push", ref, err)
	case stored:
		s.count(func(t *Tally) { t.Tags++; t.News++ })
		s.reconciler.update(s.e, func(status *Status) { status.AllNews++ })
	default:
		s.skip(SkippedOvertaken)
	}
	return nil
}

// storeFault reports an error of our own side, whose text may name files, and returns one for the status. It is never
// permanent: a tag is not to be passed over because of us.
func (s *sweep) storeFault(op string, ref pratique.ImageRef, err error) error {
	s.reconciler.config.OnError(pratique.Wrap(pratique.Unknown, op, ref.String(), err))
	kind := pratique.KindOf(err)
	if kind.Permanent() || kind == pratique.Denied {
		kind = pratique.Internal
	}
	return &storeError{pratique.Errorf(kind, op, "the service's own store does not take it: %s", kind)}
}

func (s *sweep) count(change func(t *Tally)) {
	s.reconciler.update(s.e, func(status *Status) { change(&status.Tally) })
}

func (s *sweep) skip(reason string) { s.count(func(t *Tally) { t.skip(reason, 1) }) }

func (s *sweep) seen() (n int) {
	s.count(func(t *Tally) { n = t.Tags })
	return n
}

func (s *sweep) save(ctx context.Context) {
	s.unsaved = 0
	s.reconciler.save(ctx, s.e)
}
