package deploy_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
)

// others makes commits of other people on top.
func (w *world) others(n int) {
	w.t.Helper()
	var b bytes.Buffer
	for i := range n {
		from := ""
		if i == 0 {
			from = "from refs/heads/main^0\n"
		}
		fmt.Fprintf(&b,
			"commit refs/heads/main\ncommitter A <a@b> now\ndata 5\nother\n%sM 644 inline other\ndata %d\n%d\n", from, len(fmt.Sprint(i)), i)
	}
	if _, err := w.server.Git(w.t.Context(), "config", b.Bytes(), "fast-import", "--quiet",
		"--date-format=now"); err != nil {
		w.t.Fatal(err)
	}
}

// push is a push of a tag at a minute after 11:00; the registry knows it by now, which is an hour
// later.
func (w *world) push(tag string, d pratique.Digest, minute int) pratique.Change {
	w.tag(tag, d)
	c := change(d, fmt.Sprintf("event %s %d", tag, minute))
	c.Tag = tag
	c.PushedAt = now.Add(-time.Hour + time.Duration(minute)*time.Minute + 1234567*time.Nanosecond)
	return c
}

// deployed checks that a change was written just now.
func (w *world) deployed(g *deploy.Gate, c pratique.Change) {
	w.t.Helper()
	o, err := deployAll(w.t.Context(), g, c)
	if err != nil || o.Superseded || len(o.Commits) != 1 ||
		o.Commits[0].ID != w.git("rev-parse", "main") {
		w.t.Fatalf("%s: %+v, %v", c.Event, o, err)
	}
	if got := w.git("log", "-1", "--format=%B"); !strings.Contains(got,
		"\nPratique-Event: "+c.Event+"\n") {
		w.t.Fatalf("%s is not the newest commit: %s", c.Event, got)
	}
}

// superseded checks that nothing was written because of that tag's commit.
func (w *world) superseded(g *deploy.Gate, c pratique.Change, tag, commit string) {
	w.t.Helper()
	before := w.git("rev-parse", "main")
	o, err := deployAll(w.t.Context(), g, c)
	if err != nil || !o.Superseded || o.NoTarget || len(o.Commits) != 0 ||
		!strings.Contains(o.Detail, ":"+tag) || !strings.Contains(o.Detail, commit) {
		w.t.Errorf("%s: %+v, %v", c.Event, o, err)
	}
	if after := w.git("rev-parse", "main"); after != before {
		w.t.Errorf("%s: committed: %s", c.Event, w.git("log", "-1", "--format=%B"))
	}
}

func prod() deploy.Target { return deploy.Target{Name: "prod", Path: "prod"} }

// TestOlderPushOfAnotherTag: a push that is tried again after a later one of another tag does not
// overwrite it.
func TestOlderPushOfAnotherTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	older := w.push("v1", one, 0)
	w.deployed(w.gate, w.push("v2", two, 1))
	newest := w.git("rev-parse", "main")
	if got := parsedTrailers(t, w.git("log", "-1", "--format=%B")); !strings.Contains(got,
		"\nPratique-Pushed: 2026-09-01T11:01:00.001Z") {
		t.Errorf("trailers: %s", got)
	}
	w.superseded(w.gate, older, "v2", newest)
	w.others(25)
	w.superseded(w.gate, older, "v2", newest)
	w.superseded(w.newGate(prod()), older, "v2", newest)
	// Without a time it is as if tags had no order.
	unknown := older
	unknown.PushedAt = time.Time{}
	w.deployed(w.newGate(prod()), unknown)
}

// TestReplay: a push that was deployed before, and overtaken since, is not written again, and not
// said to be deployed.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push("v1", one, 0)
	w.deployed(w.gate, first)
	id := w.git("rev-parse", "main")
	w.deployed(w.gate, w.push("v2", two, 1))
	newest := w.git("rev-parse", "main")
	w.others(25)
	w.superseded(w.newGate(prod()), first, "v2@"+two.String(), newest)
	// Nor is a push of it that is reported anew, or a submission.
	first.Event, first.PushedAt, first.Asked = "later", now, true
	w.superseded(w.newGate(prod()), first, "v2@"+two.String(), "commit "+id)
}

// TestLaterPushOfALowerVersion: a hotfix for an older line is newer, and so is what follows it.
func TestLaterPushOfALowerVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deployed(w.gate, w.push("2.0.0", two, 1))
	w.deployed(w.gate, w.push("1.0.1", one, 2))
	w.superseded(w.gate, w.push("1.9.0", two, 0), "1.0.1", w.git("rev-parse", "main"))
	w.deployed(w.gate, w.push("2.0.1", two, 3))
}

// TestOneTagBackAndForth: within one tag the registry has the word, whatever the times say.
func TestOneTagBackAndForth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, d := range []pratique.Digest{one, two, one} {
		w.deployed(w.gate, w.push("v1", d, i))
	}
	w.deployed(w.gate, w.push("v1", two, -1))
}

// TestPlacesOfTheirOwn: a later push of another tag is in the way only where it is written to the
// same place, and only in its own target.
func TestPlacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const line = "image: registry.example.com/team/app # {\"$pratique\": \"registry.example.com/team/app:%s\"}\n"
	if _, err := w.server.Advance(t.Context(), "config", "x", map[string]string{
		"lines/one.yaml": fmt.Sprintf(line, "1.*"), "lines/two.yaml": fmt.Sprintf(line, "2.*"),
	}); err != nil {
		t.Fatal(err)
	}
	lines := w.newGate(deploy.Target{Name: "lines", Path: "lines"})
	older, oldest := w.push("1.0.0", one, 0), w.push("1.0.0-rc", two, -1)
	w.deployed(lines, w.push("2.0.0", two, 1))
	w.deployed(lines, older)
	w.superseded(lines, oldest, "1.0.0", w.git("rev-parse", "main"))

	w.deployed(w.gate, w.push("2.0.0", two, 1))
	both := w.newGate(prod(), deploy.Target{Name: "test", Path: "test", Tags: []pratique.Glob{"1.*"}})
	o, err := deployAll(t.Context(), both, older)
	if err != nil || !o.Superseded || len(o.Commits) != 1 || o.Commits[0].Target != "test" ||
		!strings.Contains(o.Detail, "target prod: registry.example.com/team/app:2.0.0 was pushed later") {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestOvertakenAtTheLastMoment: the later push is committed between the look at the branch and the
// push.
func TestOvertakenAtTheLastMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	older, later := w.push("v1", one, 0), w.push("v2", two, 1)
	other := w.newGate(prod())
	w.onAsked = func(n int) {
		if n == 2 {
			w.deployed(other, later)
		}
	}
	o, err := deployAll(t.Context(), w.gate, older)
	if err != nil || !o.Superseded || w.commits() != "1" {
		t.Errorf("%+v, %v, %s commits", o, err, w.commits())
	}
}
