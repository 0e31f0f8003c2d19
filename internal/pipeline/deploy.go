package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// Deploy is the stage that hands an allowed subject to the gate. The gate trusts nothing in the message: it
// verifies the signed summary in the registry itself.
type Deploy struct {
	Base
	Gate Gate
	// Problems is told of places in config repositories that could not be edited; it may be nil.
	Problems func([]deploy.TargetProblem)
}

// Gate writes changes to config repositories.
type Gate interface {
	// Targets returns the targets that ask for an image under a tag, or why there are none.
	Targets(repository pratique.Repository, tag string) (names []string, why string)
	// Check says whether the subject may be deployed at all.
	Check(ctx context.Context, s pratique.Subject) error
	// Deploy writes a change to one target.
	Deploy(ctx context.Context, target string, c pratique.Change) (deploy.Outcome, error)
}

// Handle does the stage for one message. Work without a target becomes one message for each target that asks for the image,
// so a slow repository delays nobody else. The event ends when all of them have answered.
func (s *Deploy) Handle(ctx context.Context, body []byte) error {
	return unlessCanceled(s.handle(ctx, body))
}

func (s *Deploy) handle(ctx context.Context, body []byte) error {
	w, err := DecodeWork(body)
	if err != nil {
		return err
	}
	if err := s.goesOn(ctx, pratique.StageDeploy, w); err != nil {
		return err
	}
	if _, over, err := s.Ledger.Completed(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // its acknowledgement was lost
	}
	// The registry may not have taken a denial yet, and its passing summary would hold for a while.
	if last, err := newest[pratique.Evaluated](ctx, s.Ledger, w.Subject); err != nil {
		return err
	} else if last != nil && last.Verdict.Outcome != pratique.Allow {
		w.Verdict = last.Digest
		return s.complete(ctx, pratique.StageDeploy, w, pratique.StateDenied, summary(last.Verdict))
	}
	if err := s.contradicted(ctx, w.Subject); pratique.KindOf(err) == pratique.Stale {
		return s.attestAgain(ctx, w, err)
	} else if err != nil {
		return err
	}
	if w.Unconfirmed != "" {
		return s.complete(ctx, pratique.StageDeploy, w, pratique.StateSuperseded, "")
	}
	if w.Target == "" {
		return s.fanOut(ctx, w)
	}
	return s.write(ctx, w)
}

// fanOut makes one message for each target. One target needs none.
func (s *Deploy) fanOut(ctx context.Context, w Work) error {
	names, why := s.Gate.Targets(w.Subject.Repository, w.Event.Ref.Tag)
	w.Targets = names
	switch len(names) {
	case 0:
		if err := s.Gate.Check(ctx, w.Subject); refused(err) {
			return s.attestAgain(ctx, w, err)
		} else if err != nil {
			return err
		}
		return s.complete(ctx, pratique.StageDeploy, w, pratique.StateAllowed, why)
	case 1:
		w.Target = names[0]
		return s.write(ctx, w)
	}
	for _, name := range names {
		w.Target = name
		if err := s.pass(ctx, pratique.StageDeploy, w); err != nil {
			return err
		}
	}
	return nil
}

