package index

import (
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// TestFoundAgain: what ended as reverted is deployed once Git is found to hold it again.
func TestFoundAgain(t *testing.T) {
	e, s := event("push", repoA, "1.0", epoch), subject(repoA, "app")
	commit := pratique.Fact{Subject: s, At: epoch, By: "deploy@test",
		Body: &pratique.Commit{Target: "prod", ID: "c1"}}
	drifted := pratique.Fact{Subject: s, At: epoch, By: "deploy@test",
		Body: &pratique.Drifted{Target: "prod", State: pratique.StateReverted}}
	facts := []pratique.Fact{seen(e, s), evaluated("push", s, pratique.Allow), commit, drifted,
		settled(e, s, pratique.StateReverted)}
	for want, more := range map[pratique.State][]pratique.Fact{"reverted": nil, "deployed": {commit}} {
		ix := fresh(t)
		apply(t, ix, entries(1, append(facts[:5:5], more...)...)...)
		if page, err := ix.List(Query{State: want}); err != nil || len(page.Items) != 1 {
			t.Errorf("%+v %v, want one image that is %s", page, err, want)
		}
	}
}

func TestEventStates(t *testing.T) {
	t.Parallel()
	e, s, child := event("e", repoA, "1", epoch), subject(repoA, "a"), subject(repoA, "child")
	received := pratique.Fact{At: epoch, Event: "e", By: "receive@test", Body: &e}
	anew := received
	again := e
	again.ReceivedAt = e.ReceivedAt.Add(time.Hour)
	anew.Body = &again
	unresolved := settled(e, pratique.Subject{}, pratique.StateFailed)
	canceled := settled(e, pratique.Subject{}, pratique.StateCanceled)
	deployed := pratique.Fact{Subject: s, Event: "e", At: epoch,
		Body: &pratique.Commit{Target: "prod", ID: "c1"}}
	tests := map[string]struct {
		facts   []pratique.Fact
		state   pratique.State
		done    bool
		outcome pratique.Outcome
	}{
		"received":      {[]pratique.Fact{received}, "received", false, ""},
		"received late": {[]pratique.Fact{seen(e, s), received}, "resolved", false, ""},
		"a child is further": {[]pratique.Fact{seen(e, s), evaluated("e", child, pratique.Deny)},
			"resolved", false, ""},
		"evaluated": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny)},
			"evaluated", false, pratique.Deny},
		"denied": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny),
			settled(e, s, pratique.StateDenied)}, "denied", true, pratique.Deny},
		"redelivered after end": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny),
			settled(e, s, pratique.StateDenied), seen(e, s)}, "denied", true, pratique.Deny},
		"deployed, not ended": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Allow),
			deployed, deployed}, "deployed", false, pratique.Allow},
		"an attempt failed": {[]pratique.Fact{received, failed(e, pratique.Subject{}, 1,
			false)}, "received", false, ""},
		"failed for good": {[]pratique.Fact{received, failed(e, pratique.Subject{}, 3, true),
			settled(e, pratique.Subject{}, pratique.StateFailed)}, "failed", true, ""},
		"received after failing": {[]pratique.Fact{failed(e, pratique.Subject{}, 1, true),
			settled(e, pratique.Subject{}, pratique.StateFailed), received},
			"failed", true, ""},
		"received late and again": {[]pratique.Fact{received, unresolved, received}, "failed", true, ""},
		"received anew":           {[]pratique.Fact{received, unresolved, anew}, "received", false, ""},
		"resolved at last": {[]pratique.Fact{received, failed(e, pratique.Subject{}, 3,
			true), unresolved, seen(e, s)}, "resolved", false, ""},
		"seen after failing": {[]pratique.Fact{seen(e, s), failed(e, s, 3, true),
			settled(e, s, pratique.StateFailed), seen(e, s)}, "failed", true, ""},
		"evaluated after failing": {[]pratique.Fact{seen(e, s), failed(e, s, 3, true),
			settled(e, s, pratique.StateFailed), seen(e, s), evaluated("e", s, pratique.Deny)},
			"failed", true, ""},
		"received anew after failing with an image": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateFailed), anew}, "failed", true, ""},
		"failed, then ended otherwise": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateFailed), seen(e, s), evaluated("e", s, pratique.Deny),
			settled(e, s, pratique.StateDenied)},
			"denied", true, pratique.Deny},
		"failed, then taken up": {[]pratique.Fact{failed(e, s, 3, true), seen(e, s)}, "resolved",
			false, ""},
		"taken up, and evaluated": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny),
			failed(e, s, 3, true), evaluated("e", s, pratique.Allow)},
			"evaluated", false, pratique.Allow},
		"evaluated before": {[]pratique.Fact{evaluated("other", s, pratique.Allow),
			seen(e, s), settled(e, s, pratique.StateAllowed)}, "allowed", true, pratique.Allow},
		"evaluated before, not ended": {[]pratique.Fact{evaluated("other", s, pratique.Deny),
			seen(e, s)}, "resolved", false, ""},
		"superseded": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateSuperseded)}, "superseded", true, pratique.Allow},
		"ignored": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateIgnored)}, "ignored", true, ""},
		"denied, then failed": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny),
			failed(e, s, 3, true), settled(e, s, pratique.StateFailed)},
			"failed", true, ""},
		"denied by a later policy": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Allow),
			deployed, settled(e, s, pratique.StateDeployed), evaluated("", s, pratique.Deny)},
			"deployed", true, pratique.Allow},
		"canceled before it was seen": {[]pratique.Fact{received, canceled}, "canceled", true, ""},
		"canceled, seen afterwards": {[]pratique.Fact{received, canceled, seen(e, s),
			settled(e, s, pratique.StateCanceled)}, "canceled", true, ""},
		"canceled, then denied": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Deny),
			canceled, settled(e, s, pratique.StateDenied)},
			"canceled", true, ""},
		"canceled, then failed": {[]pratique.Fact{seen(e, s), canceled,
			failed(e, s, 3, true), settled(e, s, pratique.StateFailed)}, "canceled", true, ""},
		"canceled while it was committed": {[]pratique.Fact{seen(e, s), canceled, deployed,
			settled(e, s, pratique.StateDeployed)}, "deployed", true, pratique.Allow},
		"canceled too late": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateDenied), canceled}, "denied", true, pratique.Deny},
		"canceled after it failed": {[]pratique.Fact{received, unresolved, canceled},
			"failed", true, ""},
		"canceled between failure and record": {[]pratique.Fact{received, failed(e, s, 3, true),
			canceled}, "canceled", true, ""},
		"evaluated again for it": {[]pratique.Fact{seen(e, s), evaluated("e", s, pratique.Allow),
			settled(e, s, pratique.StateDeployed), evaluated("e", s, pratique.Deny)},
			"deployed", true, pratique.Allow},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ix := fresh(t)
			for i, f := range tt.facts { // one by one, as they come
				apply(t, ix, pratique.Entry{Seq: uint64(i + 1), Fact: f})
			}
			got, err := ix.Event("e")
			if err != nil || got.State != tt.state || got.Done != tt.done ||
				got.Outcome != tt.outcome || got.Ref != e.Ref {
				t.Errorf("%+v %v", got, err)
			}
			if len(got.Reasons) > 0 && got.Outcome != pratique.Deny {
				t.Errorf("reasons to deny with outcome %q", got.Outcome)
			}
			if len(got.Commits) > 1 {
				t.Errorf("one commit is listed twice")
			}
		})
	}
	if _, err := fresh(t).Event("nobody"); pratique.KindOf(err) != pratique.NotFound {
		t.Error(err)
	}
}

