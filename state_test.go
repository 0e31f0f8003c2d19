package pratique

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file again")

// everyWork returns work in each state that there is.
func everyWork() []Work {
	all := []Work{{}, {State: StateFailed, Done: true}}
	for _, s := range States() {
		if s.progress() > 0 {
			all = append(all, Work{State: s})
		}
	}
	for _, s := range Ends() {
		all = append(all, Work{State: s, Done: true, Completed: true})
	}
	return all
}

// everyFact returns a fact of each kind, of each end among them, and of both ways to fail.
func everyFact() []Fact {
	var all []Fact
	for _, row := range factTable {
		all = append(all, Fact{Body: row.body()})
	}
	all = append(all, Fact{Body: &Failed{Final: true}})
	for _, s := range Ends() {
		all = append(all, Fact{Body: &Completed{State: s}})
	}
	return all
}

func (w Work) name() string {
	switch {
	case w.Completed:
		return string(w.State) + ", completed"
	case w.Done:
		return string(w.State) + " for good"
	case w.State == "":
		return "nothing"
	}
	return string(w.State)
}

func nameOf(f Fact) string {
	switch body := f.Body.(type) {
	case *Failed:
		if body.Final {
			return "failed for good"
		}
	case *Completed:
		return "completed as " + string(body.State)
	}
	return string(f.Kind())
}

// TestTransitions walks all pairs of state and fact, and compares them with what is checked in.
func TestTransitions(t *testing.T) {
	var b strings.Builder
	for _, w := range everyWork() {
		for _, f := range everyFact() {
			if c := As[Completed](f); c != nil && c.State == "" {
				continue
			}
			for _, again := range []bool{false, true} {
				if again && f.Kind() != FactReceived && f.Kind() != FactResolved {
					continue
				}
				if next := w.Next(f, again); next != w {
					name := nameOf(f)
					if again {
						name += " again"
					}
					fmt.Fprintf(&b, "%s + %s = %s\n", w.name(), name, next.name())
				}
				check(t, w, f, w.Next(f, again), again)
			}
		}
	}
	const golden = "testdata/transitions.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != b.String() {
		t.Errorf("the transitions differ from %s (%v); now they are\n%s", golden, err, b.String())
	}
}

// check states what holds for every transition.
func check(t *testing.T, before Work, f Fact, after Work, again bool) {
	t.Helper()
	where := fmt.Sprintf("%s + %s", before.name(), nameOf(f))
	if after.Completed && !after.Done || after.Done && !slices.Contains(Ends(), after.State) {
		t.Errorf("%s: %+v is no state", where, after)
	}
	if before.Completed && !after.Completed && !(again && before.State == StateFailed) {
		t.Errorf("%s: work that was completed goes on as %s", where, after.name())
	}
	if before.Completed && before.State.Outcome() != "" && after != before {
		t.Errorf("%s: an answer became %s", where, after.name())
	}
	if !before.Done && !after.Done && after.State.progress() < before.State.progress() {
		t.Errorf("%s: work goes back to %s", where, after.name())
	}
	if after.Next(f, false) != after && !again {
		t.Errorf("%s: the same fact twice does more than once", where)
	}
}

func TestStates(t *testing.T) {
	all := States()
	for _, s := range []State{"received", "resolved", "inspected", "scanned", "affected",
		"evaluated", "attested", "deployed", "allowed", "denied", "canceled"} {
		if !slices.Contains(all, s) || s.Means() == "" {
			t.Errorf("%s is missing, or means nothing", s)
		}
	}
	if slices.Sort(all); len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a state stands twice: %v", all)
	}
}

// TestFactsPage: docs/facts.md has the tables as they are. Run with -update to write it again.
func TestFactsPage(t *testing.T) {
	const page = "docs/facts.md"
	var b strings.Builder
	b.WriteString("# Facts and states\n\n" +
		"Everything that happens to an image is a fact in the ledger. This page is written by `go test . -run TestFactsPage\n-update` from the tables in `fact.go` and `state.go`.\n\n" +
		"| kind of fact | the newest one stands for | written by | it says |\n|---|---|---|---|\n")
	about := map[About]string{AboutSubject: "a subject", AboutEvent: "an event",
		AboutDeployment: "a subject and a target", AboutAnswer: "an event and a target"}
	for _, row := range factTable {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", row.kind, about[row.about],
			strings.Trim(fmt.Sprint(row.by), "[]"), row.means)
	}
	b.WriteString("\nWhile work goes on its state is the kind of the furthest fact. Then it is one of these:\n\n| end | verdict | it says |\n|---|---|---|\n")
	for _, row := range endTable {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", row.state, row.outcome, row.means)
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(page); err != nil || string(have) != b.String() {
		t.Errorf("%s does not say what the tables say: %v", page, err)
	}
}
