package index

import (
	"slices"
	"time"

	"github.com/pratique-dev/pratique"
)

// EventStatus is how far the work for an event has come. It is what somebody who waits for it asks for.
type EventStatus struct {
	ID  string            `json:"id"`
	Ref pratique.ImageRef `json:"ref"`
	// Subject is zero until the ref is resolved.
	Subject pratique.Subject `json:"subject,omitzero"`
	Source  string           `json:"source,omitempty"`
	Actor   string           `json:"actor,omitempty"`
	Lane    pratique.Lane    `json:"lane,omitempty"`
	// Requeues is the event whose work this one does anew, RequeuedAs the one that does this one's; empty if there is none.
	Requeues   string `json:"requeues,omitempty"`
	RequeuedAs string `json:"requeuedAs,omitempty"`
	// RefreshOnly and AllowOlder are those of the event, kept so that requeuing it asks for no more than it did.
	RefreshOnly bool `json:"refreshOnly,omitempty"`
	AllowOlder  bool `json:"allowOlder,omitempty"`
	// CancelledBy is the name of the token that cancelled the work.
	CancelledBy string `json:"cancelledBy,omitempty"`
	// State is the kind of the furthest fact (received … deployed) while Done is false, and one of
	// [pratique.State] when it is true.
	State string `json:"state"`
	Done  bool   `json:"done"`
	// Settled says that the end was recorded as such. A final failure alone is an end to people who wait, but
	// if the worker died before it could settle the event, more may follow.
	Settled bool `json:"settled,omitempty"`
	// Outcome is that of the verdict which was made for this event, until the work is done. Then it follows from
	// State and stays, whatever is found out about the image later: deployed, allowed, superseded and reverted are allow,
	// denied is deny, failed, ignored and cancelled have none.
	Outcome pratique.Outcome `json:"outcome,omitempty"`
	// Verdict is the digest of that verdict's document, zero if it is not known. Reasons are the verdict's.
	Verdict pratique.Digest   `json:"verdict,omitzero"`
	Reasons []pratique.Reason `json:"reasons,omitempty"`
	// Detail is why the work ended as it did.
	Detail string `json:"detail,omitempty"`
	// Failure is the last attempt that could not find out; later attempts may have gone further.
	Failure *pratique.Failed `json:"failure,omitempty"`
	// Commits are those made, or found again, for this event.
	Commits []pratique.Commit `json:"commits,omitempty"`
	// OccurredAt is the sender's time, zero if it gave none.
	OccurredAt time.Time `json:"occurredAt,omitzero"`
	ReceivedAt time.Time `json:"receivedAt,omitzero"`
	UpdatedAt  time.Time `json:"updatedAt"`
}

// progress orders the facts of a push that goes on.
var progress = map[string]int{
	string(pratique.FactReceived): 1, string(pratique.FactSeen): 2, string(pratique.FactInspected): 3, string(pratique.FactMatched): 4,
	string(pratique.FactJudged): 5, string(pratique.FactAttested): 6, string(pratique.FactDeployed): 7,
}

// fold adds a fact that names this event. Facts about platform children move nothing but the time: the event
// is as far as its own subject is. An end is kept, but for what [EventStatus.reopens] says, and a failed event may
// end otherwise after all. newest is the last verdict about the fact's subject so far; nil if there is none, or the
// fact settles nothing.
func (s *EventStatus) fold(f pratique.Fact, newest *pratique.Judged) {
	reopens := s.reopens(f)
	s.UpdatedAt = f.At
	s.describe(f)
	if f.Settled != nil && s.Subject.IsZero() || f.Seen != nil && f.Subject == f.Seen.Manifest.Subject {
		s.Subject = f.Subject
	}
	if f.Failed != nil {
		// A child's failure is the event's failure: people who wait want to know.
		s.Failure = f.Failed
		if f.Failed.Final && !s.Done {
			s.end(pratique.Settled{State: pratique.StateFailed, Detail: f.Failed.Message}, nil)
		}
		return
	}
	if !s.Subject.IsZero() && !f.Subject.IsZero() && f.Subject != s.Subject {
		return
	}
	if reopens {
		s.State, s.Done, s.Settled, s.Detail = string(f.Kind), false, false, ""
	}
	switch {
	case f.Judged != nil && !s.Done:
		s.Outcome, s.Verdict, s.Reasons = f.Judged.Verdict.Outcome, f.Judged.Digest, f.Judged.Verdict.Reasons
	case f.Deployed != nil:
		same := func(c pratique.Commit) bool { return c.Target == f.Deployed.Target && c.ID == f.Deployed.ID }
		if !slices.ContainsFunc(s.Commits, same) {
			s.Commits = append(s.Commits, *f.Deployed)
		}
	}
	switch {
	case f.Settled != nil && s.mayEnd(f.Settled.State):
		s.end(*f.Settled, newest)
		s.Settled = true
	case !s.Done && progress[string(f.Kind)] > progress[s.State]:
		s.State = string(f.Kind)
	}
}