// The reasons of an end are those of the verdict that it names, whichever event that verdict was
// made for, and nothing that is found out later changes them.
func TestReasonsAreThoseOfTheEnd(t *testing.T) {
	t.Parallel()
	e, s := event("e", repoA, "1", epoch), subject(repoA, "a")
	because := func(eventID, reason string) pratique.Fact {
		f := evaluated(eventID, s, pratique.Deny)
		pratique.As[pratique.Evaluated](f).Digest, pratique.As[pratique.Evaluated](f).Verdict.Reasons = digest(reason), []pratique.Reason{{Rule: reason}}
		return f
	}
	end := func(verdict string) pratique.Fact {
		f := settled(e, s, pratique.StateDenied)
		pratique.As[pratique.Completed](f).Outcome, pratique.As[pratique.Completed](f).Verdict = pratique.Deny, digest(verdict)
		return f
	}
	for name, tt := range map[string]struct {
		facts []pratique.Fact
		want  []pratique.Reason
	}{
		"its own": {[]pratique.Fact{seen(e, s), because("e", "one"), end("one")},
			[]pratique.Reason{{Rule: "one"}}},
		"another's": {[]pratique.Fact{because("other", "one"), seen(e, s), end("one")},
			[]pratique.Reason{{Rule: "one"}}},
		"its own, not newest": {[]pratique.Fact{because("e", "one"), because("other", "two"),
			seen(e, s), end("one")}, []pratique.Reason{{Rule: "one"}}},
		"another's newer": {[]pratique.Fact{because("e", "one"), because("other", "two"),
			seen(e, s), end("two")}, []pratique.Reason{{Rule: "two"}}},
		"not the newest": {[]pratique.Fact{because("other", "one"), because("other", "two"),
			seen(e, s), end("one")}, nil},
		"no record of verdict": {[]pratique.Fact{seen(e, s), end("one")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ix := fresh(t)
			apply(t, ix, entries(1, tt.facts...)...)
			before, err := ix.Event("e")
			if err != nil ||
				before.Verdict != pratique.As[pratique.Completed](tt.facts[len(tt.facts)-1]).Verdict {
				t.Errorf("%+v, %v", before, err)
			}
			equal(t, "reasons", tt.want, before.Reasons)
			apply(t, ix, entries(20, because("", "later"), evaluated("third", s, pratique.Allow))...)
			after, err := ix.Event("e")
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "answer", before, after)
		})
	}
}

