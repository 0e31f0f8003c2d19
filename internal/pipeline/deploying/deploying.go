// Package deploying is the stage that hands an allowed subject to the gate, and the comparison of
// what was deployed with what Git holds. The gate trusts nothing in a message: it verifies the
// signed summary in the registry itself.
package deploying

import (
	"context"
	"errors"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// Stage deploys allowed images.
type Stage struct {
	pipeline.Base
	Answers Answers
	Gate    Gate
	// Problems, if set, is called with the places in config repositories that could not be edited.
	Problems func([]deploy.TargetProblem)
}

// Answers finds in the ledger how the work for an event ended in one target.
type Answers interface {
	Answered(ctx context.Context, s pratique.Subject, event, target string) (pratique.Fact, bool, error)
}

// Gate writes changes to config repositories.
type Gate interface {
	// Targets returns the targets that ask for an image under a tag, or why there are none.
	Targets(repository pratique.Repository, tag string) (names []string, why string)
	// Check returns an error unless the subject may be deployed.
	Check(ctx context.Context, s pratique.Subject) error
	// Deploy writes a change to one target.
	Deploy(ctx context.Context, target string, c pratique.Change) (deploy.Outcome, error)
}

// Handle processes one message. Work without a target becomes one message for each target that asks
// for the image, so that a slow repository delays no other. The event ends when all targets have
// answered.
func (s *Stage) Handle(ctx context.Context, body []byte) error {
	return pipeline.IgnoreCanceled(s.handle(ctx, body))
}

func (s *Stage) handle(ctx context.Context, body []byte) error {
	w, ended, err := s.Begin(ctx, body)
	if err != nil || ended {
		return err
	}
	// The registry may not show the newest denial yet. Its passing summary would be accepted for a
	// while.
	if last, err := pipeline.Newest[pratique.Evaluated](ctx, s.Facts, w.Subject); err != nil {
		return err
	} else if last != nil && last.Verdict.Outcome != pratique.Allow {
		w.Verdict = last.Digest
		return s.Complete(ctx, w, pratique.StateDenied,
			pipeline.FirstReason(last.Verdict))
	}
	if err := s.checkChildren(ctx, w.Subject); pratique.KindOf(err) == pratique.Stale {
		return s.attestAgain(ctx, w, err)
	} else if err != nil {
		return err
	}
	if w.Unconfirmed != "" {
		return s.Complete(ctx, w, pratique.StateSuperseded, "")
	}
	if w.Target == "" {
		return s.fanOut(ctx, w)
	}
	return s.write(ctx, w)
}

// fanOut enqueues a message for each target. A single target is written at once.
func (s *Stage) fanOut(ctx context.Context, w pipeline.Work) error {
	names, why := s.Gate.Targets(w.Subject.Repository, w.Event.Ref.Tag)
	w.Targets = names
	switch len(names) {
	case 0:
		if err := s.Gate.Check(ctx, w.Subject); isRefused(err) {
			return s.attestAgain(ctx, w, err)
		} else if err != nil {
			return err
		}
		return s.Complete(ctx, w, pratique.StateAllowed, why)
	case 1:
		w.Target = names[0]
		return s.write(ctx, w)
	}
	for _, name := range names {
		w.Target = name
		if err := s.Enqueue(ctx, pratique.StageDeploy, w); err != nil {
			return err
		}
	}
	return nil
}

// write has the gate write to one target, and records the outcome.
func (s *Stage) write(ctx context.Context, w pipeline.Work) error {
	if _, answered, err := s.Answers.Answered(ctx, w.Subject, w.Event.ID, w.Target); err != nil {
		return err
	} else if answered {
		return s.completeIfAnswered(ctx, w)
	}
	s.AtEdge(pratique.StageDeploy + ":before-commit")
	// The gate takes the verdict and the profile in the commit message from the summary that it
	// verified.
	out, err := s.Gate.Deploy(ctx, w.Target, pratique.Change{
		Subject: w.Subject, Tag: w.Event.Ref.Tag, Event: w.Event.ID, PushedAt: w.Event.PushedAt(),
		Asked: w.Event.Source == pratique.SourceSubmission, RefreshOnly: w.Event.RefreshOnly,
		AllowOlder: w.Event.AllowOlder,
	})
	s.AtEdge(pratique.StageDeploy + ":after-commit")
	// Some places may have been written although another could not be. The commit is recorded in any
	// case. If that fails, its error comes first, so that the job is retried.
	if out.Commit != nil {
		c := excerptOfCommit(*out.Commit)
		if recordErr := s.Record(ctx, w, w.Subject, &c); recordErr != nil {
			return errors.Join(recordErr, err)
		}
	}
	if out.Drifted != nil {
		if recordErr := s.Record(ctx, w, w.Subject, out.Drifted); recordErr != nil {
			return errors.Join(recordErr, err)
		}
	}
	if s.Problems != nil && len(out.Problems) > 0 {
		s.Problems(out.Problems)
	}
	if isRefused(err) {
		return s.attestAgain(ctx, w, err)
	}
	if err != nil {
		return err
	}
	return s.recordAnswer(ctx, w, pratique.Answered{State: out.State, Detail: out.Detail,
		Problems: excerptOfProblems(out.Problems)})
}

// isRefused reports whether the gate refused the summary: it names another profile or verifier id,
// has become too old in the queue, or somebody replaced it. A new summary may be accepted.
func isRefused(err error) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.Unverified || kind == pratique.Stale
}

