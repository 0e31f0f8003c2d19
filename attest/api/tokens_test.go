package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

const (
	teamToken    = "team-secret-0123456789abc"
	oldToken     = "rollback-secret-0123456789"
	bothToken    = "operate-team-secret-01234"
	onlyTeam     = `only images of registry.example/team/*, ghcr.io/team/**, and `
	otherProject = "registry.example/payments/app"
)

// teams are tokens that are for some repositories, or may go back.
func teams() api.Auth {
	globs := []pratique.Glob{"registry.example/team/*", "ghcr.io/team/**"}
	auth := operators()
	auth.Tokens = append(auth.Tokens,
		api.Token{Name: "team", Secret: teamToken, Submit: true, Repositories: globs},
		api.Token{Name: "old", Secret: oldToken, Submit: true, Operate: true, Rollback: true},
		api.Token{Name: "lead", Secret: bothToken, Operate: true, Repositories: globs},
	)
	return auth
}

func TestTokensHaveRepositories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, teams())
	const path = "/api/v1/submissions"
	for image, status := range map[string]int{
		"registry.example/team/app:1.0": 202, "ghcr.io/team/a/b:1": 202,
		"registry.example/team/app@" + digest("a").String(): 202,
		otherProject + ":1": 403, "registry.example/team:1": 403,
		"registry.example/team/app/sub:1": 403, "registry.example/teams/app:1": 403,
		"other.example/team/app:1": 403, "registry.example:443/team/app:1": 403,
	} {
		res, raw := w.ask("POST", path, teamToken, `{"image":"`+image+`"}`)
		if res.StatusCode != status {
			t.Errorf("%s: %d %s, want %d", image, res.StatusCode, raw, status)
		}
	}
	if len(w.events) != 3 {
		t.Errorf("%d events were made", len(w.events))
	}
	w.wantProblem(403, "token team may submit "+onlyTeam+otherProject+" is none of them", "POST",
		path, teamToken, `{"image":"`+otherProject+`:1"}`)
	w.wantProblem(403, "the token auditor may read, and not submit", "POST", path, readToken,
		`{"image":"`+otherProject+`:1"}`)
	// A token without repositories is for all of them.
	if res, raw := w.ask("POST", path, submitToken, `{"image":"`+otherProject+
		`:1"}`); res.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", res.StatusCode, raw)
	}
}

func TestOnlyWithRollbackMayATokenGoBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, teams())
	for token, want := range map[string]bool{submitToken: false, teamToken: false, oldToken: true} {
		w.events = nil
		if res, raw := w.ask("POST", "/api/v1/submissions", token,
			`{"image":"registry.example/team/app:1.0"}`); res.StatusCode != http.StatusAccepted {
			t.Fatalf("%d %s", res.StatusCode, raw)
		}
		if e := w.events[0]; e.AllowOlder != want || e.RefreshOnly || e.Actor == "" {
			t.Errorf("%+v, want allowOlder %t", e, want)
		}
	}
}

func TestOperatorsHaveRepositories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, teams())
	foreign := pratique.Subject{Repository: pratique.Repository{Registry: "registry.example",
		Path: "payments/app"}, Digest: digest("p")}
	w.facts(seen("theirs", "1", foreign), seen("dead", "1", foreign),
		settled("dead", foreign, pratique.StateFailed),
		seen("gone", "1", foreign), settled("gone", foreign, pratique.StateCanceled),
		seen("ours", "1", subject("a")),
		settled("nothing known", pratique.Subject{}, pratique.StateFailed))
	const path = "/api/v1/jobs/"
	const refused = " only jobs of registry.example/team/*, ghcr.io/team/**, and registry.example/payments/app"
	w.wantProblem(403, "token lead may cancel"+refused, "POST", path+"theirs/cancel", bothToken, "{}")
	// it is not even told that it is over
	w.wantProblem(403, refused, "POST", path+"gone/cancel", bothToken, "{}")
	w.wantProblem(403, refused, "POST", path+"dead/requeue", bothToken, "")
	w.wantProblem(403, "the token team may not cancel or requeue: that needs operate: true", "POST",
		path+"ours/cancel", teamToken, "{}")
	if res, raw := w.ask("POST", path+"ours/cancel", bothToken, "{}"); res.StatusCode != http.StatusOK {
		t.Errorf("%d %s", res.StatusCode, raw)
	}
	var s api.Submission
	if w.get("/api/v1/submissions/theirs", &s); s.Done {
		t.Errorf("%+v", s)
	}
}

// Requeuing asks for no more than what is requeued, and names who asked.
func TestRequeueKeepsWhatTheEventAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, teams())
	for id, change := range map[string]func(*pratique.Event){
		"swept": func(e *pratique.Event) { e.RefreshOnly = true },
		"older": func(e *pratique.Event) { e.AllowOlder = true },
		"plain": func(*pratique.Event) {},
	} {
		f := seen(id, "1", subject(id))
		change(&pratique.As[pratique.Resolved](f).Event)
		w.facts(f, settled(id, subject(id), pratique.StateFailed))
		w.requeued = pratique.Event{}
		w.change("/api/v1/jobs/"+id+"/requeue", 202)
		if e := w.requeued; e.RefreshOnly != (id == "swept") || e.AllowOlder != (id == "older") ||
			w.requeuedBy != "alice" {
			t.Errorf("%s: %+v by %s", id, e, w.requeuedBy)
		}
	}
}