func TestStateOfRecord(t *testing.T) {
	t.Parallel()
	e, e2, s := event("e", repoA, "1", epoch), event("e2", repoA, "1", epoch), subject(repoA, "a")
	tests := map[string]struct {
		facts []pratique.Fact
		want  pratique.State
	}{
		"evaluated": {[]pratique.Fact{seen(e, s),
			evaluated("e", s, pratique.Deny)}, "evaluated"},
		"settled": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateDenied)}, "denied"},
		"evaluated again": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateAllowed), evaluated("", s, pratique.Deny)}, "allowed"},
		"pushed again": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateAllowed), seen(e2, s)}, "resolved"},
		"redelivered": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateAllowed), seen(e, s), evaluated("e", s, pratique.Deny)},
			"allowed"},
		"redelivered after failing": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateFailed), seen(e, s)}, "failed"},
		"redelivered, another goes on": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateAllowed), seen(e2, s), evaluated("e2", s, pratique.Deny),
			seen(e, s)}, "evaluated"},
		"failed, then pushed again": {[]pratique.Fact{seen(e, s),
			settled(e, s, pratique.StateFailed), seen(e2, s)}, "resolved"},
		"an attempt failed": {[]pratique.Fact{seen(e, s), failed(e, s, 1, false)}, "resolved"},
		"failed": {[]pratique.Fact{seen(e, s), failed(e, s, 1, false),
			failed(e, s, 2, true)}, "failed"},
		"failed, then went on": {[]pratique.Fact{failed(e, s, 2, true), seen(e, s),
			evaluated("e", s, pratique.Allow)}, "evaluated"},
		"failed, and said so last": {[]pratique.Fact{failed(e, s, 2, true),
			settled(e, s, pratique.StateFailed)}, "failed"},
	}
	for name, tt := range tests {
		var r pratique.Record
		for i, f := range tt.facts {
			r.Fold(uint64(i+1), f)
		}
		if got := r.State(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// An image that is in Git stays deployed when somebody submits it by digest, which asks for no
// target; his own event ended as allowed all the same. A denial of the image is news, and an image
// without commits is only allowed.
func TestDeployedStaysDeployed(t *testing.T) {
	t.Parallel()
	push, byDigest, s := event("push", repoA, "1", epoch), event("by-digest", repoA, "", epoch),
		subject(repoA, "a")
	byDigest.Ref.Digest = s.Digest
	commit := pratique.Fact{Subject: s, Event: "push", At: epoch, By: "deploy@test",
		Body: &pratique.Commit{Target: "prod", ID: "c1"}}
	deployed := []pratique.Fact{seen(push, s), evaluated("push", s, pratique.Allow), commit,
		settled(push, s, pratique.StateDeployed)}
	drifted := pratique.Fact{Subject: s, At: epoch, By: "deploy@test",
		Body: &pratique.Drifted{Target: "prod", State: pratique.StateReverted}}
	gone := append(deployed[:4:4], drifted)
	for name, tt := range map[string]struct {
		first     []pratique.Fact
		end       pratique.State
		wantImage pratique.State
	}{
		"allowed by digest": {deployed, pratique.StateAllowed, "deployed"},
		"denied by digest":  {deployed, pratique.StateDenied, "denied"},
		"failed by digest":  {deployed, pratique.StateFailed, "failed"},
		"never deployed":    {deployed[:2], pratique.StateAllowed, "allowed"},
		"denied in between": {append(deployed[:4:4], settled(event("x", repoA, "", epoch), s,
			pratique.StateDenied)), pratique.StateAllowed, "deployed"},
		"deployed to the end":   {deployed, pratique.StateDeployed, "deployed"},
		"reverted in the end":   {deployed, pratique.StateReverted, "reverted"},
		"allowed, gone by now":  {gone, pratique.StateAllowed, "allowed"},
		"deployed, gone by now": {gone, pratique.StateDeployed, "reverted"},
		"gone and back":         {append(gone[:5:5], commit), pratique.StateDeployed, "deployed"},
		"superseded in the end": {deployed, pratique.StateSuperseded, "superseded"},
	} {
		ix := fresh(t)
		apply(t, ix, entries(1, append(tt.first[:len(tt.first):len(tt.first)], seen(byDigest, s),
			settled(byDigest, s, tt.end))...)...)
		page, err := ix.List(Query{State: tt.wantImage})
		if err != nil || len(page.Items) != 1 {
			t.Errorf("%s: %+v %v, want one image that is %s", name, page, err, tt.wantImage)
		}
		if got, err := ix.Event("by-digest"); err != nil || got.State != tt.end || !got.Done {
			t.Errorf("%s: the event itself is %+v, %v", name, got, err)
		}
		if got, err := ix.Event("push"); len(tt.first) > 2 && (err != nil || got.State != "deployed") {
			t.Errorf("%s: the push is %+v, %v", name, got, err)
		}
	}
}

// What is found out about an image for years leaves its state, its place in the list and its size.
func TestRecordWithManyFacts(t *testing.T) {
	t.Parallel()
	e, s := event("e", repoA, "1", epoch), subject(repoA, "a")
	facts := []pratique.Fact{seen(e, s), evaluated("e", s, pratique.Allow),
		settled(e, s, pratique.StateAllowed)}
	for range 5 * pratique.MaxHistory {
		facts = append(facts, evaluated("", s, pratique.Allow))
	}
	ix := fresh(t)
	all := entries(1, facts...)
	apply(t, ix, all[:2*pratique.MaxHistory]...)
	apply(t, ix, pratique.Entry{Seq: 9000, Fact: evaluated("", subject(repoA, "other"), pratique.Allow)})
	for i, f := range facts[2*pratique.MaxHistory:] {
		apply(t, ix, pratique.Entry{Seq: uint64(9001 + i), Fact: f})
	}
	r, err := ix.Image(s)
	if err != nil || len(r.History) != pratique.MaxHistory || r.Facts != len(facts) ||
		r.State() != "allowed" {
		t.Errorf("%d of %d facts, state %s, %v", len(r.History), r.Facts, r.State(), err)
	}
	page, err := ix.List(Query{})
	if err != nil || len(page.Items) != 2 || page.Items[1].Subject != s ||
		!page.Items[1].FirstAt.Equal(facts[0].At) {
		t.Errorf("%+v %v", page, err)
	}
	path := ix.file.Path()
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := Check(path); err != nil || len(problems) > 0 {
		t.Errorf("%q %v", problems, err)
	}
}

// TestDead lists what ended without an answer, the last one first, until it is requeued.
func TestDead(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	seq := uint64(0)
	add := func(facts ...pratique.Fact) {
		for _, f := range facts {
			seq++
			f.At = epoch.Add(time.Duration(seq) * time.Minute)
			apply(t, ix, pratique.Entry{Seq: seq, Fact: f})
		}
	}
	failing := func(id string) pratique.Event {
		e := event(id, repoA, "1", epoch)
		add(pratique.Fact{Event: id, By: "receive@test", Body: &e}, settled(e, pratique.Subject{},
			pratique.StateFailed))
		return e
	}
	failing("f1")
	failing("f2")
	c := event("c", repoA, "1", epoch)
	end := settled(c, pratique.Subject{}, pratique.StateCanceled)
	pratique.As[pratique.Completed](end).By = "alice"
	add(end)
	add(settled(event("denied", repoA, "1", epoch), subject(repoA, "a"), pratique.StateDenied))
	list := func(state pratique.State, since time.Time, limit int) (ids string, more bool) {
		all, more, err := ix.Dead(state, since, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			ids += s.ID + " "
		}
		return ids, more
	}
	check := func(what, want string, wantMore bool, got string, more bool) {
		t.Helper()
		if got != want || more != wantMore {
			t.Errorf("%s: %q %t, want %q %t", what, got, more, want, wantMore)
		}
	}
	ids, more := list("", time.Time{}, 10)
	check("all", "c f2 f1 ", false, ids, more)
	ids, more = list(pratique.StateFailed, time.Time{}, 1)
	check("failed, one", "f2 ", true, ids, more)
	ids, more = list("", epoch.Add(4*time.Minute), 10)
	check("of late", "c f2 ", false, ids, more)
	if s, err := ix.Event("c"); err != nil || s.CanceledBy != "alice" {
		t.Errorf("%+v, %v", s, err)
	}
	again := event("again", repoA, "1", epoch)
	again.Requeues = "f2"
	add(pratique.Fact{Event: "again", By: "receive@test", Body: &again})
	ids, more = list("", time.Time{}, 10)
	check("after requeuing", "c f1 ", false, ids, more)
	for id, want := range map[string][2]string{"f2": {"", "again"}, "again": {"f2", ""}} {
		if s, err := ix.Event(id); err != nil || s.Requeues != want[0] || s.RequeuedAs != want[1] {
			t.Errorf("%s: %+v, %v", id, s, err)
		}
	}
	add(seen(event("f1", repoA, "1", epoch), subject(repoA, "a"))) // resolved at last
	ids, more = list("", time.Time{}, 10)
	check("after another attempt", "c ", false, ids, more)
}
