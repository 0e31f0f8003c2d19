package pipeline_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/deploy"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

func (w *world) encode(work pipeline.Work) []byte {
	w.t.Helper()
	body, err := json.Marshal(work)
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

// scenarios are pushes that end in different ways.
var scenarios = map[string]func(w *world){
	"allowed": func(*world) {},
	"denied":  func(w *world) { w.bad["app"] = true },
	"superseded": func(w *world) {
		w.targets[production] = deploy.Outcome{State: pratique.StateSuperseded}
	},
	"index": func(w *world) { w.image("1.0", "index", "linux/amd64 amd", "linux/arm64 arm") },
	"index, denied": func(w *world) {
		w.image("1.0", "index", "linux/amd64 amd", "linux/arm64 arm")
		w.bad["amd"] = true
	},
	"not an image": func(w *world) {
		m := w.manifests[ref("1.0").String()]
		m.NotImage = "chart"
		w.manifests[ref("1.0").String()] = m
	},
	"only one child": func(w *world) { w.image("1.0", "index", "linux/amd64 amd") },
}

// TestEveryEffectHasItsEdges: right before and right after whatever lasts, an edge is passed, so
// the tests that kill the process miss none of it.
func TestEveryEffectHasItsEdges(t *testing.T) {
	for name, prepare := range scenarios {
		w := newWorld(t)
		prepare(w)
		m := w.publish(w.event("e1", "1.0"))
		w.forget()
		for next := 0; ; next++ {
			w.mustHandle(m)
			if next+2 > len(w.queue) {
				break
			}
			m = w.queue[next+1]
		}
		verb := func(line string) string { return strings.Fields(line)[0] }
		lasting := []string{"fact", "enqueue", "attach", "commit"}
		lines := slices.DeleteFunc(w.lines, func(line string) bool {
			return verb(line) != "edge" && !slices.Contains(lasting, verb(line))
		})
		for i, line := range lines {
			point := verb(line)
			switch point {
			case "edge":
				continue
			case "fact":
				point = strings.Fields(line)[1]
			}
			_, before, _ := strings.Cut(lines[i-1], ":")
			_, after, _ := strings.Cut(lines[i+1], ":")
			if before != "before-"+point || after != "after-"+point {
				t.Errorf("%s: %q stands between %q and %q", name, line, lines[i-1], lines[i+1])
			}
		}
	}
}

// TestNothingIsPassedOnBeforeItIsRecorded: of every stage the hand-over, or the end, is the last
// effect.
func TestNothingIsPassedOnBeforeItIsRecorded(t *testing.T) {
	for name, prepare := range scenarios {
		w := newWorld(t)
		prepare(w)
		w.publish(w.event("e1", "1.0"))
		for i := 0; i < len(w.queue); i++ {
			w.forget()
			w.mustHandle(w.queue[i])
			done := w.effects()
			for j, line := range done {
				ends := strings.HasPrefix(line, "enqueue ") || strings.HasPrefix(line, "fact completed ")
				if ends != (j == len(done)-1) {
					t.Errorf("%s, %s: %q is number %d of %v", name, w.queue[i].stage, line, j, done)
				}
			}
		}
	}
}

// TestDeathAtEveryEdge lets the process die at each edge in turn, delivers the message again, and
// wants what would have come without: the same facts but for repeated ones, the same in the
// registry, and no work twice whose fact was recorded.
func TestDeathAtEveryEdge(t *testing.T) {
	for name, prepare := range scenarios {
		calm := newWorld(t)
		prepare(calm)
		calm.push("e1", "1.0")
		var edges []string
		counts := map[string]int{}
		for _, point := range calm.passed() {
			counts[point]++
			edges = append(edges, fmt.Sprintf("%s#%d", point, counts[point]))
		}
		if len(edges) < 4 {
			t.Fatalf("%s: only %d edges", name, len(edges))
		}
		for _, edge := range edges {
			t.Run(name+"/"+edge, func(t *testing.T) {
				w := newWorld(t)
				prepare(w)
				w.crash = edge
				w.publish(w.event("e1", "1.0"))
				died := 0
				for i := 0; i < len(w.queue); i++ {
					for {
						err, alive := w.handle(w.queue[i])
						if err != nil {
							t.Fatal(err)
						}
						if alive {
							break
						}
						died++
						w.held = 0 // what a dead process held is free
					}
				}
				if died != 1 {
					t.Fatalf("the process died %d times", died)
				}
				same(t, "what the registry holds", calm.holdings(), w.holdings())
				same(t, "facts, each once", once(calm.recorded()), once(w.recorded()))
				if len(w.queue) != len(calm.queue) {
					t.Errorf("%d messages, want %d", len(w.queue), len(calm.queue))
				}
				w.checkNotRepeated()
			})
		}
	}
}

func (w *world) holdings() map[string][]string {
	all := map[string][]string{}
	for s := range w.registry.held {
		for _, a := range w.registry.list(s) {
			all[w.name(s)] = append(all[w.name(s)], a.PredicateType+" "+a.Digest.String())
		}
	}
	return all
}

func (w *world) recorded() []string {
	var all []string
	for _, f := range w.facts {
		all = append(all, string(f.Kind())+" "+w.name(f.Subject))
	}
	return all
}

// once keeps the first of each.
func once(lines []string) []string {
	var out []string
	known := map[string]bool{}
	for _, line := range lines {
		if !known[line] {
			known[line] = true
			out = append(out, line)
		}
	}
	return out
}

// checkNotRepeated wants work whose fact is on record to be done no second time.
func (w *world) checkNotRepeated() {
	w.t.Helper()
	recordedBy := map[string]string{"parse": "inspected", "fetch": "inspected", "match": "scanned",
		"attach": "attested"}
	recorded := map[string]bool{}
	for _, line := range w.effects() {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "fact":
			fact := fields[1] + " " + fields[2]
			// These are about the event, and told again; all others are results.
			if fields[1] != "resolved" && fields[1] != "completed" && fields[1] != "deployed" &&
				recorded[fact] && fact != "inspected index" {
				w.t.Errorf("recorded twice: %s", fact)
			}
			recorded[fact] = true
		case recordedBy[fields[0]] != "" && recorded[recordedBy[fields[0]]+" "+fields[1]]:
			w.t.Errorf("%q was done again after its fact", line)
		}
	}
}

