package pratique

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// TestFactTable: each row's body is of the row's kind, comes back from JSON, and has a meaning.
func TestFactTable(t *testing.T) {
	for _, row := range factTable {
		body := row.body()
		if body.FactKind() != row.kind || !strings.HasSuffix(row.means, ".") {
			t.Errorf("%s: the body is of kind %s, the meaning %q", row.kind, body.FactKind(), row.means)
		}
		encoded, err := json.Marshal(Fact{Event: "e", By: "test", Body: body})
		var back Fact
		if err != nil || json.Unmarshal(encoded, &back) != nil || back.Kind() != row.kind ||
			!reflect.DeepEqual(back.Body, body) {
			t.Errorf("%s: %s, %v, came back as %+v", row.kind, encoded, err, back)
		}
		var r Record
		r.Fold(1, back) // a kind without content changes nothing but the history
		if len(r.History) != 1 || r.History[0].Kind != row.kind {
			t.Errorf("%s: folded to %+v", row.kind, r)
		}
	}
}

func TestFactRefuses(t *testing.T) {
	if err := (Fact{Body: &Completed{State: StateDenied}}).Validate(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]Fact{"nothing": {}, "nil": {Body: (*Scanned)(nil)}} {
		if bad.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, bad := range map[string]string{
		"unknown kind": `{"kind":"rumor","body":{}}`, "no kind": `{"body":{}}`,
		"no body": `{"kind":"scanned"}`, "other type": `{"kind":"scanned","body":[]}`,
	} {
		var f Fact
		if json.Unmarshal([]byte(bad), &f) == nil {
			t.Errorf("%s: read as %+v", name, f)
		}
	}
}
