package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// ends is what came of a change in all targets that ask for it.
type ends struct {
	Commits                        []pratique.Commit
	Superseded, Reverted, NoTarget bool
	Detail                         string
	Drifted                        []pratique.Drifted
	Problems                       []deploy.TargetProblem
}

// deployAll brings a change to every target that asks for it, as the deploy stage does one by one.
func deployAll(ctx context.Context, g *deploy.Gate, c pratique.Change) (ends, error) {
	var all ends
	var failed []error
	var details []string
	names, why := g.Targets(c.Subject.Repository, c.Tag)
	if len(names) == 0 {
		all.NoTarget, all.Detail = true, why
		return all, g.Check(ctx, c.Subject)
	}
	for _, name := range names {
		o, err := g.Deploy(ctx, name, c)
		if err != nil {
			failed = append(failed, err)
		}
		if o.Commit != nil {
			all.Commits = append(all.Commits, *o.Commit)
		}
		if o.Drifted != nil {
			all.Drifted = append(all.Drifted, *o.Drifted)
		}
		if o.Detail != "" {
			details = append(details, o.Detail)
		}
		all.Problems = append(all.Problems, o.Problems...)
		all.Superseded = all.Superseded || o.State == pratique.StateSuperseded
		all.Reverted = all.Reverted || o.State == pratique.StateReverted
	}
	all.Superseded = all.Superseded && !all.Reverted
	all.NoTarget = !all.Reverted && !all.Superseded && len(all.Commits) == 0 && len(failed) == 0
	all.Detail = strings.Join(details, "; ")
	return all, worst(failed)
}

// worst returns the errors as one, of the kind of the first that is worth another try.
func worst(failed []error) error {
	if len(failed) == 0 {
		return nil
	}
	kind := pratique.KindOf(failed[0])
	for _, err := range failed {
		if k := pratique.KindOf(err); kind.Permanent() && !k.Permanent() {
			kind = k
		}
	}
	return pratique.Wrap(kind, "deploy", "", errors.Join(failed...))
}

// TestTargetsThatAreGone: a message may name a target that the configuration does not have any
// longer.
func TestTargetsThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, err := w.gate.Deploy(t.Context(), "nosuch", change(one, "event-1"))
	if err != nil || o.State != pratique.StateAllowed || o.Commit != nil ||
		!strings.Contains(o.Detail, "nosuch") {
		t.Errorf("%+v, %v", o, err)
	}
}