// reopens says whether a fact shows that work on a failed event goes on. Until the event is settled any step
// does. After that only work that never came to an image is done again: the event is received anew, or its ref is
// resolved at last. A second seen is a message that was delivered again. So may be a received, which is written
// after the event is enqueued and may come late; but it then tells of no later time.
func (s *EventStatus) reopens(f pratique.Fact) bool {
	switch {
	case !s.failed():
		return false
	case f.Received != nil:
		return s.Subject.IsZero() && !s.ReceivedAt.IsZero() && f.Received.ReceivedAt.After(s.ReceivedAt)
	case !s.Settled:
		return progress[string(f.Kind)] > 0
	}
	return s.Subject.IsZero() && f.Seen != nil && f.Subject == f.Seen.Manifest.Subject
}

// mayEnd says whether the event ends with this state. The first end counts, but a failed event may end otherwise after
// all, unless somebody only cancels it; and a commit that was being written when the event was cancelled is there.
func (s *EventStatus) mayEnd(with pratique.State) bool {
	switch {
	case !s.Done:
		return true
	case s.failed():
		return with != pratique.StateCancelled || !s.Settled
	default:
		return s.State == string(pratique.StateCancelled) && with == pratique.StateDeployed
	}
}

// dead says whether the work ended without an answer, and nobody asked for it anew.
func (s *EventStatus) dead() bool {
	return s.Done && s.RequeuedAs == "" && (s.State == string(pratique.StateFailed) || s.State == string(pratique.StateCancelled))
}

// supersededAt says whether the event has ended with the tag naming another digest than the subject's.
func (s *EventStatus) supersededAt(subject pratique.Subject) bool {
	return s.Done && s.State == string(pratique.StateSuperseded) && s.Subject == subject
}

func (s *EventStatus) failed() bool { return s.Done && s.State == string(pratique.StateFailed) }

// end takes over how the work ended. An event of an image that was judged before has no verdict of its own; the
// reasons are then those of the image's newest verdict, if that is the one which settled it.
func (s *EventStatus) end(e pratique.Settled, newest *pratique.Judged) {
	s.State, s.Done, s.Outcome, s.CancelledBy = string(e.State), true, outcomeOf(e.State), e.By
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

// outcomeOf is what an end says about the verdict.
func outcomeOf(s pratique.State) pratique.Outcome {
	switch s {
	case pratique.StateDeployed, pratique.StateAllowed, pratique.StateSuperseded, pratique.StateReverted:
		return pratique.Allow
	case pratique.StateDenied:
		return pratique.Deny
	case pratique.StateIgnored, pratique.StateFailed, pratique.StateCancelled:
	}
	return ""
}

// describe takes over what the fact says about the event itself.
func (s *EventStatus) describe(f pratique.Fact) {
	var e *pratique.Event
	switch {
	case f.Received != nil:
		e = f.Received
	case f.Seen != nil:
		e = &f.Seen.Event
	}
	if e != nil {
		s.Ref, s.Source, s.Actor, s.OccurredAt, s.ReceivedAt = e.Ref, e.Source, e.Actor, e.OccurredAt, e.ReceivedAt
		s.Lane, s.Requeues, s.RefreshOnly, s.AllowOlder = e.Lane, e.Requeues, e.RefreshOnly, e.AllowOlder
		return
	}
	if !s.Ref.Repository.IsZero() {
		return
	}
	switch {
	case f.Failed != nil:
		s.Ref = f.Failed.Ref
	case f.Settled != nil:
		s.Ref = f.Settled.Ref
	}
}
