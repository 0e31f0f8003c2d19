package index

import (
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// EventStatus is how far the work for an event has come. It is what somebody who waits for it asks
// for.
type EventStatus struct {
	// Event is what is known of it: all but its ID is zero until a fact says more.
	pratique.Event
	// Subject is zero until the reference is resolved.
	Subject pratique.Subject `json:"subject,omitzero"`
	// RequeuedAs is the event whose work repeats this one's; empty if there is none.
	RequeuedAs string `json:"requeuedAs,omitempty"`
	// CanceledBy is the name of the token that canceled the work.
	CanceledBy string `json:"canceledBy,omitempty"`
	pratique.Work
	// Outcome is that of the verdict which was made for this event, until the work is done. Then it
	// follows from State and stays, whatever is found out about the image later: deployed, allowed,
	// superseded and reverted are allow, denied is deny, failed, ignored and canceled have none.
	Outcome pratique.Outcome `json:"outcome,omitempty"`
	// Verdict is the digest of that verdict's document, zero if it is not known. Reasons are the
	// verdict's.
	Verdict pratique.Digest   `json:"verdict,omitzero"`
	Reasons []pratique.Reason `json:"reasons,omitempty"`
	// Detail is why the work ended as it did.
	Detail string `json:"detail,omitempty"`
	// Failure is the last attempt that could not find out; later attempts may have gone further.
	Failure *pratique.Failed `json:"failure,omitempty"`
	// Commits are those made, or found again, for this event.
	Commits   []pratique.Commit `json:"commits,omitempty"`
	UpdatedAt time.Time         `json:"updatedAt"`
}

// fold adds a fact that names this event. Facts about platform children move nothing but the time:
// the event is as far as its own subject is. newest is the last verdict about the fact's subject so
// far. It is nil if there is none, or if the fact completes nothing.
func (s *EventStatus) fold(f pratique.Fact, newest *pratique.Evaluated) {
	again := s.again(f)
	s.UpdatedAt = f.At
	s.describe(f)
	if f.Kind() == pratique.FactCompleted && s.Subject.IsZero() || resolves(f) {
		s.Subject = f.Subject
	}
	// A child's failure is the event's failure: people who wait want to know.
	failure := pratique.As[pratique.Failed](f)
	if failure == nil && !s.Subject.IsZero() && !f.Subject.IsZero() && f.Subject != s.Subject {
		return
	}
	before := s.Work
	s.Work = before.Next(f, again)
	if before.Done && !s.Done {
		s.Detail = ""
	}
	switch body := f.Body.(type) {
	case *pratique.Failed:
		s.Failure = body
		if s.Work != before {
			s.end(pratique.Completed{State: s.State, Detail: body.Message}, nil)
		}
	case *pratique.Evaluated:
		if !s.Done {
			s.Outcome, s.Verdict, s.Reasons = body.Verdict.Outcome, body.Digest, body.Verdict.Reasons
		}
	case *pratique.Commit:
		same := func(c pratique.Commit) bool { return c.Target == body.Target && c.ID == body.ID }
		if !slices.ContainsFunc(s.Commits, same) {
			s.Commits = append(s.Commits, *body)
		}
	case *pratique.Completed:
		if s.Work != before {
			s.end(*body, newest)
		}
	}
}

// resolves says whether a fact says what an event's own reference names, and not what is in an
// index behind it.
func resolves(f pratique.Fact) bool {
	resolved := pratique.As[pratique.Resolved](f)
	return resolved != nil && f.Subject == resolved.Manifest.Subject
}

// again says whether a fact accepts or resolves an event again that never came to an image. A second
// resolved fact may be of a message that was delivered again. So may a received one, which is
// written after the event is enqueued and may come late; but then its time is not later.
func (s *EventStatus) again(f pratique.Fact) bool {
	if !s.Subject.IsZero() {
		return false
	}
	if e := pratique.As[pratique.Event](f); e != nil {
		return !s.ReceivedAt.IsZero() && e.ReceivedAt.After(s.ReceivedAt)
	}
	return resolves(f)
}

// dead says whether the work ended without an answer, and was not requeued.
func (s *EventStatus) dead() bool {
	return s.Done && s.RequeuedAs == "" && (s.State == pratique.StateFailed ||
		s.State == pratique.StateCanceled)
}

// supersededAt says whether the event has ended with the tag naming another digest than the
// subject's.
func (s *EventStatus) supersededAt(subject pratique.Subject) bool {
	return s.Done && s.State == pratique.StateSuperseded && s.Subject == subject
}

// end takes over how the work ended. An event of an image that was evaluated before has no verdict
// of its own; the reasons are then those of the image's newest verdict, if that is the one which
// completed it.
func (s *EventStatus) end(e pratique.Completed, newest *pratique.Evaluated) {
	s.Outcome, s.CanceledBy = e.State.Outcome(), e.By
	if e.Detail != "" || e.State != pratique.StateFailed {
		s.Detail = e.Detail
	}
	known := s.Verdict
	if !e.Verdict.IsZero() {
		s.Verdict = e.Verdict
	}
	switch {
	case s.Outcome == "":
		s.Verdict, s.Reasons = pratique.Digest{}, nil
	case s.Outcome == pratique.Allow:
		s.Reasons = nil
	case s.Verdict == known: // its own
	case newest != nil && newest.Digest == s.Verdict:
		s.Reasons = newest.Verdict.Reasons
	default:
		s.Reasons = nil
	}
}

// describe takes over what the fact says about the event itself.
func (s *EventStatus) describe(f pratique.Fact) {
	switch body := f.Body.(type) {
	case *pratique.Event:
		s.know(*body)
	case *pratique.Resolved:
		s.know(body.Event)
	case *pratique.Failed:
		s.named(body.Ref)
	case *pratique.Completed:
		s.named(body.Ref)
	}
}

// know takes over what a fact says about the event. Its ID is the one that the fact is filed under.
func (s *EventStatus) know(e pratique.Event) {
	e.ID = s.ID
	s.Event = e
}

// named takes over what the event's reference is, unless the event itself said so.
func (s *EventStatus) named(ref pratique.ImageRef) {
	if s.Ref.Repository.IsZero() {
		s.Ref = ref
	}
}
