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
	Deploy(ctx context.Context, c pratique.Change) (deploy.Outcome, error)
}

// Handle does the stage for one message.
func (s *Deploy) Handle(ctx context.Context, body []byte) error {
	return unlessCanceled(s.handle(ctx, body))
}

func (s *Deploy) handle(ctx context.Context, body []byte) error {
	w, err := decodeWork(body)
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
		return s.sendBack(ctx, pratique.StageAttest, w, err)
	} else if err != nil {
		return err
	}
	if w.Unconfirmed != "" {
		return s.complete(ctx, pratique.StageDeploy, w, pratique.StateSuperseded, "")
	}
	s.edge(pratique.StageDeploy + ":before-commit")
	// What the commit says of verdict and policy, the gate takes from the summary that it verified.
	out, err := s.Gate.Deploy(ctx, pratique.Change{
		Subject: w.Subject, Tag: w.Event.Ref.Tag, Event: w.Event.ID, PushedAt: pushedAt(w.Event),
		Asked: w.Event.Source == pratique.SourceSubmission, RefreshOnly: w.Event.RefreshOnly, AllowOlder: w.Event.AllowOlder,
	})
	s.edge(pratique.StageDeploy + ":after-commit")
	// One target may have its commit when another fails. What was committed goes on record either way; if that
	// fails, its kind speaks first, so that there is another try.
	for _, c := range out.Commits {
		c = excerptOfCommit(c)
		if lost := s.record(ctx, pratique.StageDeploy, w, w.Subject, pratique.Fact{Body: &c}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	for _, d := range out.Drifted {
		if lost := s.record(ctx, pratique.StageDeploy, w, w.Subject, pratique.Fact{Body: &d}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	s.tell(out.Problems)
	switch pratique.KindOf(err) {
	case pratique.Unverified, pratique.Stale:
		// The summary was made with another policy or verifier id, has grown too old in the queue, or somebody
		// replaced it: one that is made now may serve.
		return s.sendBack(ctx, pratique.StageAttest, w, err)
	}
	if err != nil {
		return err
	}
	completed := pratique.Completed{State: pratique.StateDeployed, Detail: out.Detail, Problems: bounded(out.Problems)}
	switch {
	case out.Reverted:
		completed.State = pratique.StateReverted
	case out.Superseded:
		completed.State = pratique.StateSuperseded
	case len(out.Commits) == 0:
		completed.State = pratique.StateAllowed
	}
	return s.completeAs(ctx, pratique.StageDeploy, w, completed)
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