func TestSweepsOfATokensRepositories(t *testing.T) {
	t.Parallel()
	payments := pratique.Repository{Registry: "registry.example", Path: "payments/app"}
	reconciler := &sweeps{state: []pratique.Sweep{{Repository: repo.String()},
		{Repository: payments.String()}, {Repository: other.String()}}}
	w := newSweepingWorld(t, teams(), reconciler)
	const path = "/api/v1/reconciliations"
	w.wantProblem(403, "token team may reconcile "+onlyTeam+otherProject, "POST", path, teamToken,
		`{"repositories":["`+payments.String()+`"]}`)
	w.wantProblem(403,
		"the token alice may read and operate, and not submit: that needs submit: true", "POST",
		"/api/v1/submissions", operateToken, `{"image":"registry.example/team/app:1"}`)
	w.wantProblem(403, "the token alice may not ask for sweeps", "POST", path, operateToken, `{}`)
	if res, raw := w.ask("POST", path, teamToken, `{}`); res.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", res.StatusCode, raw)
	}
	if asked := reconciler.asked; len(asked) != 1 ||
		!slices.Equal(asked[0], []pratique.Repository{repo, other}) {
		t.Errorf("asked for %v", asked)
	}
	reconciler.state = reconciler.state[1:2]
	w.wantProblem(403, onlyTeam+otherProject, "POST", path, teamToken, `{}`)
	reconciler.state = nil // and no repositories would mean all
	w.wantProblem(404, "no repositories are configured", "POST", path, teamToken, `{}`)

	// A sweep that is refused leaves nothing behind of what was to be deployed beside it.
	w.tags = map[string]pratique.Digest{"registry.example/team/app:1": digest("new")}
	w.wantProblem(422, "not configured", "POST", path, oldToken,
		`{"deploy":["registry.example/team/app:1"],"repositories":["registry.example/team/unknown"]}`)
	if len(w.events) > 0 {
		t.Errorf("%+v", w.events)
	}
}

func TestDeployByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, teams()) // without sweeps
	w.tags = map[string]pratique.Digest{"registry.example/team/app:1.10.0": digest("new"),
		otherProject + ":1": digest("p")}
	const path, image = "/api/v1/reconciliations", "registry.example/team/app:1.10.0"
	for _, token := range []string{bothToken, oldToken} {
		w.events = nil
		res, raw := w.ask("POST", path, token, `{"deploy":["`+image+`"]}`)
		var got api.ReconciliationList
		if err := json.Unmarshal(raw, &got); err != nil || res.StatusCode != http.StatusAccepted ||
			len(got.Items) != 0 || len(got.Submissions) != 1 || len(w.events) != 1 {
			t.Fatalf("%d %s %v", res.StatusCode, raw, err)
		}
		e := w.events[0]
		if e.Ref.String() != image+"@"+digest("new").String() || e.RefreshOnly ||
			e.AllowOlder != (token == oldToken) || e.ID != got.Submissions[0].ID ||
			e.Source != pratique.SourceSubmission || e.Priority != pratique.PriorityManual ||
			e.Actor == "" {
			t.Errorf("%+v", e)
		}
	}
	w.events = nil
	for _, tt := range []struct {
		status            int
		want, token, body string
	}{
		{403, "the token team may not deploy what a sweep found: that needs operate: true",
			teamToken, `{"deploy":["` + image + `"]}`},
		{403, "the token auditor may read", readToken, `{"deploy":["` + image + `"]}`},
		{403, "and " + otherProject + " is none of them", bothToken, `{"deploy":["` + image +
			`","` + otherProject + `:1"]}`},
		{404, "gone", bothToken, `{"deploy":["` + image + `","registry.example/team/app:2"]}`},
		{422, "name its tag", bothToken, `{"deploy":["registry.example/team/app"]}`},
		{422, "name its tag", bothToken, `{"deploy":["registry.example:5000/team/app"]}`},
		{422, "no digest", bothToken, `{"deploy":["` + image + `@` + digest("new").String() + `"]}`},
		{422, "name its tag", bothToken, `{"deploy":["registry.example/team/app@` +
			digest("new").String() + `"]}`},
		{422, "no digest", bothToken, `{"deploy":["` + image + `@sha512:` +
			strings.Repeat("a", 128) + `"]}`},
		{404, "no repositories are configured", oldToken, `{"deploy":["` + image +
			`"],"repositories":["registry.example/team/app"]}`},
	} {
		w.wantProblem(tt.status, tt.want, "POST", path, tt.token, tt.body)
	}
	if len(w.events) > 0 {
		t.Errorf("refused, and yet: %+v", w.events)
	}
	w.tags = nil
	w.wantProblem(503, "", "POST", path, bothToken, `{"deploy":["`+image+`"]}`)
}

// digestOf is what the registry says.
func (w *world) digestOf(_ context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	if w.tags == nil {
		return pratique.Digest{}, pratique.Wrap(pratique.Unavailable, "look up tag", ref.String(),
			errors.New("no route to 10.0.0.1"))
	}
	if d, ok := w.tags[ref.String()]; ok {
		return d, nil
	}
	return pratique.Digest{}, pratique.Errorf(pratique.NotFound, "look up tag", "%s is gone", ref)
}
