package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

// TestDeployments: what is where is listed by target and repository, and a walk meets everything
// once.
func TestDeployments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	old, app := subject("old"), subject("app")
	deploy := func(s pratique.Subject, target, commit string) {
		w.facts(pratique.Fact{Subject: s, Event: "e" + commit, At: now, By: "deploy@test",
			Body: &pratique.Commit{
				Target: target, Tag: "1.0", ID: commit, Branch: "main", At: now,
				Files: []pratique.FileChange{{Path: "a.yaml", Line: 1, Field: "image"}},
			}})
	}
	deploy(old, "prod", "c1")
	deploy(app, "prod", "c2")
	deploy(app, "test", "c3")
	deploy(pratique.Subject{Repository: other, Digest: digest("app")}, "prod", "c4")
	w.facts(pratique.Fact{Subject: app, At: now, By: "deploy@test",
		Body: &pratique.Drifted{Target: "test", State: pratique.StateReverted, Detail: "gone"}})

	ask := func(query string) api.DeploymentPage {
		t.Helper()
		var page api.DeploymentPage
		res, raw := w.ask("GET", "/api/v1/deployments?"+query, readToken, "")
		if err := json.Unmarshal(raw, &page); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v: %s", query, res.StatusCode, err, raw)
		}
		return page
	}
	for query, want := range map[string]int{"": 3, "target=prod": 2, "target=pro": 0,
		"repository=" + repo.String(): 2, "target=test&repository=" + other.String(): 0} {
		if got := ask(query); len(got.Items) != want || got.NextCursor != "" {
			t.Errorf("%s: %+v, want %d", query, got, want)
		}
	}
	prod := ask("target=prod&repository=" + repo.String()).Items[0]
	if len(prod.Present) != 1 || len(prod.Earlier) != 1 || prod.Drift != nil ||
		prod.Repository != repo.String() {
		t.Fatalf("%+v", prod)
	}
	if p := prod.Present[0]; p.Digest != app.Digest || p.Tag != "1.0" || p.Commit != "c2" ||
		p.Event != "ec2" || !p.At.Equal(now) || p.Places != nil {
		t.Errorf("present: %+v", p)
	}
	if e := prod.Earlier[0]; e.Digest != old.Digest || e.ReplacedBy != app.Digest ||
		e.End != pratique.StateSuperseded {
		t.Errorf("earlier: %+v", e)
	}
	if test := ask("target=test").Items[0]; test.Present == nil || len(test.Present) != 0 ||
		test.Drift == nil || test.Drift.Detail != "gone" {
		t.Errorf("%+v", test)
	}
	var image api.Image
	if _, raw := w.ask("GET", prod.Present[0].Self, readToken, ""); json.Unmarshal(raw,
		&image) != nil || len(image.DeployedTo) != 1 || image.DeployedTo[0] != "prod" {
		t.Errorf("%s", raw)
	}
	var old1 api.Image
	if _, raw := w.ask("GET", prod.Earlier[0].Self, readToken, ""); json.Unmarshal(raw,
		&old1) != nil || len(old1.DeployedTo) != 0 || len(old1.Drifted) != 1 {
		t.Errorf("%s", raw)
	}
	first := ask("limit=1")
	second := ask("limit=1&cursor=" + first.NextCursor)
	third := ask("limit=1&cursor=" + second.NextCursor)
	if first.Items[0].Target != "prod" || second.Items[0].Repository == first.Items[0].Repository ||
		third.Items[0].Target != "test" || third.NextCursor != "" {
		t.Errorf("%+v\n%+v\n%+v", first, second, third)
	}
	for query, want := range map[string]int{"repository=app": 422, "cursor=x": 422, "limit=0": 422,
		"cursor=" + first.NextCursor + "&target=prod": 422} {
		if res, raw := w.ask("GET", "/api/v1/deployments?"+query, readToken, ""); res.StatusCode != want {
			t.Errorf("%s: %d %s", query, res.StatusCode, raw)
		}
	}
	if res, _ := w.ask("GET", "/api/v1/deployments", "", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", res.StatusCode)
	}
}
