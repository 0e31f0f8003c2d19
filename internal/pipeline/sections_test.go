package pipeline_test

import (
	"testing"

	"github.com/pratique-dev/pratique"
)

// TestSections follows what was found beside packages to the verdict.
func TestSections(t *testing.T) {
	w := newWorld(t)
	w.sections = []pratique.Section{pratique.SectionSecrets, pratique.SectionLicences}
	w.found = &pratique.Sections{
		Scanner: w.scanner, Scanned: w.sections, Secrets: []pratique.Secret{{Title: "a token in /srv/env"}},
		Licences: []pratique.Licence{{Name: "MIT"}, {Name: "ISC"}},
	}
	w.push("e1", "1.0")
	inspected := w.newest(w.subject("app"), pratique.FactInspected).Inspected
	same(t, "scanned", w.sections, inspected.Scanned)
	if want := (pratique.SectionCounts{Secrets: 1, Licences: 2}); inspected.SectionCounts != want {
		t.Errorf("counts %+v", inspected.SectionCounts)
	}
	var stored pratique.Sections
	w.document(inspected.Sections, &stored)
	if len(stored.Secrets) != 1 || len(stored.Licences) != 2 {
		t.Errorf("stored %+v", stored)
	}
	verdict := w.newest(w.subject("app"), pratique.FactJudged).Judged.Verdict
	if verdict.Outcome != pratique.Deny || len(verdict.Reasons) != 1 || verdict.Reasons[0].Rule != "secret" {
		t.Errorf("verdict %+v", verdict)
	}
	if last := verdict.Inputs[len(verdict.Inputs)-1]; last.Kind != "sections" || last.Digest != inspected.Sections {
		t.Errorf("inputs %+v", verdict.Inputs)
	}
}

// TestSectionsThatWereNotLookedFor: an image does not pass because a child forgot to look.
func TestSectionsThatWereNotLookedFor(t *testing.T) {
	for name, found := range map[string]*pratique.Sections{
		"nothing": {}, "less": {Scanned: []pratique.Section{pratique.SectionSecrets}},
		"others": {Scanned: []pratique.Section{pratique.SectionMisconfigurations, pratique.SectionLicences}},
	} {
		w := newWorld(t)
		w.sections = []pratique.Section{pratique.SectionSecrets, pratique.SectionLicences}
		w.found = found
		m := w.publish(w.event("e1", "1.0"))
		if err, _ := w.handle(m); pratique.KindOf(err) != pratique.Internal {
			t.Errorf("%s: error %v", name, err)
		}
		for _, f := range w.facts {
			if f.Kind == pratique.FactInspected {
				t.Errorf("%s: inspected %+v", name, f.Inspected)
			}
		}
	}
}