// TestEndedMessageAgain delivers every message a second time, after the end.
func TestEndedMessageAgain(t *testing.T) {
	for name, prepare := range scenarios {
		w := newWorld(t)
		prepare(w)
		w.push("e1", "1.0")
		messages := w.queue
		for _, m := range messages {
			w.mustHandle(m)
		}
		if len(w.queue) != len(messages) {
			t.Errorf("%s: redelivery made %d messages of %d", name, len(w.queue), len(messages))
		}
		w.checkNotRepeated()
	}
}

// TestGarbage: what cannot be read is Invalid in every stage, so it is not tried again, and no work
// is done. It was accepted all the same, so it ends as failed, by the id of its event wherever that
// can be read.
func TestGarbage(t *testing.T) {
	noRef := pratique.Event{ID: "e1", Ref: pratique.ImageRef{Repository: repository}}
	noID := pratique.Event{Ref: ref("1.0")}
	hostile := pratique.Event{ID: "e1", Ref: ref("1.0")}
	hostile.Ref.Repository.Path = "../../etc"
	encode := func(e pratique.Event) string {
		body, err := json.Marshal(pipeline.Work{Event: e})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for name, c := range map[string]struct {
		body, id string // an empty id is one made from the bytes
		ref      pratique.ImageRef
	}{
		"empty": {}, "not JSON": {body: "\x00\xff"}, "null": {body: "null"}, "a list": {body: "[]"},
		"no event": {body: "{}"}, "no id": {body: encode(noID), ref: ref("1.0")},
		"an id in pieces":   {body: `{"event":{"id":{"a":1}}}`},
		"a long id":         {body: `{"event":{"id":"` + strings.Repeat("x", 600_000) + `"}}`},
		"an odd id":         {body: `{"event":{"id":"a.b>* "}}`},
		"wrong digest":      {body: `{"event":{"id":"e"},"subject":{"digest":"sha256:1"}}`, id: "e"},
		"digest of the ref": {body: `{"event":{"id":"e","ref":{"repository":{"registry":"r.test","path":"a"},"tag":"1","digest":"sha1:0"}}}`, id: "e"},
		"no ref":            {body: encode(noRef), id: "e1"},
		"hostile":           {body: encode(hostile), id: "e1"},
		"another subject": {body: strings.Replace(encode(pratique.Event{ID: "e2",
			Ref: ref("1.0")}), `"event"`, `"subject":7,"event"`, 1), id: "e2", ref: ref("1.0")},
		"an unreadable priority": {body: `{"event":{"id":"e3","priority":5}}`, id: "e3"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, stage := range []string{pratique.StageInspect, pratique.StageAttest,
				pratique.StageDeploy} {
				err, _ := w.handle(message{stage: stage, body: []byte(c.body)})
				if pratique.KindOf(err) != pratique.Invalid {
					t.Errorf("in %s: %v", stage, err)
				}
			}
			if len(w.lines) != 0 {
				t.Errorf("it led to %q", w.lines)
			}
			base := w.base(pratique.RoleInspect)
			for range 2 { // a message whose end was not confirmed comes again
				if err := base.RecordFailure(t.Context(),
					pipeline.Failure{Stage: pratique.StageInspect, Body: []byte(c.body), Attempt: 1,
						Cause: errPlain, Final: true}); err != nil {
					t.Fatalf("Failed asks to be called again: %v", err)
				}
			}
			if len(w.facts) != 2 {
				t.Fatalf("%d facts: %+v", len(w.facts), w.facts)
			}
			w.checkFacts()
			failed, end := w.facts[0], w.facts[1]
			made := c.id == "" && strings.HasPrefix(failed.Event, "unreadable-") && len(w.documents) == 1
			if !made && failed.Event != c.id || end.Event != failed.Event ||
				!failed.Subject.IsZero() || !pratique.As[pratique.Failed](failed).Final ||
				pratique.As[pratique.Failed](failed).Kind != pratique.Invalid {
				t.Errorf("failed %+v, end %+v", failed, end)
			}
			if pratique.As[pratique.Completed](end).State != pratique.StateFailed ||
				pratique.As[pratique.Completed](end).Ref != c.ref ||
				pratique.As[pratique.Failed](failed).Ref != c.ref {
				t.Errorf("end %+v, failed %+v", pratique.As[pratique.Completed](end),
					pratique.As[pratique.Failed](failed))
			}
		})
	}
}

