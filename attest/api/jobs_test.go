package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

const operateToken = "operate-secret-0123456789"

func operators() api.Auth {
	auth := tokens()
	auth.Tokens = append(auth.Tokens, api.Token{Name: "alice", Secret: operateToken, Operate: true})
	return auth
}

// operator records in the world's index, as the line does in the ledger.
type operator struct{ *world }

func (o operator) Jobs(_ context.Context, state string, limit int) (queued []api.Job, more bool,
	refused []api.Job, err error) {
	for _, j := range o.queued {
		if state == "" || state == j.State {
			queued = append(queued, j)
		}
	}
	if state == "" || state == api.JobRefused {
		refused = []api.Job{{Event: "r", State: api.JobRefused, Reason: "too large", Since: now}}
	}
	if len(queued) > limit {
		return queued[:limit], true, refused, nil
	}
	return queued, false, refused, nil
}

func (o operator) Find(_ context.Context, id string) (pratique.Event, error) {
	for _, j := range o.queued {
		if j.Event == id {
			return pratique.Event{ID: id, Ref: pratique.ImageRef{Repository: repo, Tag: "1"},
				Priority: j.Priority, ReceivedAt: now}, nil
		}
	}
	return pratique.Event{}, pratique.Errorf(pratique.NotFound, "find", "there is no such job")
}

func (o operator) Cancel(_ context.Context, e pratique.Event, s pratique.Subject, by,
	reason string) error {
	o.facts(o.meanwhile...)
	end := settled(e.ID, pratique.Subject{}, pratique.StateCanceled)
	pratique.As[pratique.Completed](end).By, pratique.As[pratique.Completed](end).Detail, pratique.As[pratique.Completed](end).Ref = by, reason, e.Ref
	o.facts(pratique.Fact{Event: e.ID, Body: &e}, end)
	if !s.IsZero() {
		end.Subject = s
		o.facts(end)
	}
	return nil
}

func (o operator) Requeue(_ context.Context, e pratique.Event, by string) (pratique.Event, error) {
	o.requeued, o.requeuedBy = e, by
	e.Requeues, e.ID, e.Priority = e.ID, "again-"+e.ID, pratique.PriorityManual
	o.facts(pratique.Fact{Event: e.ID, Body: &e})
	return e, nil
}

// change posts, wants the status, and returns the submission.
func (w *world) change(path string, status int) api.Submission {
	w.t.Helper()
	body := ""
	if strings.HasSuffix(path, "/cancel") {
		body = `{"reason":"because"}`
	}
	res, raw := w.ask("POST", path, operateToken, body)
	var s api.Submission
	if err := json.Unmarshal(raw, &s); err != nil || res.StatusCode != status {
		w.t.Fatalf("POST %s: %d %s, want %d", path, res.StatusCode, raw, status)
	}
	return s
}

func failing(event string, s pratique.Subject, final bool) pratique.Fact {
	return pratique.Fact{Subject: s, Event: event, Body: &pratique.Failed{
		Stage: "attest", Kind: pratique.Unavailable, Message: "no route", Attempts: 3, Final: final,
	}}
}

// TestJobsOfOneEvent: each target has a job of its own, and the failure of one is no other's.
func TestJobsOfOneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, operators())
	failed := failing("e", subject("a"), false)
	body := pratique.As[pratique.Failed](failed)
	body.Stage, body.Target = pratique.StageDeploy, "down"
	w.facts(seen("e", "1", subject("a")), failed)
	for _, target := range []string{"up", "down"} {
		w.queued = append(w.queued, api.Job{Event: "e", State: api.JobWaiting,
			Stage: pratique.StageDeploy, Target: target, Since: now})
	}
	var l api.JobList
	w.get("/api/v1/jobs?state=waiting", &l)
	if len(l.Items) != 2 || l.Items[0].Target != "up" || l.Items[0].Reason != "" ||
		l.Items[1].Target != "down" || l.Items[1].Reason != "no route" {
		t.Errorf("%+v", l.Items)
	}
}

func TestJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, operators())
	a := subject("a")
	w.facts(seen("waits", "1", a), failing("waits", a, false), seen("dead", "2", subject("b")),
		failing("dead", subject("b"), true),
		settled("dead", subject("b"), pratique.StateFailed),
		settled("over", subject("c"), pratique.StateDenied))
	w.queued = []api.Job{
		{Event: "waits", State: api.JobWaiting, Stage: "attest", Priority: pratique.PriorityPush,
			Attempts: 3, Since: now.Add(-90e9)},
		{Event: "new", State: api.JobRunning, Stage: "inspect", Priority: pratique.PriorityManual,
			Since: now},
	}
	list := func(query string) (states string, l api.JobList) {
		w.get("/api/v1/jobs"+query, &l)
		for _, j := range l.Items {
			states += j.Event + " " + j.State + ", "
		}
		return states, l
	}
	for query, want := range map[string]string{
		"":                            "waits waiting, new running, r refused, dead failed, ",
		"?state=waiting":              "waits waiting, ",
		"?state=running":              "new running, ",
		"?state=refused":              "r refused, ",
		"?state=failed":               "dead failed, ",
		"?state=canceled":             "",
		"?since=2030-01-01T00:00:00Z": "waits waiting, new running, r refused, ",
		"?state=running&limit=1":      "new running, ", // those before it do not count
		"?limit=1":                    "waits waiting, r refused, dead failed, ",
	} {
		if got, l := list(query); got != want || l.More != (query == "?limit=1") ||
			len(l.Queues) != len(queues) {
			t.Errorf("%s: %s (more %t), want %s", query, got, l.More, want)
		}
	}
	_, l := list("")
	if j := l.Items[0]; j.Reason != "no route" || j.AgeSeconds != 90 || j.Image != a.String() ||
		j.Attempts != 3 {
		t.Errorf("%+v", j)
	}
	var image api.Image
	w.get("/api/v1/images/"+a.Digest.String(), &image)
	if !image.NextAttempt.Equal(now.Add(time.Minute)) {
		t.Errorf("the next attempt is at %s", image.NextAttempt)
	}
	image = api.Image{}
	w.get("/api/v1/images/"+subject("b").Digest.String(), &image)
	if !image.NextAttempt.IsZero() {
		t.Errorf("the last attempt is followed by one at %s", image.NextAttempt)
	}
	if j := l.Items[3]; j.Reason != "no route" || j.Stage != "attest" || j.Attempts != 3 ||
		j.Priority != pratique.PriorityPush {
		t.Errorf("%+v", j)
	}
	w.wantProblem(422, "state", "GET", "/api/v1/jobs?state=odd", readToken, "")
	w.wantProblem(422, "limit", "GET", "/api/v1/jobs?limit=0", readToken, "")

	// A canceled job is gone from the list although its message is there.
	w.change("/api/v1/jobs/waits/cancel", 200)
	if got, _ := list("?state=waiting"); got != "" {
		t.Error(got)
	}
	if got, _ := list("?state=canceled"); got != "waits canceled, " {
		t.Error(got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, operators())
	w.facts(seen("runs", "1", subject("a")), settled("over", subject("b"), pratique.StateDenied),
		seen("ends", "3", subject("c")))
	w.queued = []api.Job{{Event: "waits", Priority: pratique.PriorityPush}}
	for _, id := range []string{"runs", "waits"} {
		for range 2 { // once more is the same
			s := w.change("/api/v1/jobs/"+id+"/cancel", 200)
			if s.ID != id || s.State != "canceled" || !s.Done || s.CanceledBy != "alice" ||
				s.Detail != "because" || s.Outcome != "" {
				t.Errorf("%+v", s)
			}
		}
	}
	var image api.Image
	if w.get("/api/v1/images/"+digest("a").String(), &image); image.State != "canceled" ||
		image.Detail != "because" {
		t.Errorf("the image is %s: %s", image.State, image.Detail)
	}
	const path = "/api/v1/jobs/"
	w.wantProblem(409, "it has ended: denied", "POST", path+"over/cancel", operateToken, "{}")
	w.wantProblem(404, "no such job", "POST", path+"nobody/cancel", operateToken, "{}")
	w.meanwhile = []pratique.Fact{settled("ends", subject("c"), pratique.StateSuperseded)}
	w.wantProblem(409, "it ended as superseded meanwhile", "POST", path+"ends/cancel", operateToken, "{}")
	for _, token := range []string{readToken, submitToken} {
		w.wantProblem(403, "needs operate: true", "POST", path+"runs/cancel", token, "{}")
		w.wantProblem(403, "needs operate", "POST", path+"runs/requeue", token, "")
	}
	w.wantProblem(401, "token", "POST", path+"runs/cancel", "", "{}")
	// And the other way round: to operate is not to submit.
	w.wantProblem(403, "not submit", "POST", "/api/v1/submissions", operateToken,
		`{"image":"registry.example/a:b"}`)
}

func TestRequeue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, operators())
	w.facts(seen("dead", "1", subject("a")), failing("dead", subject("a"), true),
		settled("dead", subject("a"), pratique.StateFailed),
		seen("runs", "2", subject("b")), settled("over", subject("c"), pratique.StateDenied),
		settled("unknown", pratique.Subject{}, pratique.StateFailed))
	const path = "/api/v1/jobs/"
	first := w.change(path+"dead/requeue", 202)
	if first.ID != "again-dead" || first.Requeues != "dead" ||
		first.Ref != "registry.example/team/app:1" || first.Source != "distribution" {
		t.Errorf("%+v", first)
	}
	if again := w.change(path+"dead/requeue", 202); again.ID != first.ID {
		t.Errorf("requeued twice: %+v", again)
	}
	var old api.Submission
	if w.get("/api/v1/submissions/dead", &old); old.RequeuedAs != first.ID || old.State != "failed" {
		t.Errorf("%+v", old)
	}
	w.wantProblem(409, "not over", "POST", path+"runs/requeue", operateToken, "")
	w.wantProblem(409, "submit the image", "POST", path+"over/requeue", operateToken, "")
	w.wantProblem(409, "not on record", "POST", path+"unknown/requeue", operateToken, "")
	w.wantProblem(404, "nobody", "POST", path+"nobody/requeue", operateToken, "")
}
