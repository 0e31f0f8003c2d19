package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline/deploying"
)

// folded are records made of the facts that were appended.
type folded struct{ w *world }

func (f folded) Deployed(_ context.Context, visit func(pratique.Record) error) error {
	all := map[pratique.Subject]*pratique.Record{}
	var order []pratique.Subject
	for i, fact := range f.w.facts {
		if fact.Subject.IsZero() {
			continue
		}
		if all[fact.Subject] == nil {
			all[fact.Subject] = &pratique.Record{}
			order = append(order, fact.Subject)
		}
		all[fact.Subject].Fold(uint64(i+1), fact)
	}
	for _, s := range order {
		if len(all[s].Deployed) > 0 {
			if err := visit(*all[s]); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsNow is what the targets hold.
type holdsNow []pratique.TargetPlaces

func (h holdsNow) Places(context.Context, ...pratique.Repository) ([]pratique.TargetPlaces, error) {
	return h, nil
}

// TestFactsAreCorrected: what Git does not hold is not deployed any longer, as far as the facts
// say; what it holds again is; and a second look adds nothing.
func TestFactsAreCorrected(t *testing.T) {
	w := newWorld(t)
	app, old := w.subject("app"), w.subject("old")
	record := func(s pratique.Subject, targets ...string) {
		for _, target := range targets {
			w.facts = append(w.facts,
				pratique.Fact{Subject: s, Body: &pratique.Commit{Target: target, ID: "c-" + target}})
		}
	}
	record(old, "prod", "test", "gone")
	record(app, "prod")
	place := func(s pratique.Subject) []pratique.Place {
		return []pratique.Place{{Path: "a.yaml", Line: 1, Tag: "1", Digest: s.Digest}}
	}
	prod := pratique.TargetPlaces{Target: "prod", Repository: app.Repository, Tip: "t1",
		Places: place(app), Count: 1}
	test := pratique.TargetPlaces{Target: "test", Repository: app.Repository, Tip: "t1",
		Places: place(w.subject("other")), Count: 1}
	check := func(want int, standing string, h holdsNow) {
		t.Helper()
		d := &deploying.Drift{Recorder: w.recorder(pratique.RoleDeploy), Records: folded{w}, Places: h}
		added, err := d.Check(t.Context())
		if err != nil || added != want {
			t.Fatalf("%d facts added, %v, want %d", added, err, want)
		}
		if err := (folded{w}).Deployed(t.Context(), func(r pratique.Record) error {
			if got := strings.Join(r.Standing(), " "); r.Subject == old && got != standing {
				t.Errorf("stands in %q, want %q", got, standing)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	both := holdsNow{prod, test}
	check(2, "gone", both)
	var states []pratique.State
	for _, f := range w.facts {
		if f.Kind() == pratique.FactDrifted {
			states = append(states, pratique.As[pratique.Drifted](f).State)
		}
	}
	same(t, "causes", []pratique.State{pratique.StateSuperseded, pratique.StateReverted}, states)
	check(0, "gone", both)
	// Somebody puts it back.
	test.Places = place(old)
	check(1, "test gone", holdsNow{prod, test})
	check(0, "test gone", holdsNow{prod, test})

	away := test
	away.Failure, away.Places = "could not look", nil
	if added, err := (&deploying.Drift{Recorder: w.recorder(pratique.RoleDeploy), Records: folded{w},
		Places: holdsNow{away}}).Check(t.Context()); added != 0 ||
		pratique.KindOf(err) == pratique.Unknown {
		t.Errorf("a remote that is away: %d facts, %v", added, err)
	}
	test.Places = nil
	test.Count = 0
	check(1, "gone", holdsNow{prod, test})
}

// TestNothingFreezesDeployed: a place that cannot be read, one for a tag alone, many places and one
// that goes on naming the digest do not keep an image deployed that Git holds no longer; and none
// of them takes one away that it holds.
func TestNothingFreezesDeployed(t *testing.T) {
	const path, pattern = "a.yaml", "1.*"
	w := newWorld(t)
	app, evil := w.subject("app"), w.subject("evil").Digest
	at := func(path string, d pratique.Digest) pratique.Place {
		return pratique.Place{Path: path, Line: 1, Digest: d}
	}
	broken := func(path string) []pratique.Problem {
		return []pratique.Problem{{Path: path, Reason: "no YAML"}}
	}
	good := at(path, app.Digest)
	for name, test := range map[string]struct {
		places   []pratique.Place
		problems []pratique.Problem
		count    int
		drifted  string // what the detail says, empty if the image stands
	}{
		"as it was": {places: []pratique.Place{good}},
		"another digest": {places: []pratique.Place{at(path, evil)},
			drifted: evil.String()},
		"a broken place": {places: []pratique.Place{at(path, evil)},
			problems: broken("notes.yaml"), drifted: evil.String()},
		"a broken place beside it": {places: []pratique.Place{good},
			problems: broken("notes.yaml")},
		"a broken place in its file": {places: []pratique.Place{good}, problems: broken(path)},
		"a place for a tag alone": {places: []pratique.Place{at(path, evil),
			{Path: "b.yaml", Tag: "1.0", TagOnly: true}}, drifted: evil.String()},
		"its tag alone": {places: []pratique.Place{{Path: "b.yaml", Tag: "1.0",
			TagOnly: true}}},
		"another tag alone": {places: []pratique.Place{{Path: "b.yaml", Line: 2,
			Tag: "evil", TagOnly: true}}, drifted: "Git holds " + app.Repository.String() +
			":evil in b.yaml, line 2"},
		"many places": {places: []pratique.Place{at(path, evil)}, count: 500,
			drifted: evil.String()},
		"many places, and it": {places: []pratique.Place{good}, count: 500},
		"a decoy": {places: []pratique.Place{at("decoy.yaml",
			app.Digest), at(path, evil)}, drifted: evil.String() + " in " + path},
		"a decoy, and its own is broken": {places: []pratique.Place{at("decoy.yaml",
			app.Digest)}, problems: broken(path), drifted: "cannot be read now: a.yaml: no YAML"},
		"a decoy, and nobody can read more": {places: []pratique.Place{at("decoy.yaml",
			app.Digest)}, problems: broken(""), drifted: "cannot be read now"},
		"a decoy, and a tag": {places: []pratique.Place{at("decoy.yaml",
			app.Digest), {Path: path, Line: 3, Tag: "evil"}}, drifted: ":evil in a.yaml, line 3"},
		"only what is broken": {problems: broken("c.yaml"),
			drifted: "this one cannot be read: c.yaml"},
		"a new place": {places: []pratique.Place{good,
			{Path: "new.yaml", Tag: "0"}}},
		"moved": {places: []pratique.Place{at("b.yaml", app.Digest)}},
		"another line of tags": {places: []pratique.Place{good,
			{Path: "b.yaml", Digest: evil, Tags: "2.*"}}},
		"its line of tags, and another": {places: []pratique.Place{{Path: path,
			Digest: app.Digest, Tags: pattern}, {Path: path, Digest: evil, Tags: "2.*"}}},
		"its line of tags, somewhere else": {places: []pratique.Place{good,
			{Path: "b.yaml", Digest: evil, Tags: pattern}}, drifted: evil.String()},
		"nothing of it, but of another line": {places: []pratique.Place{{Path: path, Digest: evil,
			Tags: "2.*"}}, drifted: evil.String()},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.facts = []pratique.Fact{{Subject: app, Body: &pratique.Commit{Target: "prod", ID: "c",
				Files: []pratique.FileChange{{Path: path, Line: 1, New: "1.0"},
					{Path: path, Line: 2, New: app.Digest.String()}}}}}
			held := pratique.TargetPlaces{Target: "prod", Repository: app.Repository, Tip: "t",
				Places: test.places, Count: max(test.count, len(test.places)), Problems: test.problems}
			check := func(want int) {
				t.Helper()
				if added, err := (&deploying.Drift{Recorder: w.recorder(pratique.RoleDeploy),
					Records: folded{w},
					Places:  holdsNow{held}}).Check(t.Context()); added != want || err != nil {
					t.Fatalf("%d facts, %v, want %d", added, err, want)
				}
			}
			if test.drifted == "" {
				check(0)
				return
			}
			check(1)
			names := func(p pratique.Place) bool { return p.Digest == app.Digest }
			remains := slices.ContainsFunc(held.Places, names)
			if d := pratique.As[pratique.Drifted](w.facts[len(w.facts)-1]); d == nil ||
				!strings.Contains(d.Detail, test.drifted) || d.State != pratique.StateReverted ||
				d.Remains != remains {
				t.Errorf("%+v, want %q", d, test.drifted)
			}
			check(0)     // and it stays so
			if remains { // until its last place is gone, or one is back
				all := held.Places
				held.Places = slices.DeleteFunc(slices.Clone(all), names)
				check(1)
				check(0)
				held.Places = all
				check(1)
				check(0)
			}
			held.Places, held.Problems, held.Count = []pratique.Place{good}, nil, 1
			check(1)
			if f := w.facts[len(w.facts)-1]; pratique.As[pratique.Commit](f) == nil {
				t.Errorf("%+v is not deployed again", f)
			}
			check(0)
		})
	}
}

// TestTagThatMovedOn: an image had two tags, and one of them names a newer image now, which a place
// of its own holds. Both stand.
func TestTagThatMovedOn(t *testing.T) {
	w := newWorld(t)
	old, newer := w.subject("old"), w.subject("newer")
	wrote := func(s pratique.Subject, path, tag string) pratique.Fact {
		return pratique.Fact{Subject: s, Body: &pratique.Commit{
			Target: "prod", ID: path + tag + s.Digest.String(),
			Files: []pratique.FileChange{{Path: path, Line: 1, New: s.Repository.String() + ":" +
				tag + "@" + s.Digest.String()}},
		}}
	}
	w.facts = []pratique.Fact{wrote(old, "stable.yaml", "1.0"), wrote(old, "edge.yaml", "latest"),
		wrote(newer, "edge.yaml", "latest")}
	held := pratique.TargetPlaces{Target: "prod", Repository: old.Repository, Tip: "t", Count: 2,
		Places: []pratique.Place{
			{Path: "stable.yaml", Line: 1, Tag: "1.0", Digest: old.Digest, Tags: "1.*"},
			{Path: "edge.yaml", Line: 1, Tag: "latest", Digest: newer.Digest, Tags: "latest"},
		}}
	check := func(want int) {
		t.Helper()
		if added, err := (&deploying.Drift{Recorder: w.recorder(pratique.RoleDeploy), Records: folded{w},
			Places: holdsNow{held}}).Check(t.Context()); added != want || err != nil {
			t.Fatalf("%d facts, %v, want %d: %+v", added, err, want,
				pratique.As[pratique.Drifted](w.facts[len(w.facts)-1]))
		}
	}
	check(0)
	// What nobody deployed does not belong there.
	held.Places[1].Digest = w.subject("evil").Digest
	check(2)
}