func TestFailed(t *testing.T) {
	cause := pratique.Errorf(pratique.Unavailable, "fetch layer", "no route")
	digest := pratique.DigestOf([]byte("app"))
	byDigest := pratique.ImageRef{Repository: repository, Tag: "1.0", Digest: digest}
	tests := []struct {
		name    string
		ref     pratique.ImageRef
		subject pratique.Subject
		final   bool
		want    []string
	}{
		{"first attempt", ref("1.0"), pratique.Subject{}, false, []string{"failed "}},
		{"last attempt", ref("1.0"), pratique.Subject{}, true, []string{"received ", "failed ",
			"completed "}},
		{"first attempt, digest named", byDigest, pratique.Subject{}, false, []string{"failed app"}},
		{"last attempt, digest named", byDigest, pratique.Subject{}, true,
			[]string{"received ", "failed app", "completed app"}},
		{"last attempt, resolved", ref("1.0"), pratique.Subject{Repository: repository,
			Digest: digest}, true, []string{"failed app", "completed app"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			e := w.event("e1", "1.0")
			e.Ref = tt.ref
			base := w.base(pratique.RoleInspect)
			body := w.encode(pipeline.Work{Event: e, Subject: tt.subject})
			if err := base.RecordFailure(t.Context(), pipeline.Failure{Stage: pratique.StageInspect,
				Body: body, Attempt: 4, Cause: cause, Final: tt.final}); err != nil {
				t.Fatal(err)
			}
			same(t, "facts", tt.want, w.recorded())
			same(t, "failed", &pratique.Failed{
				Stage: "inspect", Kind: pratique.Unavailable, Message: "fetch layer: no route",
				Ref: tt.ref, Attempts: 4, Final: tt.final,
			}, pratique.As[pratique.Failed](w.facts[len(tt.want)-1-map[bool]int{true: 1}[tt.final]]))
			for _, f := range w.facts {
				if f.Event != "e1" || pratique.As[pratique.Event](f) != nil &&
					*pratique.As[pratique.Event](f) != e {
					t.Errorf("the fact is about event %q: %+v", f.Event, pratique.As[pratique.Event](f))
				}
			}
			if tt.final {
				same(t, "end", &pratique.Completed{State: pratique.StateFailed,
					Detail: "inspect: fetch layer: no route", Ref: tt.ref},
					pratique.As[pratique.Completed](w.facts[len(tt.want)-1]))
			}
		})
	}
}

