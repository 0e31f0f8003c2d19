package index

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
)

// generator makes facts of a small world, so that they meet each other.
type generator struct {
	random *rand.Rand
	images int
	events int
	clock  time.Time
}

func newGenerator(random *rand.Rand, images int) *generator {
	return &generator{random: random, images: images, clock: epoch}
}

func (g *generator) subject() pratique.Subject {
	repository := repoA
	if g.random.IntN(3) == 0 {
		repository = repoB
	}
	return subject(repository, fmt.Sprint("image", g.random.IntN(g.images)))
}

func (g *generator) fact() pratique.Fact {
	g.clock = g.clock.Add(time.Duration(g.random.IntN(3)) * time.Second)
	s := g.subject()
	id := fmt.Sprint("event", g.events)
	switch g.random.IntN(10) {
	case 0, 1:
		g.events++
		e := event(fmt.Sprint("event", g.events), s.Repository, fmt.Sprint("v", g.random.IntN(4)),
			g.clock)
		if g.random.IntN(3) == 0 {
			e.Source, e.OccurredAt = pratique.SourceSubmission, time.Time{}
		}
		if g.random.IntN(3) == 0 {
			e.Ref.Digest = s.Digest
		}
		var children []pratique.Child
		if g.random.IntN(4) == 0 {
			children = []pratique.Child{{Digest: g.subject().Digest, Platform: "linux/amd64"}}
		}
		return seen(e, s, children...)
	case 2:
		return evaluated(id, s, pratique.Deny)
	case 3:
		return evaluated("", s, pratique.Allow)
	case 4:
		return failed(event(id, s.Repository, "v1", g.clock), s, g.random.IntN(4), g.random.IntN(3) == 0)
	case 5:
		states := []pratique.State{pratique.StateAllowed, pratique.StateDenied,
			pratique.StateSuperseded, pratique.StateIgnored}
		f := settled(event(id, s.Repository, "v1", g.clock), s, states[g.random.IntN(len(states))])
		if g.random.IntN(2) == 0 {
			pratique.As[pratique.Completed](f).Verdict = verdictDigest(s, pratique.Deny)
		}
		return f
	case 6:
		return pratique.Fact{Subject: s, Event: id, At: g.clock,
			Body: &pratique.Commit{Target: g.target(), Tag: fmt.Sprint("v", g.random.IntN(4)), ID: id}}
	case 7:
		e := event(fmt.Sprint("unresolved", g.events), s.Repository, "v1", g.clock)
		return pratique.Fact{Event: e.ID, At: g.clock, Body: &e}
	case 8:
		return pratique.Fact{Subject: s, At: g.clock, Body: &pratique.Drifted{Target: g.target(),
			State: pratique.StateReverted}}
	default:
		return pratique.Fact{Subject: s, At: g.clock, Body: &pratique.Scanned{
			Report: s.Digest, Counts: pratique.Counts{pratique.SeverityHigh: g.random.IntN(9)},
		}}
	}
}

func (g *generator) target() string { return []string{"t", "t2"}[g.random.IntN(2)] }

// model is the index as plain maps, written for clarity alone.
type model struct {
	records map[pratique.Subject]*pratique.Record
	events  map[string]*EventStatus
	tags    map[pratique.ImageRef][]TagStep // oldest first
	parents map[pratique.Subject]map[pratique.Subject]bool

	deployments map[pratique.DeploymentKey]*pratique.Deployment
}

func newModel() *model {
	return &model{
		records: map[pratique.Subject]*pratique.Record{}, events: map[string]*EventStatus{},
		tags:        map[pratique.ImageRef][]TagStep{},
		parents:     map[pratique.Subject]map[pratique.Subject]bool{},
		deployments: map[pratique.DeploymentKey]*pratique.Deployment{},
	}
}

