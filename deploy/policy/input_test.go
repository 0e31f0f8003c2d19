package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

func TestNewInputRefusesHalfTheEvidence(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*pratique.Subject, *pratique.Inspected, *pratique.Report, *time.Time){
		"no digest": func(s *pratique.Subject, _ *pratique.Inspected, _ *pratique.Report, _ *time.Time) {
			s.Digest = pratique.Digest{}
		},
		"no repository": func(s *pratique.Subject, _ *pratique.Inspected,
			_ *pratique.Report, _ *time.Time) {
			s.Repository = pratique.Repository{}
		},
		"no inventory": func(_ *pratique.Subject, i *pratique.Inspected,
			r *pratique.Report, _ *time.Time) {
			i.Inventory, r.Inventory = pratique.Digest{}, pratique.Digest{}
		},
		"other inventory": func(_ *pratique.Subject, _ *pratique.Inspected,
			r *pratique.Report, _ *time.Time) {
			r.Inventory = pratique.DigestOf(nil)
		},
		"no scanner": func(_ *pratique.Subject, _ *pratique.Inspected, r *pratique.Report, _ *time.Time) {
			r.Scanner = pratique.Tool{}
		},
		"no database": func(_ *pratique.Subject, _ *pratique.Inspected,
			r *pratique.Report, _ *time.Time) {
			r.Database.Digest = pratique.Digest{}
		},
		"undated database": func(_ *pratique.Subject, _ *pratique.Inspected,
			r *pratique.Report, _ *time.Time) {
			r.Database.UpdatedAt = time.Time{}
		},
		"no time": func(_ *pratique.Subject, _ *pratique.Inspected, _ *pratique.Report, now *time.Time) {
			*now = time.Time{}
		},
	}
	for name, spoil := range tests {
		subject, now := testSubject(t), testNow
		inspected, report := testEvidence()
		spoil(&subject, &inspected, &report, &now)
		if _, err := NewInput(subject, inspected, report, nil,
			now); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNewInputRefusesOtherSections: what was looked for, says the fact; a document that says
// otherwise is another one.
func TestNewInputRefusesOtherSections(t *testing.T) {
	t.Parallel()
	for name, extras := range map[string]*pratique.Extras{
		"none": nil, "empty": {}, "fewer": {Kinds: pratique.ExtraKinds()[:2]},
	} {
		inspected, report := testEvidence()
		testSections(&inspected)
		if _, err := NewInput(testSubject(t), inspected, report, extras,
			testNow); pratique.KindOf(err) != pratique.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	inspected, report := testEvidence()
	if _, err := NewInput(testSubject(t), inspected, report,
		&pratique.Extras{Kinds: pratique.ExtraKinds()},
		testNow); pratique.KindOf(err) != pratique.Corrupt {
		t.Errorf("nothing was looked for: %v", err)
	}
	in, err := NewInput(testSubject(t), inspected, report, nil, testNow)
	if err != nil || in.Scan.Scanned != (ScannedInput{}) || in.Scan.Secrets == nil ||
		in.Scan.Misconfigurations == nil || in.Scan.Licenses == nil {
		t.Errorf("%+v, error %v", in.Scan, err)
	}
}

func TestNewInput(t *testing.T) {
	t.Parallel()
	in := testInput(t, pratique.Finding{
		ID: "CVE-1", Severity: pratique.SeverityHigh, Published: testNow.Add(-24 * time.Hour),
		CVSS: map[string]pratique.CVSS{"nvd": {V2Score: 9.9, V3Score: 7.5}, "ghsa": {V3Score: 8.1}},
	})
	if got := in.Scan.Database.AgeSeconds; got != 3600 {
		t.Errorf("age %d", got)
	}
	f := in.Scan.Findings[0]
	if f.Score != 8.1 || f.Severity != "HIGH" || f.Published != "2026-07-31T12:00:00Z" ||
		f.Modified != "" {
		t.Errorf("finding %+v", f)
	}
	if diff := cmp.Diff([]string{"spdx"}, in.SBOM.Formats); diff != "" {
		t.Error(diff)
	}
}

// The schema is what rules are checked against, so it must name exactly the fields of Input, all of
// them always written.
func TestSchemaDescribesTheInput(t *testing.T) {
	t.Parallel()
	var schema, doc any
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(testInput(t, pratique.Finding{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	compareWithSchema(t, "input", schema.(map[string]any), doc)
}

func compareWithSchema(t *testing.T, at string, schema map[string]any, doc any) {
	t.Helper()
	switch v := doc.(type) {
	case nil:
		t.Errorf("%s is null: a rule cannot iterate over it", at)
	case map[string]any:
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return // labels: free keys
		}
		required := map[string]bool{}
		for _, name := range schema["required"].([]any) {
			required[name.(string)] = true
		}
		for name := range properties {
			if _, ok := v[name]; !ok || !required[name] {
				t.Errorf("%s.%s: written %v, required %v", at, name, ok, required[name])
			}
		}
		for name, value := range v {
			sub, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is not in the schema", at, name)
				continue
			}
			compareWithSchema(t, at+"."+name, sub, value)
		}
	case []any:
		for _, e := range v {
			compareWithSchema(t, at+"[]", schema["items"].(map[string]any), e)
		}
	}
}

func TestWorst(t *testing.T) {
	t.Parallel()
	shared := pratique.Reason{Rule: "severity", Message: "HIGH CVE-1", Finding: "CVE-1"}
	own := pratique.Reason{Rule: "severity", Message: "HIGH CVE-2", Finding: "CVE-2"}
	more := pratique.Reason{Rule: RuleMore, Message: "and 7 more"}
	amd := pratique.PlatformDecision{Child: pratique.Child{Digest: pratique.DigestOf([]byte("a")),
		Platform: "linux/amd64"}, Decision: pratique.Decision{
		Outcome: pratique.Deny, Reasons: []pratique.Reason{shared, own, more},
		Notes: []pratique.Reason{shared},
	}}
	arm := pratique.PlatformDecision{Child: pratique.Child{Digest: pratique.DigestOf([]byte("b")),
		Platform: "linux/arm64"}, Decision: pratique.Decision{
		Outcome: pratique.Deny, Reasons: []pratique.Reason{shared},
	}}
	clean := pratique.PlatformDecision{Child: pratique.Child{Platform: "linux/s390x"},
		Decision: pratique.Decision{Outcome: pratique.Allow}}

	got, verdicts, err := Worst([]pratique.PlatformDecision{amd, arm}, nil)
	tagged := func(r pratique.Reason, p pratique.Platform) pratique.Reason { r.Platform = p; return r }
	want := pratique.Decision{
		Outcome: pratique.Deny,
		Reasons: []pratique.Reason{shared, tagged(own, "linux/amd64"), tagged(more, "linux/amd64")},
		Notes:   []pratique.Reason{tagged(shared, "linux/amd64")},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if len(verdicts) != 2 || verdicts[0].Digest != amd.Digest || verdicts[1].Outcome != pratique.Deny {
		t.Errorf("verdicts %v", verdicts)
	}
	if got, _, err := Worst([]pratique.PlatformDecision{clean, clean}, nil); err != nil ||
		got.Outcome != pratique.Allow {
		t.Error(got, err)
	}
	if got, _, err := Worst([]pratique.PlatformDecision{clean, arm}, nil); err != nil ||
		got.Outcome != pratique.Deny || got.Reasons[0].Platform != "linux/arm64" {
		t.Error(got, err)
	}
	if _, _, err := Worst(nil, nil); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("no platforms: %v", err)
	}
	if _, _, err := Worst([]pratique.PlatformDecision{clean, {}},
		nil); pratique.KindOf(err) != pratique.Internal {
		t.Errorf("no outcome: %v", err)
	}
}

// TestWhatWasNotInspectedDenies, whatever the policy: it asks no rule.
func TestWhatWasNotInspectedDenies(t *testing.T) {
	t.Parallel()
	clean := pratique.PlatformDecision{Child: pratique.Child{Digest: pratique.DigestOf([]byte("a")),
		Platform: "linux/amd64"}, Decision: pratique.Decision{Outcome: pratique.Allow}}
	hidden := []pratique.Uninspected{{Digest: "sha256:ee", Platform: "windows/amd64",
		Reason: "foreign layers"}, {Digest: "blake3:00", Reason: "no way to verify"}}
	want := []pratique.Reason{
		{Rule: RuleNotInspected, Platform: "windows/amd64",
			Message: "the image for windows/amd64, sha256:ee, could not be inspected: foreign layers"},
		{Rule: RuleNotInspected,
			Message: "blake3:00 names no platform, so a runtime may run it, and could not be inspected: no way to verify; take it out of the index"},
	}
	for _, evaluated := range [][]pratique.PlatformDecision{{clean}, {}} {
		got, verdicts, err := Worst(evaluated, hidden)
		if err != nil || got.Outcome != pratique.Deny || len(verdicts) != len(evaluated) {
			t.Errorf("%d evaluated: %v, %v, %v", len(evaluated), got, verdicts, err)
		}
		if diff := cmp.Diff(want, got.Reasons); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAnImageThatContradictsItsIndexIsNoted(t *testing.T) {
	t.Parallel()
	child := pratique.PlatformDecision{Child: pratique.Child{Platform: "linux/amd64",
		Configured: "linux/arm64"}, Decision: pratique.Decision{Outcome: pratique.Allow}}
	got, _, err := Worst([]pratique.PlatformDecision{child}, nil)
	if err != nil || got.Outcome != pratique.Allow || len(got.Notes) != 1 ||
		got.Notes[0].Rule != RulePlatform || !strings.Contains(got.Notes[0].Message, "linux/arm64") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWorstIsBounded(t *testing.T) {
	t.Parallel()
	var platforms []pratique.PlatformDecision
	for _, p := range []pratique.Platform{"linux/amd64", "linux/arm64", "linux/arm/v7"} {
		d := pratique.Decision{Outcome: pratique.Deny}
		for i := range MaxReasons {
			d.Reasons = append(d.Reasons, pratique.Reason{Rule: "severity", Message: string(p),
				Finding: strings.Repeat("x", i)})
		}
		platforms = append(platforms, pratique.PlatformDecision{Child: pratique.Child{Platform: p},
			Decision: d})
	}
	got, _, err := Worst(platforms, nil)
	if err != nil || len(got.Reasons) != MaxReasons+1 ||
		!strings.Contains(got.Reasons[MaxReasons].Message, "200 more") {
		t.Error(len(got.Reasons), got.Reasons[len(got.Reasons)-1], err)
	}
}

func TestTestNamesTheLineThatFailed(t *testing.T) {
	t.Parallel()
	dir := policyDir(t,
		"a.rego",
		"package pratique\n\ndeny contains {\"rule\": \"r\", \"message\": \"m\"} if input.now == \"x\"\n",
		"a_test.rego",
		"package pratique_test\n\nimport data.pratique\n\ntest_good if count(pratique.deny) == 0 with input as {\"now\": \"y\"}\n\n"+
			"test_bad if {\n\ttrue\n\tcount(pratique.deny) == 5 with input as {\"now\": \"x\"}\n}\n\n"+
			"test_broken if {\n\tto_number(\"x\") == 1\n}\n\ntodo_test_later if false\n")
	var out bytes.Buffer
	passed, failed, err := Test(t.Context(), dir, &out)
	if err != nil || passed != 1 || failed != 2 {
		t.Fatalf("passed %d, failed %d, %v\n%s", passed, failed, err, &out)
	}
	for _, want := range []string{"a_test.rego:9", "test_broken", "a_test.rego:13", "SKIP",
		"1 passed, 2 failed; 100%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}

func TestTestWantsTests(t *testing.T) {
	t.Parallel()
	dir := policyDir(t, "a.rego", "package pratique\n\ndeny contains \"x\" if input.now == \"x\"\n")
	if _, _, err := Test(t.Context(), dir, &bytes.Buffer{}); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("no tests: %v", err)
	}
	broken := policyDir(t, "a.rego", "package pratique\n\ndeny contains x\n")
	if _, _, err := Test(t.Context(), broken,
		&bytes.Buffer{}); pratique.KindOf(err) != pratique.Invalid ||
		!strings.Contains(err.Error(), "a.rego:3") {
		t.Errorf("broken: %v", err)
	}
}
