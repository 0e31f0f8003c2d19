package e2e

import (
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// TestDeployedIsWhatGitHolds: a submission ends as deployed only if Git holds the image, whatever
// the history has; why and the API say what stands there; and what the facts say wrongly is
// corrected at the next start.
func TestDeployedIsWhatGitHolds(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	app := l.registry.Host() + "/team/app"
	spec := func(text string) images.Spec {
		clean := images.Clean()
		clean.Text = text
		return clean
	}
	old := l.push("team/app:v1.0.0", l.build(spec("old")))
	l.awaitState(old, pratique.StateDeployed)
	newer := l.push("team/app:v2.9.0", l.build(spec("newer")))
	l.awaitState(newer, pratique.StateDeployed)
	v2 := l.gitOutput("rev-parse", "main")
	ask := l.asked(l.token)

	// Back through submit: the commit of v1.0.0 is in the history, and Git holds v2.9.0.
	ask.run(t, "submit", app+":v1.0.0", "--wait").want(t, verb.Denied, "ALLOWED, AND SUPERSEDED: "+
		app+"@"+old.String(), "Git holds "+app+":v2.9.0@"+newer.String(), v2, "revert that commit")
	if got := l.gitOutput("rev-parse", "main"); got != v2 {
		t.Fatalf("something was committed: %s", l.gitOutput("log", "-1"))
	}
	ask.run(t, "why", app+"@"+old.String()).want(t, 0, "SUPERSEDED", "\nGit holds now\n",
		"another image, tag v2.9.0, "+newer.String())
	ask.run(t, "why", app+":v2.9.0").want(t, 0, "ALLOWED: ", "\nGit holds now\n",
		"this image, tag v2.9.0, since commit ")

	// A person takes v2.9.0 back.
	l.gitOutput("config", "user.name", "Somebody")
	l.gitOutput("config", "user.email", "a@b")
	l.gitOutput("update-ref", "refs/heads/main", l.gitOutput("commit-tree", "main^^{tree}", "-p",
		"main", "-m", "Revert"))
	revert := l.gitOutput("rev-parse", "main")
	ask.run(t, "submit", app+":v2.9.0", "--wait").want(t, verb.Denied, "ALLOWED, AND REVERTED: ",
		"Git holds ", "commit "+revert, "which is not ours")
	l.await(newer, "the correction", func(i api.Image) bool {
		return i.State == pratique.StateReverted && len(i.Drifted) > 0
	})
	stop()

	// While nobody looks, somebody writes v2.9.0 back, and then something else: what the facts say
	// is corrected at the start.
	l.gitOutput("update-ref", "refs/heads/main", v2)
	stop = l.serve()
	l.awaitState(newer, pratique.StateDeployed)
	stop()
	l.gitOutput("update-ref", "refs/heads/main", revert)
	stop = l.serve()
	l.awaitState(old, pratique.StateDeployed)
	image := l.awaitState(newer, pratique.StateReverted)
	if len(image.Drifted) == 0 || !strings.Contains(image.Drifted[0].Detail, "Git holds "+app) {
		t.Errorf("drifted: %+v", image.Drifted)
	}
	stop()

	// Nor is that kept from being seen by what cannot be read, or by a place that names the image.
	evil := pratique.DigestOf([]byte("evil")).String()
	if _, err := l.git.Advance(t.Context(), "config", "Somebody", fileSet{
		"clusters/production/kustomization.yaml": "images:\n  - name: " + app +
			"\n    newTag: evil\n    digest: " + evil + "\n",
		"clusters/production/decoy.yaml": "image: " + app + ":v1.0.0@" + old.String() +
			" # {\"$pratique\": \"" + app + "\"}\n",
		"clusters/production/notes.yaml": "a: b # {\"$pratique\": \"" + app + "\"\n",
	}); err != nil {
		t.Fatal(err)
	}
	l.serve()
	l.await(old, "the correction", func(i api.Image) bool {
		return i.State != pratique.StateDeployed && len(i.Drifted) > 0 &&
			strings.Contains(i.Drifted[0].Detail, evil)
	})
}
