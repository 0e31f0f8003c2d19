package index

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/pratique-dev/pratique"
)

// compareDeployments asks the index for every deployment, by name and by pages.
func (m *model) compareDeployments(t *testing.T, ix *Index) {
	t.Helper()
	for key, want := range m.deployments {
		got, err := ix.Deployment(key)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint(key), *want, got)
		for _, r := range want.Present {
			if image, err := ix.Image(pratique.Subject{Repository: key.Repository,
				Digest: r.Digest}); err != nil || !slices.Contains(image.Standing(), key.Target) {
				t.Fatalf("%s is in %s, and its record says %v, %v", r.Digest, key.Target,
					image.Standing(), err)
			}
		}
	}
	for _, q := range []DeploymentQuery{{Limit: 1}, {}, {Target: "t", Limit: 1},
		{Repository: repoA, Limit: 1}, {Repository: repoB, Target: "t2"}, {Target: "none"}} {
		var want []pratique.Deployment
		for key, d := range m.deployments {
			if (q.Target == "" || q.Target == key.Target) &&
				(q.Repository.IsZero() || q.Repository == key.Repository) {
				want = append(want, *d)
			}
		}
		slices.SortFunc(want, func(a, b pratique.Deployment) int {
			return bytes.Compare(deploymentKey(a.DeploymentKey), deploymentKey(b.DeploymentKey))
		})
		var got []pratique.Deployment
		for next := q; ; {
			page, err := ix.Deployments(next)
			if err != nil || q.Limit > 0 && len(page.Items) > q.Limit {
				t.Fatalf("%+v: %d items, %v", next, len(page.Items), err)
			}
			got = append(got, page.Items...)
			if next.Cursor = page.Next; next.Cursor == "" {
				break
			}
		}
		equal(t, fmt.Sprintf("%+v", q), want, got)
	}
}

// TestReplacedImagesAreNotDeployed: an image that another one replaced is superseded at once, and
// not when somebody has looked at Git. It is deployed again when a fact says so.
func TestReplacedImagesAreNotDeployed(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	a, b := subject(repoA, "a"), subject(repoA, "b")
	seq := uint64(0)
	add := func(s pratique.Subject, event string, body pratique.Body) {
		t.Helper()
		seq++
		apply(t, ix, pratique.Entry{Seq: seq, Fact: pratique.Fact{Subject: s, Event: event,
			At: epoch, By: "deploy@test", Body: body}})
	}
	states := func(wantA, wantB pratique.State) {
		t.Helper()
		for s, want := range map[pratique.Subject]pratique.State{a: wantA, b: wantB} {
			r, err := ix.Image(s)
			if err != nil || r.State() != want {
				t.Errorf("fact %d: %s is %s, want %s, %v", seq, s, r.State(), want, err)
			}
			page, err := ix.List(Query{State: want})
			if err != nil || !slices.ContainsFunc(page.Items, func(i Summary) bool {
				return i.Subject == s && (i.Deployments == 1) == (want == "deployed")
			}) {
				t.Errorf("fact %d: %s is not listed as %s: %+v, %v", seq, s, want, page.Items, err)
			}
		}
	}
	for _, s := range []pratique.Subject{a, b} {
		id := s.Digest.Hex()[:6]
		add(s, id, &pratique.Commit{Target: "prod", Tag: "1", ID: "c" + id})
		add(s, id, &pratique.Completed{State: pratique.StateDeployed})
	}
	states(pratique.StateSuperseded, pratique.StateDeployed)
	if e, err := ix.Event(a.Digest.Hex()[:6]); err != nil || e.State != pratique.StateDeployed {
		t.Errorf("the event of the first push ended as %s, %v", e.State, err) // that stays
	}
	add(b, "", &pratique.Drifted{Target: "prod", State: pratique.StateReverted})
	add(a, "", &pratique.Commit{Target: "prod", Tag: "1", ID: "by hand"})
	states(pratique.StateDeployed, pratique.StateReverted)
}

func TestDeploymentsRefuse(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	for i := range 3 {
		apply(t, ix, pratique.Entry{Seq: uint64(i + 1),
			Fact: pratique.Fact{Subject: subject(repoA, "a"),
				Body: &pratique.Commit{Target: fmt.Sprint(i)}}})
	}
	page, err := ix.Deployments(DeploymentQuery{Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	for name, q := range map[string]DeploymentQuery{
		"limit": {Limit: MaxLimit + 1}, "negative": {Limit: -1}, "garbage": {Cursor: "???"},
		"short": {Cursor: "AQ"}, "other filters": {Cursor: page.Next, Target: "0"},
	} {
		if _, err := ix.Deployments(q); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ix.Deployment(pratique.DeploymentKey{Target: "0",
		Repository: repoB}); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("a deployment that is not there: %v", err)
	}
}
