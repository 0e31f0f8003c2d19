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
	s.edge(StageDeploy + ":before-commit")
	// What the commit says of verdict and policy, the gate takes from the summary that it verified.
	out, err := s.Gate.Deploy(ctx, pratique.Change{
		Subject: w.Subject, Tag: w.Event.Ref.Tag, Event: w.Event.ID, PushedAt: pushedAt(w.Event),
	})
	s.edge(StageDeploy + ":after-commit")
	// One target may have its commit when another fails. What was committed goes on record either way; if that
	// fails, its kind speaks first, so that there is another try.
	for _, c := range out.Commits {
		if lost := s.record(ctx, StageDeploy, w, w.Subject, pratique.Fact{Kind: pratique.FactDeployed, Deployed: &c}); lost != nil {
			return errors.Join(lost, err)
		}
	}
	switch pratique.KindOf(err) {
	case pratique.Unverified, pratique.Stale:
		// The summary was made with another policy or verifier id, has grown too old in the queue, or somebody
		// replaced it: one that is made now may serve.
		return s.sendBack(ctx, StageAttest, w, err)
	}
	if err != nil {
		return err
	}
	switch {
	case out.Superseded:
		return s.settle(ctx, StageDeploy, w, pratique.StateSuperseded, out.Detail)
	case len(out.Commits) == 0:
		return s.settle(ctx, StageDeploy, w, pratique.StateAllowed, out.Detail)
	default:
		return s.settle(ctx, StageDeploy, w, pratique.StateDeployed, "")
	}
}

// pushedAt orders pushes of different tags. A sender's clock that is ahead must not outrank what comes after.
func pushedAt(e pratique.Event) time.Time {
	if e.OccurredAt.IsZero() || e.OccurredAt.After(e.ReceivedAt) {
		return e.ReceivedAt
	}
	return e.OccurredAt
}
