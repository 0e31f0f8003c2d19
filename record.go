package pratique

import (
	"slices"
	"time"
)

// Record is all facts of one subject, folded: the newest fact of each kind, and the history.
type Record struct {
	Subject   Subject    `json:"subject"`
	Resolved  *Resolved  `json:"resolved,omitempty"`
	Inspected *Inspected `json:"inspected,omitempty"`
	Scanned   *Scanned   `json:"scanned,omitempty"`
	Affected  *Affected  `json:"affected,omitempty"`
	Evaluated *Evaluated `json:"evaluated,omitempty"`
	Attested  *Attested  `json:"attested,omitempty"`
	Completed *Completed `json:"completed,omitempty"`
	Failed    *Failed    `json:"failed,omitempty"`
	// Deployed holds every commit, oldest first.
	Deployed []Commit `json:"deployed,omitempty"`
	// Drifted are the targets among them that do not hold the subject any longer: the newest fact
	// for each, or what follows from the commit that put another digest there.
	Drifted []Drifted `json:"drifted,omitempty"`
	// Work is the state of the newest work on the subject. Back says that a target was found to hold
	// the subject again after that work had ended.
	Work Work `json:"work"`
	Back bool `json:"back,omitempty"`
	// History lists at most [MaxHistory] facts in the order of the ledger: the first, the newest,
	// and always the last resolved or completed fact, which tells whether work is in progress. Facts
	// counts all facts in the ledger.
	History []FactRef `json:"history"`
	Facts   int       `json:"facts"`
}

// MaxHistory bounds [Record.History], since an image may be pushed and scanned again for years.
const MaxHistory = 200

// FactRef is a fact without its content. Seq is its position in the ledger.
type FactRef struct {
	Seq   uint64    `json:"seq"`
	Kind  FactKind  `json:"kind"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
	Event string    `json:"event,omitempty"`
}

// Fold adds the fact at ledger position seq. Facts must be folded in ledger order.
func (r *Record) Fold(seq uint64, f Fact) {
	r.Subject = f.Subject
	r.follow(f)
	r.remember(FactRef{Seq: seq, Kind: f.Kind(), At: f.At, By: f.By, Event: f.Event})
	f.Body.fold(r)
}

// follow updates the newest work on the subject. A newer report or verdict without a push does not
// change work that has ended, and neither does a redelivered event that has ended.
func (r *Record) follow(f Fact) {
	switch f.Body.(type) {
	case *Drifted, *Answered: // They are about deployments, not about the progress of the work.
	case *Resolved:
		over := func(h FactRef) bool { return h.Kind == FactCompleted && h.Event == f.Event }
		if f.Event == "" || !slices.ContainsFunc(r.History, over) {
			r.Work = Work{}.Next(f, false)
		}
	case *Completed: // The last end counts, of whichever event.
		r.Work, r.Back = Work{}.Next(f, false), false
	case *Commit:
		r.Back = r.Work.Completed
		r.Work = r.Work.Next(f, false)
	default:
		r.Work = r.Work.Next(f, false)
	}
}

// State is the state of the newest work on the subject. An image with commits stays deployed if a
// later event ended as allowed because no target asked for the image, or was canceled: Git still has
// it. It is superseded or reverted once no target holds it as far as the facts say, and deployed
// again once a target does.
func (r *Record) State() State {
	end := r.Work.State
	if !r.Work.Completed {
		return end
	}
	stands := len(r.Standing()) > 0
	switch {
	case stands && (end == StateAllowed || end == StateCanceled || r.Back):
		return StateDeployed
	case !stands && end == StateDeployed && len(r.Drifted) > 0:
		return r.Drifted[len(r.Drifted)-1].State
	}
	return end
}

func (r *Record) remember(f FactRef) {
	r.Facts++
	r.History = append(r.History, f)
	if len(r.History) <= MaxHistory {
		return
	}
	turn := func(f FactRef) bool { return f.Kind == FactResolved || f.Kind == FactCompleted }
	drop := 1
	if turn(r.History[1]) && !slices.ContainsFunc(r.History[2:], turn) {
		drop = 2
	}
	r.History = slices.Delete(r.History, drop, drop+1)
}
