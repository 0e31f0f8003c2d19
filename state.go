package pratique

// State is how far the work for an event has come: the kind of its furthest fact while it goes on,
// then how it ended.
type State string

// The ends. Every accepted event reaches exactly one of them.
const (
	StateDeployed   State = "deployed"
	StateAllowed    State = "allowed"
	StateDenied     State = "denied"
	StateSuperseded State = "superseded"
	StateReverted   State = "reverted"
	StateIgnored    State = "ignored"
	StateFailed     State = "failed"
	StateCanceled   State = "canceled"
)

// endRow is a row of the table of ends.
type endRow struct {
	state State
	// outcome is that of the verdict that such an end implies; empty if there is none.
	outcome Outcome
	means   string
}

var endTable = [...]endRow{
	{StateDeployed, Allow,
		"Allowed, and every matching target held the digest at the tip of its branch."},
	{StateAllowed, Allow, "Allowed, and no target asks for this image."},
	{StateDenied, Deny, "The verdict is deny. Nothing was written to Git."},
	{StateSuperseded, Allow, "Allowed, but its tag, or its places in Git, belong to a newer push."},
	{StateReverted, Allow, "Allowed, and deployed before, but somebody took it out of Git since."},
	{StateIgnored, "", "Not a container image."},
	{StateFailed, "", "Could not find out; the failed fact says why."},
	{StateCanceled, "", "Somebody stopped the work."},
}

// Ends returns the states in which work ends.
func Ends() []State {
	ends := make([]State, len(endTable))
	for i, row := range endTable {
		ends[i] = row.state
	}
	return ends
}

// States returns every state: those of work that goes on in their order, then the ends. A name that
// is both stands once.
func States() []State {
	var all []State
	for _, row := range factTable {
		if row.progress > 0 && State(row.kind).end().state == "" {
			all = append(all, State(row.kind))
		}
	}
	return append(all, Ends()...)
}

func (s State) end() endRow {
	for _, row := range endTable {
		if row.state == s {
			return row
		}
	}
	return endRow{}
}

// Outcome returns what an end says about the verdict; it is empty for an end without one, and while
// work goes on.
func (s State) Outcome() Outcome { return s.end().outcome }

// Means returns a sentence about the state.
func (s State) Means() string {
	if row := s.end(); row.state != "" {
		return row.means
	}
	return FactKind(s).Means()
}

func (s State) progress() int { return FactKind(s).row().progress }

// Work is how far the work for an event has come.
type Work struct {
	State State `json:"state,omitempty"`
	// Done says that the work has ended, and Completed that its end is on record. A final failure
	// alone is an end to people who wait. But if the worker died before it could complete the
	// event, more may follow.
	Done      bool `json:"done,omitempty"`
	Completed bool `json:"completed,omitempty"`
}

// workClass is a row of the table of transitions: a class of work.
type workClass int

const (
	workGoesOn   workClass = iota
	workFailing            // failed for good, and no end is on record
	workFailed             // ended as failed
	workCanceled           // ended as canceled
	workEnded              // ended otherwise
	workClasses
)

// signal is a column of the table of transitions: a class of facts.
type signal int

const (
	signalReceived signal = iota // the event was accepted
	signalStep                   // any other kind of progress
	// the event was accepted or resolved again, and no image was ever found behind its reference
	signalAgain
	signalOther    // a kind that says nothing about progress, or a failure that is tried again
	signalFailure  // a failure that is not tried again
	signalDeployed // the end of the work, as deployed
	signalCanceled // as canceled
	signalEnded    // otherwise
	signals
)

// effect is what a transition does.
type effect int

const (
	effectNone    effect = iota
	effectAdvance        // to the further state of the two
	effectReopen         // to the fact's state, which is work that goes on
	effectFail           // to failed, without an end on record
	effectEnd            // to the end that the fact names
)

// transitions is the whole state machine. The first end of an event counts, with three exceptions.
// A failed event may end otherwise after all, unless somebody only cancels it. A failed event goes
// on if it was never completed, or never came to an image. And a commit that was being written
// while the event was canceled is there.
var transitions = [workClasses][signals]effect{
	workGoesOn: {
		signalReceived: effectAdvance, signalStep: effectAdvance, signalAgain: effectAdvance,
		signalOther: effectNone, signalFailure: effectFail, signalDeployed: effectEnd,
		signalCanceled: effectEnd, signalEnded: effectEnd},
	workFailing: {
		signalReceived: effectNone, signalStep: effectReopen, signalAgain: effectReopen,
		signalOther: effectNone, signalFailure: effectNone, signalDeployed: effectEnd,
		signalCanceled: effectEnd, signalEnded: effectEnd},
	workFailed: {
		signalReceived: effectNone, signalStep: effectNone, signalAgain: effectReopen,
		signalOther: effectNone, signalFailure: effectNone, signalDeployed: effectEnd,
		signalCanceled: effectNone, signalEnded: effectEnd},
	workCanceled: {
		signalReceived: effectNone, signalStep: effectNone, signalAgain: effectNone,
		signalOther: effectNone, signalFailure: effectNone, signalDeployed: effectEnd,
		signalCanceled: effectNone, signalEnded: effectNone},
	workEnded: {
		signalReceived: effectNone, signalStep: effectNone, signalAgain: effectNone,
		signalOther: effectNone, signalFailure: effectNone, signalDeployed: effectNone,
		signalCanceled: effectNone, signalEnded: effectNone},
}

// Next returns the work after a fact. Repeated says that the fact accepts or resolves an event again
// that never came to an image before: only that lets an event go on which has ended as failed.
func (w Work) Next(f Fact, repeated bool) Work {
	switch transitions[w.class()][signalOf(f, repeated)] {
	case effectAdvance:
		if next := State(f.Kind()); next.progress() > w.State.progress() {
			w.State = next
		}
	case effectReopen:
		return Work{State: State(f.Kind())}
	case effectFail:
		return Work{State: StateFailed, Done: true}
	case effectEnd:
		return Work{State: As[Completed](f).State, Done: true, Completed: true}
	}
	return w
}

func (w Work) class() workClass {
	switch {
	case !w.Done:
		return workGoesOn
	case !w.Completed:
		return workFailing
	case w.State == StateFailed:
		return workFailed
	case w.State == StateCanceled:
		return workCanceled
	}
	return workEnded
}

func signalOf(f Fact, repeated bool) signal {
	switch body := f.Body.(type) {
	case *Event, *Resolved:
		if repeated {
			return signalAgain
		}
	case *Completed:
		switch body.State {
		case StateDeployed:
			return signalDeployed
		case StateCanceled:
			return signalCanceled
		}
		return signalEnded
	case *Failed:
		if body.Final {
			return signalFailure
		}
		return signalOther
	}
	switch {
	case f.Kind() == FactReceived:
		return signalReceived
	case f.Kind().row().progress > 0:
		return signalStep
	}
	return signalOther
}
