package pratique

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func TestFold(t *testing.T) {
	var r Record
	r.Fold(1, Fact{Body: &Evaluated{Verdict: Verdict{Outcome: Allow}}})
	r.Fold(2, Fact{Body: &Commit{Target: "a", ID: "1"}})
	r.Fold(3, Fact{Body: &Commit{Target: "b", ID: "2"}})
	r.Fold(4, Fact{Body: &Commit{Target: "a", ID: "1"}})
	r.Fold(5, Fact{Body: &Evaluated{Verdict: Verdict{Outcome: Deny}}})
	if r.Evaluated.Verdict.Outcome != Deny || len(r.Deployed) != 2 || len(r.History) != 5 {
		t.Errorf("%+v", r)
	}
}

// TestFoldDrifted: what Git no longer holds is not deployed, until it is deployed again.
func TestFoldDrifted(t *testing.T) {
	var r Record
	deployed := func(target, id string) Fact {
		return Fact{Body: &Commit{Target: target, ID: id}}
	}
	drifted := func(target string, state State) Fact {
		return Fact{Body: &Drifted{Target: target, State: state}}
	}
	for i, step := range []struct {
		fact Fact
		want string
	}{
		{deployed("a", "1"), "[a]"}, {deployed("b", "2"), "[a b]"},
		{drifted("a", StateReverted), "[b]"}, {drifted("a", StateSuperseded), "[b]"},
		{drifted("c", StateReverted), "[b]"}, {drifted("b", StateReverted), "[]"},
		{deployed("a", "1"), "[a]"}, {deployed("b", "3"), "[a b]"},
	} {
		if err := step.fact.Validate(); err != nil {
			t.Fatal(err)
		}
		r.Fold(uint64(i+1), step.fact)
		if got := fmt.Sprint(r.Standing()); got != step.want {
			t.Errorf("step %d: stands in %s, want %s", i, got, step.want)
		}
	}
	if len(r.Drifted) != 1 || r.Drifted[0].Target != "c" || len(r.Deployed) != 3 {
		t.Errorf("%+v", r)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var r Record
	fold := func(n int, f Fact) {
		for range n {
			r.Fold(uint64(r.Facts+1), f)
		}
	}
	matched := Fact{Body: &Scanned{}}
	fold(1, Fact{Body: &Resolved{}})
	fold(1, Fact{Body: &Completed{State: StateAllowed}})
	fold(MaxHistory-2, matched)
	if len(r.History) != MaxHistory || r.Facts != MaxHistory {
		t.Errorf("%d of %d facts, want all", len(r.History), r.Facts)
	}
	fold(1000, matched)
	all := MaxHistory + 1000
	if len(r.History) != MaxHistory || r.Facts != all {
		t.Errorf("%d of %d facts", len(r.History), r.Facts)
	}
	if h := r.History; h[0].Seq != 1 || h[1].Seq != 2 || h[1].Kind != FactCompleted ||
		h[2].Seq != uint64(all-MaxHistory+3) || h[MaxHistory-1].Seq != uint64(all) {
		t.Errorf("kept %+v, %+v, %+v … %+v", h[0], h[1], h[2], h[MaxHistory-1])
	}
	// A newer turn lets the older one go.
	fold(1, Fact{Body: &Resolved{}})
	fold(1, matched)
	if h := r.History; len(h) != MaxHistory || h[1].Kind != FactScanned ||
		h[MaxHistory-2].Kind != FactResolved {
		t.Errorf("kept %+v … %+v", h[1], h[MaxHistory-2])
	}
	fold(MaxHistory*2, matched)
	if h := r.History; h[0].Seq != 1 || h[1].Kind != FactResolved || h[2].Kind != FactScanned {
		t.Errorf("kept %+v, %+v, %+v", h[0], h[1], h[2])
	}
}

func TestErrorKind(t *testing.T) {
	cause := errors.New("boom")
	inner := Wrap(RateLimited, "fetch layer", "sha256:x", cause)
	outer := fmt.Errorf("inspect: %w", Wrap(Unknown, "inspect", "r/app", inner))
	if KindOf(outer) != RateLimited || !errors.Is(outer, cause) {
		t.Errorf("%v: %v", outer, KindOf(outer))
	}
	if KindOf(cause) != Unknown || Wrap(Invalid, "x", "", nil) != nil {
		t.Error("a plain error has a kind, or nil was wrapped")
	}
	if want := "inspect r/app: fetch layer sha256:x: boom"; Wrap(Unknown, "inspect", "r/app",
		inner).Error() != want {
		t.Errorf("message %q", Wrap(Unknown, "inspect", "r/app", inner))
	}
	for kind := Unknown; kind <= Internal; kind++ {
		encoded, err := json.Marshal(kind)
		var back Kind
		if err != nil || json.Unmarshal(encoded, &back) != nil || back != kind || kind.String() == "" {
			t.Errorf("kind %d: %s, %v", kind, encoded, err)
		}
	}
}

func TestSeverityJSON(t *testing.T) {
	encoded, err := json.Marshal(Counts{SeverityHigh: 2, SeverityUnknown: 1})
	if err != nil || string(encoded) != `{"HIGH":2,"UNKNOWN":1}` {
		t.Fatalf("%s, %v", encoded, err)
	}
	var back Counts
	if err := json.Unmarshal(encoded, &back); err != nil || back.Total() != 3 {
		t.Fatalf("%v, %v", back, err)
	}
	if json.Unmarshal([]byte(`{"high":1}`), &back) == nil {
		t.Error("a severity in lower case was read")
	}
}
