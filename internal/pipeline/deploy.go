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
	return unlessCancelled(s.handle(ctx, body))
}

func (s *Deploy) handle(ctx context.Context, body []byte) error {
	w, err := decodeWork(body)
	if err != nil {
		return err
	}
	if err := s.goesOn(ctx, StageDeploy, w); err != nil {
		return err
	}
	if _, over, err := s.Ledger.Settled(ctx, w.Subject, w.Event.ID); err != nil || over {
		return err // its acknowledgement was lost
	}
	// The registry may not have taken a denial yet, and its passing summary would hold for a while.
	if last, ok, err := s.Ledger.Last(ctx, w.Subject, pratique.FactJudged); err != nil {
		return err
	} else if ok && last.Judged.Verdict.Outcome != pratique.Allow {
		w.Verdict = last.Judged.Digest
		return s.settle(ctx, StageDeploy, w, pratique.StateDenied, summary(last.Judged.Verdict))
	}
	if err := s.contradicted(ctx, w.Subject); pratique.KindOf(err) == pratique.Stale {
		return s.sendBack(ctx, StageAttest, w, err)
	} else if err != nil {
		return err
	}
	if w.Unconfirmed != "" {
		return s.settle(ctx, StageDeploy, w, pratique.StateSuperseded, "")
	}
	s.edge(StageDeploy + ":before-commit")
	// What the commit says of verdict and policy, the gate takes from the summary that it verified.
	out, err := s.Gate.Deploy(ctx, pratique.Change{
		Subject: w.Subject, Tag: w.Event.Ref.Tag, Event: w.Event.ID, PushedAt: pushedAt(w.Event),
		Asked: w.Event.Source == pratique.SourceSubmission, RefreshOnly: w.Event.RefreshOnly, AllowOlder: w.Event.AllowOlder,
	})
	s.edge(StageDeploy + ":after-commit")
	// One target may have its commit when another fails. What was committed goes on record either way; if that
	// fails, its kind speaks first, so that there is another try.
	for _, c := range out.Commits {
		c = excerptOfCommit(c)
		if lost := s.record(ctx, StageDeploy, w, w.Subject, pratique.Fact{Kind: pratique.FactDeployed, Deployed: &c}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	for _, d := range out.Drifted {
		if lost := s.record(ctx, StageDeploy, w, w.Subject, pratique.Fact{Kind: pratique.FactDrifted, Drifted: &d}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	s.tell(out.Problems)
	switch pratique.KindOf(err) {
	case pratique.Unverified, pratique.Stale:
		// The summary was made with another policy or verifier id, has grown too old in the queue, or somebody
		// replaced it: one that is made now may serve.
		return s.sendBack(ctx, StageAttest, w, err)
	}
	if err != nil {
		return err
	}
	settled := pratique.Settled{State: pratique.StateDeployed, Detail: out.Detail, Problems: bounded(out.Problems)}
	switch {
	case out.Reverted:
		settled.State = pratique.StateReverted
	case out.Superseded:
		settled.State = pratique.StateSuperseded
	case len(out.Commits) == 0:
		settled.State = pratique.StateAllowed
	}
	return s.settleAs(ctx, StageDeploy, w, settled)
}

// contradicted returns a Stale error if an index is allowed, and one of its images was denied since.
func (s *Deploy) contradicted(ctx context.Context, index pratique.Subject) error {
	seen, ok, err := s.Ledger.Last(ctx, index, pratique.FactSeen)
	if err != nil || !ok {
		return err
	}
	for _, c := range seen.Seen.Manifest.Children {
		last, ok, err := s.Ledger.Last(ctx, index.Sibling(c.Digest), pratique.FactJudged)
		if err != nil {
			return err
		}
		if ok && last.Judged.Verdict.Outcome != pratique.Allow {
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
