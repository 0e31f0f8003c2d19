package pipeline_test

import (
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestExtras follows what was found beside packages to the verdict.
func TestExtras(t *testing.T) {
	w := newWorld(t)
	w.extras = []pratique.ExtraKind{pratique.ExtraSecrets, pratique.ExtraLicenses}
	w.found = &pratique.Extras{
		Scanner: w.scanner, Kinds: w.extras, Secrets: []pratique.Secret{{Title: "a token in /srv/env"}},
		Licenses: []pratique.License{{Name: "MIT"}, {Name: "ISC"}},
	}
	w.push("e1", "1.0")
	inspected := pratique.As[pratique.Inspected](w.newest(w.subject("app"), pratique.FactInspected))
	same(t, "scanned", w.extras, inspected.ExtraKinds)
	if want := (pratique.ExtraCounts{Secrets: 1, Licenses: 2}); inspected.ExtraCounts != want {
		t.Errorf("counts %+v", inspected.ExtraCounts)
	}
	var stored pratique.Extras
	w.document(inspected.Extras, &stored)
	if len(stored.Secrets) != 1 || len(stored.Licenses) != 2 {
		t.Errorf("stored %+v", stored)
	}
	verdict := pratique.As[pratique.Evaluated](w.newest(w.subject("app"), pratique.FactEvaluated)).Verdict
	if verdict.Outcome != pratique.Deny || len(verdict.Reasons) != 1 ||
		verdict.Reasons[0].Rule != "secret" {
		t.Errorf("verdict %+v", verdict)
	}
	if last := verdict.Inputs[len(verdict.Inputs)-1]; last.Kind != "extras" ||
		last.Digest != inspected.Extras {
		t.Errorf("inputs %+v", verdict.Inputs)
	}
}

// TestExtrasThatWereNotLookedFor: an image does not pass because a child forgot to look.
func TestExtrasThatWereNotLookedFor(t *testing.T) {
	for name, found := range map[string]*pratique.Extras{
		"nothing": {}, "less": {Kinds: []pratique.ExtraKind{pratique.ExtraSecrets}},
		"others": {Kinds: []pratique.ExtraKind{pratique.ExtraMisconfigurations, pratique.ExtraLicenses}},
	} {
		w := newWorld(t)
		w.extras = []pratique.ExtraKind{pratique.ExtraSecrets, pratique.ExtraLicenses}
		w.found = found
		m := w.publish(w.event("e1", "1.0"))
		if err, _ := w.handle(m); pratique.KindOf(err) != pratique.Internal {
			t.Errorf("%s: error %v", name, err)
		}
		for _, f := range w.facts {
			if f.Kind() == pratique.FactInspected {
				t.Errorf("%s: inspected %+v", name, pratique.As[pratique.Inspected](f))
			}
		}
	}
}
