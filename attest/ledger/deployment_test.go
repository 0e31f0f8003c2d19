package ledger_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

func deployed(s pratique.Subject, target, tag, commit string) pratique.Fact {
	return pratique.Fact{Subject: s, By: "deploy@test", Event: "e" + commit,
		Body: &pratique.Commit{Target: target, Tag: tag, ID: commit}}
}

// TestDeployment: the facts of one deployment are found among those of others, whatever its digests
// and its target's name.
func TestDeployment(t *testing.T) {
	t.Parallel()
	l, js, _ := start(t)
	const target = "prod / eu.>*"
	a, b, other := subject("team/app", "A"), subject("team/app", "B"), subject("team/other", "A")
	key := pratique.DeploymentKey{Target: target, Repository: a.Repository}
	if _, found, err := l.Deployment(t.Context(), key); found || err != nil {
		t.Fatalf("in an empty ledger: %v, %v", found, err)
	}
	var want pratique.Deployment
	for i, f := range []pratique.Fact{
		deployed(a, target, "1", "c1"), deployed(other, target, "1", "c2"),
		deployed(a, "dev", "1", "c3"), matched(a, 1),
		settled(a, "ec1", pratique.StateDeployed), deployed(b, target, "1", "c4"),
		{Subject: b, By: "deploy@test", Event: "ec4", Body: &pratique.Answered{Target: target}},
		{Subject: b, By: "deploy@test", Body: &pratique.Drifted{Target: target,
			State: pratique.StateReverted}}, deployed(a, target, "1", "c5"),
		deployed(b, "dev", "1", "c6"),
	} {
		f.At = clock()()
		want.Fold(add(t, l, f), f)
		if got, found, err := l.Deployment(t.Context(), key); !found || err != nil ||
			!cmp.Equal(got, want, byValue) {
			t.Fatalf("after %d facts: %v, %v\n%s", i+1, found, err, cmp.Diff(want, got, byValue))
		}
	}
	if len(want.Present) != 1 || want.Present[0].Commit != "c5" || len(want.Earlier) != 1 {
		t.Errorf("%+v", want)
	}
	for i := range 600 { // more than one batch
		f := deployed(a, target, "1", fmt.Sprint("d", i))
		f.At = clock()()
		want.Fold(add(t, l, f), f)
	}
	if got, _, err := l.Deployment(t.Context(), key); err != nil || !cmp.Equal(got, want, byValue) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got, byValue))
	}
	subject, _, _, err := l.Message(deployed(a, target, "1", "c1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), subject, []byte("no fact")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Deployment(t.Context(), key); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("what is no fact: %v", err)
	}
}