// attestAgain sends the event back, for all of its targets. Targets that have answered are not
// written again.
func (s *Stage) attestAgain(ctx context.Context, w pipeline.Work, cause error) error {
	w.Target, w.Targets = "", nil
	return s.Restart(ctx, pratique.StageAttest, w, cause)
}

// recordAnswer records how the work ended in one target. The last answer ends the event.
func (s *Stage) recordAnswer(ctx context.Context, w pipeline.Work, a pratique.Answered) error {
	a.Target, a.Detail = w.Target, pipeline.Excerpt(a.Detail)
	if err := s.Record(ctx, w, w.Subject, &a); err != nil {
		return err
	}
	return s.completeIfAnswered(ctx, w)
}

// completeIfAnswered ends the event if all of its targets have answered. It is called after each
// answer is recorded, so the last call sees all of them.
func (s *Stage) completeIfAnswered(ctx context.Context, w pipeline.Work) error {
	answers := make([]pratique.Answered, len(w.Targets))
	for i, name := range w.Targets {
		f, answered, err := s.Answers.Answered(ctx, w.Subject, w.Event.ID, name)
		if err != nil || !answered {
			return err
		}
		answers[i] = *pratique.As[pratique.Answered](f)
	}
	return s.CompleteAs(ctx, w, pratique.EndOf(answers))
}

// RecordFailure is [pipeline.Base.RecordFailure]. A target that could not be written is an answer,
// and the other targets go on.
func (s *Stage) RecordFailure(ctx context.Context, f pipeline.Failure) error {
	return s.RecordFailureAs(ctx, f, func(w pipeline.Work, detail string) error {
		if w.Target == "" {
			return s.Complete(ctx, w, pratique.StateFailed, detail)
		}
		return s.recordAnswer(ctx, w, pratique.Answered{State: pratique.StateFailed, Detail: detail})
	})
}

// checkChildren returns a Stale error if one of an index's images was denied after the index was
// allowed.
func (s *Stage) checkChildren(ctx context.Context, index pratique.Subject) error {
	resolved, err := pipeline.Newest[pratique.Resolved](ctx, s.Facts, index)
	if err != nil || resolved == nil {
		return err
	}
	for _, c := range resolved.Manifest.Children {
		last, err := pipeline.Newest[pratique.Evaluated](ctx, s.Facts, index.Sibling(c.Digest))
		if err != nil {
			return err
		}
		if last != nil && last.Verdict.Outcome != pratique.Allow {
			return pratique.Errorf(pratique.Stale, "deploy "+index.String(),
				"its image %s for %s has been denied since", c.Digest, c.Platform)
		}
	}
	return nil
}