// TestFailuresInALongOutage: the ledger keeps everything, so not every attempt is recorded.
func TestFailuresInALongOutage(t *testing.T) {
	w := newWorld(t)
	base := w.base(pratique.RoleInspect)
	body := w.encode(pipeline.Work{Event: w.event("e1", "1.0")})
	for attempt := 1; attempt <= 300; attempt++ {
		if err := base.RecordFailure(t.Context(), pipeline.Failure{Stage: pratique.StageInspect,
			Body: body, Attempt: attempt, Cause: errPlain, Final: attempt == 300}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.facts) != 9+3 { // 1, 2, 4 … 256, and the last one with the end and what was received
		t.Errorf("%d facts", len(w.facts))
	}
}

// TestFailedThatFails: if the ledger does not take the failure, the queue has to know.
func TestFailedThatFails(t *testing.T) {
	for _, call := range []string{"fact received ", "fact failed ", "fact completed "} {
		w := newWorld(t)
		w.fail[call] = pratique.Errorf(pratique.Unavailable, "append", "as told")
		base := w.base(pratique.RoleInspect)
		body := w.encode(pipeline.Work{Event: w.event("e1", "1.0")})
		isKind(t, base.RecordFailure(t.Context(), pipeline.Failure{Stage: pratique.StageInspect,
			Body: body, Attempt: 1, Cause: errPlain, Final: true}), pratique.Unavailable, w.fail[call])
	}
}

// TestMessageWithoutSubject: a stage behind the resolution does nothing with it. The event ends as
// failed, by facts that the role of the stage may record.
func TestMessageWithoutSubject(t *testing.T) {
	for role, stage := range map[pratique.Role]pratique.Stage{
		pratique.RoleAttest: pratique.StageAttest, pratique.RoleDeploy: pratique.StageDeploy,
	} {
		w := newWorld(t)
		body := w.encode(pipeline.Work{Event: w.event("e1", "1.0")})
		base := w.base(role)
		_, _, err := base.Begin(t.Context(), body)
		isKind(t, err, pratique.Invalid, nil)
		if err := base.RecordFailure(t.Context(), pipeline.Failure{Stage: string(stage), Body: body,
			Attempt: 1, Cause: err, Final: true}); err != nil {
			t.Fatal(err)
		}
		for _, f := range w.facts {
			if !f.Kind().WrittenBy(role) {
				t.Errorf("%s recorded %s", role, f.Kind())
			}
		}
		same(t, "facts", []string{"failed ", "completed "}, w.recorded())
	}
}

func TestIntake(t *testing.T) {
	w := newWorld(t)
	intake := &pipeline.Intake{Recorder: w.recorder(pratique.RoleQuery), Batches: queue{w}}
	if err := intake.Submit(t.Context(), w.event("e1", "1.0")); err != nil {
		t.Fatal(err)
	}
	w.inOrder("enqueue inspect e1", "fact received ")
	w.forget()
	same(t, "priority", pratique.PriorityPush, w.last().priority)
	same(t, "received", "e1", pratique.As[pratique.Event](w.facts[0]).ID)
	if err := intake.Publish(t.Context(), []pratique.Event{w.event("e2", "1.0"),
		w.event("e5", "1.1")}); err != nil {
		t.Fatal(err)
	}
	w.inOrder("enqueue inspect e2", "enqueue inspect e5")
	w.never("fact")

	w.fail["enqueue inspect e3"] = pratique.Errorf(pratique.Unavailable, "publish", "as told")
	isKind(t, intake.Submit(t.Context(), w.event("e3", "1.0")), pratique.Unavailable,
		w.fail["enqueue inspect e3"])
	w.never("fact")

	w.fail["fact received "] = pratique.Errorf(pratique.Unavailable, "append", "as told")
	if err := intake.Submit(t.Context(), w.event("e4", "1.0")); err != nil {
		t.Errorf("refused what was enqueued: %v", err)
	}
	w.forget()

	isKind(t, intake.Submit(t.Context(), w.event("", "1.0")), pratique.Invalid, nil)
	w.never("enqueue", "fact")
}
