package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

func TestReconciliations(t *testing.T) {
	t.Parallel()
	state := []pratique.Sweep{
		{Repository: repo.String(), State: "waiting", Started: now,
			SweepTally: pratique.SweepTally{Tags: 3, Unchanged: 1, News: 1,
				Skipped: map[string]int{"signature-tag": 1}, Requests: 4},
			Error: "slow down", RetryAt: now.Add(time.Minute)},
		{Repository: other.String(), State: "idle", Next: now.Add(time.Hour)},
	}
	reconciler := &sweeps{state: state}
	w := newSweepingWorld(t, tokens(), reconciler)
	var list api.ReconciliationList
	w.get("/api/v1/reconciliations", &list)
	if diff := cmp.Diff(state, list.Items); diff != "" {
		t.Error(diff)
	}
	// Whoever waits for a sweep is told of the one before, even if the new one is over when the
	// answer is written.
	before := slices.Clone(state)
	before[1].State = "waiting"
	for body, want := range map[string]struct {
		asked   []pratique.Repository
		answers []pratique.Sweep
	}{
		`{}`:                    {nil, before},
		`{"repositories":[]}`:   {nil, before},
		`{"repositories":null}`: {nil, before},
		`{"repositories":["` + other.String() + `"]}`: {[]pratique.Repository{other}, before[1:]},
	} {
		reconciler.state = slices.Clone(state)
		res, raw := w.ask("POST", "/api/v1/reconciliations", submitToken, body)
		var got api.ReconciliationList
		if err := json.Unmarshal(raw, &got); err != nil || res.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d %s %v", body, res.StatusCode, raw, err)
		}
		asked := reconciler.asked[len(reconciler.asked)-1]
		if diff := cmp.Diff(want.answers, got.Items); diff != "" || !slices.Equal(asked, want.asked) {
			t.Errorf("%s: asked for %v, %s", body, asked, diff)
		}
	}
	if _, raw := w.ask("GET", "/api/v1/reconciliations", readToken,
		""); strings.Contains(string(raw), "0001-01-01") {
		t.Errorf("times that are none: %s", raw)
	}
}

func TestReconciliationProblems(t *testing.T) {
	t.Parallel()
	reconciler := &sweeps{}
	w := newSweepingWorld(t, tokens(), reconciler)
	const path = "/api/v1/reconciliations"
	for _, tt := range []struct {
		status     int
		want, body string
	}{
		{422, "registry.example/unknown is not configured",
			`{"repositories":["registry.example/unknown"]}`},
		{422, "not configured", `{"repositories":["` + repo.String() + `","registry.example/unknown"]}`},
		{422, "registry too", `{"repositories":["alpine"]}`},
		{422, "repository path", `{"repositories":["registry.example/UPPER"]}`},
		{422, "repositories", `{"repositories":"` + repo.String() + `"}`},
		{422, "unexpected property", `{"repository":"` + repo.String() + `"}`},
		{422, "length", `{"repositories":["` + strings.Repeat(`","`, 1000) + `"]}`},
		{413, "16 KiB", `{"repositories":["` + strings.Repeat("x", 20<<10) + `"]}`},
		{400, "", `not json`},
		{400, "", ``},
	} {
		w.wantProblem(tt.status, tt.want, "POST", path, submitToken, tt.body)
	}
	w.wantProblem(415, "", "POST", path, submitToken, `<all/>`, "Content-Type", "text/xml")
	w.wantProblem(403, "token", "POST", path, readToken, `{}`)
	w.wantProblem(401, "token", "POST", path, "", `{}`)
	w.wantProblem(401, "token", "GET", path, "", "")
	w.wantProblem(405, "GET, HEAD, POST", "DELETE", path, submitToken, "")
	public := newSweepingWorld(t, api.Auth{Tokens: tokens().Tokens, AnonymousRead: true}, reconciler)
	public.wantProblem(401, "token", "POST", path, "", `{}`)
	if len(reconciler.asked) > 0 {
		t.Errorf("asked for %v", reconciler.asked)
	}
	_, raw := w.ask("GET", path, readToken, "")
	if want := `{"items":[]}`; strings.TrimSpace(string(raw)) != want {
		t.Errorf("%s, want %s", raw, want)
	}

	without := newWorld(t, tokens())
	without.wantProblem(404, "no repositories are configured", "GET", path, readToken, "")
	without.wantProblem(404, "no repositories are configured", "POST", path, submitToken, `{}`)
}