func (m *model) apply(seq uint64, f pratique.Fact) {
	if f.Event != "" {
		if m.events[f.Event] == nil {
			m.events[f.Event] = &EventStatus{Event: pratique.Event{ID: f.Event}}
		}
		var newest *pratique.Evaluated
		if r := m.records[f.Subject]; r != nil {
			newest = r.Evaluated
		}
		m.events[f.Event].fold(f, newest)
	}
	if f.Subject.IsZero() {
		return
	}
	if s := m.events[f.Event]; pratique.As[pratique.Completed](f) != nil &&
		s.State == "superseded" && s.Subject == f.Subject {
		steps := m.tags[pratique.ImageRef{Repository: s.Ref.Repository, Tag: s.Ref.Tag}]
		for i := range steps {
			if steps[i].Digest == s.Subject.Digest &&
				steps[i].At.Equal(pushedAt(s.OccurredAt, s.ReceivedAt)) {
				steps[i].Superseded = true
			}
		}
	}
	if m.records[f.Subject] == nil {
		m.records[f.Subject] = &pratique.Record{}
	}
	m.records[f.Subject].Fold(seq, f)
	if key, ok := f.Deployment(); ok {
		if m.deployments[key] == nil {
			m.deployments[key] = &pratique.Deployment{}
		}
		for _, d := range m.deployments[key].Fold(seq, f) {
			m.records[f.Subject.Sibling(d)].Supersede(f.Subject.Digest, pratique.As[pratique.Commit](f))
		}
	}
	if pratique.As[pratique.Resolved](f) == nil {
		return
	}
	if e := pratique.As[pratique.Resolved](f).Event; e.Source == "test" || e.Ref.Digest.IsZero() {
		m.push(e, f.Subject.Digest)
	}
	for _, c := range pratique.As[pratique.Resolved](f).Manifest.Children {
		child := f.Subject.Sibling(c.Digest)
		if m.parents[child] == nil {
			m.parents[child] = map[pratique.Subject]bool{}
		}
		m.parents[child][f.Subject] = true
	}
}

func (m *model) push(e pratique.Event, d pratique.Digest) {
	ref := pratique.ImageRef{Repository: e.Ref.Repository, Tag: e.Ref.Tag}
	step := TagStep{Digest: d, At: pushedAt(e.OccurredAt, e.ReceivedAt)}
	for _, known := range m.tags[ref] {
		if known.Digest == step.Digest && known.At.Equal(step.At) {
			return
		}
	}
	m.tags[ref] = append(m.tags[ref], step)
	slices.SortStableFunc(m.tags[ref], func(a, b TagStep) int { return a.At.Compare(b.At) })
}

// history is what a tag names and has named, the present first.
func (m *model) history(ref pratique.ImageRef) []TagStep {
	steps := slices.Clone(m.tags[ref])
	slices.Reverse(steps)
	slices.SortStableFunc(steps, func(a, b TagStep) int {
		switch {
		case a.Superseded == b.Superseded:
			return 0
		case a.Superseded:
			return 1
		}
		return -1
	})
	return steps
}

// compare asks the index everything the model knows.
func (m *model) compare(t *testing.T, ix *Index) {
	t.Helper()
	for s, want := range m.records {
		got, err := ix.Image(s)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, s.String(), *want, got)
		links, err := ix.Links(s)
		if err != nil || len(links.Parents) != len(m.parents[s]) {
			t.Fatalf("parents of %s: %v, want %v, %v", s, links.Parents, m.parents[s], err)
		}
		for _, tag := range links.Tags {
			steps := m.history(pratique.ImageRef{Repository: s.Repository, Tag: tag.Tag})
			if current := steps[0].Digest == s.Digest; current != tag.Current {
				t.Fatalf("%s: tag %s current %v, want %v", s, tag.Tag, tag.Current, current)
			}
		}
	}
	for id, want := range m.events {
		got, err := ix.Event(id)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, id, *want, got)
	}
	for ref := range m.tags {
		got, err := ix.Tag(ref)
		if err != nil {
			t.Fatal(err)
		}
		want := m.history(ref)
		equal(t, ref.String(), want[:min(len(want), maxHistory)], got)
	}
	m.compareLists(t, ix)
	m.compareDeployments(t, ix)
}

func (m *model) compareLists(t *testing.T, ix *Index) {
	t.Helper()
	for _, q := range []Query{{Limit: 3}, {Limit: 7, Repository: repoA},
		{Limit: 2, Outcome: pratique.Deny}, {State: "allowed"}, {State: "ignored"},
		{Repository: repoB, Outcome: pratique.Allow, Limit: 1}} {
		var want []pratique.Record
		for _, r := range m.records {
			s := summarise(*r)
			if (q.Repository.IsZero() || q.Repository == s.Subject.Repository) &&
				(q.State == "" && s.State != "ignored" || q.State == s.State) &&
				(q.Outcome == "" || q.Outcome == s.Outcome) {
				want = append(want, *r)
			}
		}
		slices.SortFunc(want, func(a, b pratique.Record) int {
			return int(b.History[0].Seq) - int(a.History[0].Seq)
		})
		got := walk(t, ix, q)
		if len(got) != len(want) {
			t.Fatalf("%+v: %d items, want %d", q, len(got), len(want))
		}
		for i := range want {
			equal(t, fmt.Sprintf("%+v item %d", q, i), summarise(want[i]), got[i])
		}
	}
}