// write has the gate write to one target, and records what came of it.
func (s *Deploy) write(ctx context.Context, w Work) error {
	if _, answered, err := s.Ledger.Answered(ctx, w.Subject, w.Event.ID, w.Target); err != nil {
		return err
	} else if answered {
		return s.finish(ctx, w)
	}
	s.edge(pratique.StageDeploy + ":before-commit")
	// What the commit says of verdict and profile, the gate takes from the summary that it verified.
	out, err := s.Gate.Deploy(ctx, w.Target, pratique.Change{
		Subject: w.Subject, Tag: w.Event.Ref.Tag, Event: w.Event.ID, PushedAt: pushedAt(w.Event),
		Asked: w.Event.Source == pratique.SourceSubmission, RefreshOnly: w.Event.RefreshOnly, AllowOlder: w.Event.AllowOlder,
	})
	s.edge(pratique.StageDeploy + ":after-commit")
	// Some places may have been written when another cannot be. What was committed goes on record either way; if that
	// fails, its kind speaks first, so that there is another try.
	if out.Commit != nil {
		c := excerptOfCommit(*out.Commit)
		if lost := s.record(ctx, pratique.StageDeploy, w, w.Subject, pratique.Fact{Body: &c}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	if out.Drifted != nil {
		if lost := s.record(ctx, pratique.StageDeploy, w, w.Subject, pratique.Fact{Body: out.Drifted}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	s.tell(out.Problems)
	if refused(err) {
		return s.attestAgain(ctx, w, err)
	}
	if err != nil {
		return err
	}
	return s.answer(ctx, w, pratique.Answered{State: out.State, Detail: out.Detail, Problems: bounded(out.Problems)})
}

// refused says whether the gate does not accept the summary: it was made with another profile or verifier id, has grown too
// old in the queue, or somebody replaced it. One that is made now may serve.
func refused(err error) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.Unverified || kind == pratique.Stale
}

// attestAgain sends the event back, for all of its targets: those that have answered are not asked again.
func (s *Deploy) attestAgain(ctx context.Context, w Work, cause error) error {
	w.Target, w.Targets = "", nil
	return s.sendBack(ctx, pratique.StageAttest, w, cause)
}

// answer records how the work ends in one target, and ends the event if it is the last one.
func (s *Deploy) answer(ctx context.Context, w Work, a pratique.Answered) error {
	a.Target, a.Detail = w.Target, pratique.Excerpt(a.Detail, mostText)
	if err := s.record(ctx, pratique.StageDeploy, w, w.Subject, pratique.Fact{Body: &a}); err != nil {
		return err
	}
	return s.finish(ctx, w)
}

// finish ends the event if all of its targets have answered. Whoever answers looks afterwards, so the last one sees all.
func (s *Deploy) finish(ctx context.Context, w Work) error {
	answers := make([]pratique.Answered, len(w.Targets))
	for i, name := range w.Targets {
		f, answered, err := s.Ledger.Answered(ctx, w.Subject, w.Event.ID, name)
		if err != nil || !answered {
			return err
		}
		answers[i] = *pratique.As[pratique.Answered](f)
	}
	return s.completeAs(ctx, pratique.StageDeploy, w, pratique.EndOf(answers))
}

// Failed is [Base.Failed]. A target that could not be written is an answer, too, and the others go on.
func (s *Deploy) Failed(ctx context.Context, stage string, body []byte, attempt int, cause error, final bool) error {
	return s.failed(ctx, stage, body, attempt, cause, final, func(w Work, detail string) error {
		if w.Target == "" {
			return s.complete(ctx, stage, w, pratique.StateFailed, detail)
		}
		return s.answer(ctx, w, pratique.Answered{State: pratique.StateFailed, Detail: detail})
	})
}

// contradicted returns a Stale error if an index is allowed, and one of its images was denied since.
func (s *Deploy) contradicted(ctx context.Context, index pratique.Subject) error {
	resolved, err := newest[pratique.Resolved](ctx, s.Ledger, index)
	if err != nil || resolved == nil {
		return err
	}
	for _, c := range resolved.Manifest.Children {
		last, err := newest[pratique.Evaluated](ctx, s.Ledger, index.Sibling(c.Digest))
		if err != nil {
			return err
		}
		if last != nil && last.Verdict.Outcome != pratique.Allow {
			return pratique.Errorf(pratique.Stale, "deploy "+index.String(), "its image %s for %s was denied since", c.Digest, c.Platform)
		}
	}
	return nil
}

// tell hands the problems to operators.
func (s *Deploy) tell(problems []deploy.TargetProblem) {
	if s.Problems != nil && len(problems) > 0 {
		s.Problems(problems)
	}
}

// bounded are the problems that a fact has room for: first those for which the change itself waits.
func bounded(problems []deploy.TargetProblem) []pratique.PlaceProblem {
	var all []pratique.PlaceProblem
	for _, waits := range []bool{true, false} {
		for _, p := range problems {
			if p.Waits == waits && len(all) < pratique.MaxProblems {
				all = append(all, pratique.PlaceProblem{Target: p.Target, Problem: pratique.Problem{
					Path: pratique.Excerpt(p.Path, mostPath), Line: p.Line, Reason: pratique.Excerpt(p.Reason, mostPath),
				}})
			}
		}
	}
	return all
}

// pushedAt orders pushes of different tags. A sender's clock that is ahead must not outrank what comes after.
func pushedAt(e pratique.Event) time.Time {
	if e.OccurredAt.IsZero() || e.OccurredAt.After(e.ReceivedAt) {
		return e.ReceivedAt
	}
	return e.OccurredAt
}
