package pipeline_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
)

// TestUnknownMembersArePassedOn: a newer process put something into the message that this one does
// not know.
func TestUnknownMembersArePassedOn(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	m.body = bytes.Replace(m.body, []byte("{"), []byte(`{"later":{"a":[1]},`), 1)
	w.mustHandle(m)
	w.mustHandle(w.last())
	next := w.last()
	var got struct {
		Later   json.RawMessage `json:"later"`
		Version int             `json:"version"`
	}
	if err := json.Unmarshal(next.body, &got); err != nil || string(got.Later) != `{"a":[1]}` ||
		got.Version != 1 || next.stage != string(pratique.StageDeploy) {
		t.Errorf("%s: %s, %v", next.stage, next.body, err)
	}
}

// TestNewerMessages: a message of a newer version waits for a process that reads it. Its event does
// not end meanwhile.
func TestNewerMessages(t *testing.T) {
	w := newWorld(t)
	m := w.publish(w.event("e1", "1.0"))
	m.body = bytes.Replace(m.body, []byte(`"version":1`), []byte(`"version":2`), 1)
	if _, err := pipeline.DecodeWork(m.body); pratique.KindOf(err) != pratique.Unavailable {
		t.Errorf("decoded: %v", err)
	}
	base := w.base(pratique.RoleInspect)
	cause := pratique.Errorf(pratique.Unavailable, "decode", "newer")
	if err := base.RecordFailure(t.Context(), pipeline.Failure{Stage: m.stage, Body: m.body,
		Attempt: 1, Cause: cause, Final: false}); err != nil || len(w.facts) != 0 {
		t.Errorf("%v, %d facts", err, len(w.facts))
	}
	if err := base.RecordFailure(t.Context(), pipeline.Failure{Stage: m.stage, Body: m.body,
		Attempt: 9, Cause: cause, Final: true}); err != nil || len(w.facts) == 0 {
		t.Errorf("nothing says how it ended: %v", err)
	}
}