func walk(t testing.TB, ix *Index, q Query) []Summary {
	var all []Summary
	for {
		page, err := ix.List(q)
		if err != nil {
			t.Error(err)
			return nil
		}
		if q.Limit > 0 && len(page.Items) > q.Limit {
			t.Errorf("%d items on a page of %d", len(page.Items), q.Limit)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

// Random facts in random batches, with overlaps and a reopening in the middle, give what the model
// gives; and so does a replay from zero.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			g, m := newGenerator(random, 25), newModel()
			path := filepath.Join(t.TempDir(), "index.db")
			ix := open(t, path)
			var ledger []pratique.Entry
			seq := uint64(0)
			for len(ledger) < 400 {
				start := max(0, len(ledger)-random.IntN(4)) // what was applied already comes again
				for range 1 + random.IntN(20) {
					seq += 1 + uint64(random.IntN(3)) // positions have gaps
					e := pratique.Entry{Seq: seq, Fact: g.fact()}
					ledger = append(ledger, e)
					m.apply(e.Seq, e.Fact)
				}
				apply(t, ix, ledger[start:]...)
				if random.IntN(5) == 0 {
					if err := ix.Close(); err != nil {
						t.Fatal(err)
					}
					ix = open(t, path)
				}
			}
			m.compare(t, ix)
			apply(t, ix, ledger...)
			m.compare(t, ix)

			rebuilt := fresh(t)
			apply(t, rebuilt, ledger...)
			m.compare(t, rebuilt)
			before, err := ix.Stats()
			if err != nil {
				t.Fatal(err)
			}
			after, err := rebuilt.Stats()
			if err != nil {
				t.Fatal(err)
			}
			before.Bytes, after.Bytes = 0, 0
			equal(t, "statistics", before, after)
			if err := ix.Close(); err != nil {
				t.Fatal(err)
			}
			if _, problems, err := Check(path); err != nil || len(problems) > 0 {
				t.Errorf("%q %v", problems, err)
			}
		})
	}
}

// A walk meets every image that was there at its beginning exactly once, while others are added and
// all change.
func TestWalkUnderWrites(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	const before = 60
	for i := range before {
		apply(t, ix, pratique.Entry{Seq: uint64(i + 1),
			Fact: evaluated("", subject(repoA, fmt.Sprint("image", i)), pratique.Allow)})
	}
	stop, writer := make(chan struct{}), sync.WaitGroup{}
	writer.Go(func() {
		random := rand.New(rand.NewPCG(3, 4))
		for seq := uint64(before + 1); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprint("image", random.IntN(before*2))
			if err := ix.Apply(t.Context(),
				[]pratique.Entry{{Seq: seq, Fact: evaluated("", subject(repoA, name),
					pratique.Deny)}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for range 4 {
				found := map[pratique.Subject]int{}
				for _, s := range walk(t, ix, Query{Limit: 7, Repository: repoA}) {
					found[s.Subject]++
				}
				for i := range before {
					if n := found[subject(repoA, fmt.Sprint("image", i))]; n != 1 {
						t.Errorf("image %d was met %d times", i, n)
					}
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	ix := fresh(t)
	for i := range 3 {
		apply(t, ix, pratique.Entry{Seq: uint64(i + 1),
			Fact: evaluated("", subject(repoA, fmt.Sprint(i)), pratique.Allow)})
	}
	page, err := ix.List(Query{Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	for name, q := range map[string]Query{
		"limit":         {Limit: MaxLimit + 1},
		"negative":      {Limit: -1},
		"garbage":       {Cursor: "???"},
		"short":         {Cursor: "AQ"},
		"other filters": {Cursor: page.Next, Outcome: pratique.Allow},
	} {
		if _, err := ix.List(q); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ix.List(Query{Limit: 2, Cursor: page.Next}); err != nil {
		t.Errorf("a page may have another size: %v", err)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(Query{}.filters(), number(7)))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, cursor string) {
		before, err := Query{Cursor: cursor}.before()
		if err == nil && cursor != "" {
			again, err := Query{Cursor: encodeCursor(Query{}.filters(), number(before))}.before()
			if err != nil || again != before {
				t.Fatal(again, before, err)
			}
		}
	})
}
