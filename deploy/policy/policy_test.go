package policy

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

var testNow = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func testSubject(t testing.TB) pratique.Subject {
	t.Helper()
	s, err := pratique.ParseSubject("registry.example/team/app@" +
		pratique.DigestOf([]byte("image")).String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testEvidence(findings ...pratique.Finding) (pratique.Inspected, pratique.Report) {
	inventory := pratique.DigestOf([]byte("inventory"))
	return pratique.Inspected{
			Image: pratique.ImageConfig{Platform: "linux/amd64", User: "1000",
				Created: testNow.Add(-time.Hour)},
			Inventory: inventory, SPDX: pratique.DigestOf([]byte("spdx")), Packages: 3,
			Compared: &pratique.Comparison{Packages: 3},
		}, pratique.Report{
			Scanner: pratique.Tool{Name: "trivy", Version: "0.72.0"}, Inventory: inventory,
			Database: pratique.Database{Digest: pratique.DigestOf([]byte("db")),
				UpdatedAt: testNow.Add(-time.Hour)},
			Coverage: &pratique.Coverage{OS: pratique.OSCoverage{Family: "debian", Version: "12",
				Packages: 3, Known: true, Supported: true}},
			Findings: findings,
		}
}

func testInput(t testing.TB, findings ...pratique.Finding) Input {
	t.Helper()
	inspected, report := testEvidence(findings...)
	in, err := NewInput(testSubject(t), inspected, report, testSections(&inspected), testNow)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func finding(id string, s pratique.Severity) pratique.Finding {
	return pratique.Finding{ID: id, Package: "openssl", Installed: "1.0", Fixed: "1.1", Severity: s}
}

func load(t testing.TB, cfg Config) *Policy {
	t.Helper()
	p, err := Load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// policyDir writes files named by the even arguments.
func policyDir(t testing.TB, nameAndContent ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(nameAndContent); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, nameAndContent[i]), []byte(nameAndContent[i+1]),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestShippedPolicyPassesItsOwnTests(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	passed, failed, err := Test(t.Context(), "", &out)
	if err != nil || failed != 0 || passed < 9 {
		t.Fatalf("passed %d, failed %d, %v\n%s", passed, failed, err, &out)
	}
	if !strings.Contains(out.String(), "100% of the policy's lines") {
		t.Errorf("the shipped policy is not wholly covered:\n%s", &out)
	}
}

func TestShippedPolicyIsReadFromADirectoryToo(t *testing.T) {
	t.Parallel()
	if _, failed, err := Test(t.Context(), "default", &bytes.Buffer{}); err != nil || failed != 0 {
		t.Fatal(failed, err)
	}
	if a, b := load(t, Config{}).ID(), load(t, Config{Dir: "default"}).ID(); a != b {
		t.Errorf("the same files have two identities: %v and %v", a, b)
	}
}

// TestGuardsHoldForEveryPolicy: rules of one's own do not switch off the limits that the
// configuration sets.
func TestGuardsHoldForEveryPolicy(t *testing.T) {
	t.Parallel()
	dir := policyDir(t, "own.rego",
		"package pratique\n\ndeny contains {\"rule\": \"x\", \"message\": \"x\"} if input.image.user == \"nobody\"\n")
	for name, tt := range map[string]struct {
		params Params
		age    time.Duration
		want   string
	}{
		"in order":         {Params{}, 72 * time.Hour, ""},
		"a second too old": {Params{}, 72*time.Hour + time.Second, "database_age"},
		"older than asked": {Params{MaxDatabaseAge: time.Hour}, 2 * time.Hour, "database_age"},
		"clocks apart":     {Params{}, -time.Hour, ""},
		"from the future":  {Params{}, -time.Hour - time.Second, "database_age"},
		"allowed repository": {Params{AllowedRepositories: []pratique.Glob{"x/y",
			"registry.example/team/**"}}, 0, ""},
		"other repository": {Params{AllowedRepositories: []pratique.Glob{"registry.example/team"}},
			0, "repository"},
		"scanner failed": {Params{}, 0, "not_matched"},
	} {
		in := testInput(t)
		if tt.want == "not_matched" {
			in.Scan.Unmatched = append(in.Scan.Unmatched, UnmatchedInput{Class: "lang-pkgs",
				Type: "jar", Packages: 3, Reason: "failed"})
		}
		in.Scan.Database.AgeSeconds = int64(tt.age / time.Second)
		got, err := load(t, Config{Dir: dir, Params: tt.params}).Evaluate(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if denied := got.Outcome == pratique.Deny; denied != (tt.want != "") ||
			(denied && got.Reasons[0].Rule != tt.want) {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	high, unknown := finding("CVE-1", pratique.SeverityHigh), finding("GO-1", pratique.SeverityUnknown)
	highReason := pratique.Reason{
		Rule: "severity", Message: "HIGH CVE-1 in openssl 1.0, fixed in 1.1", Finding: "CVE-1",
		Package: "openssl",
	}
	unknownReason := pratique.Reason{
		Rule: "unknown_severity", Message: "UNKNOWN GO-1 in openssl 1.0, fixed in 1.1",
		Finding: "GO-1", Package: "openssl",
	}
	tests := map[string]struct {
		params   Params
		findings []pratique.Finding
		want     pratique.Decision
	}{
		"clean": {want: pratique.Decision{Outcome: pratique.Allow}},
		"high": {findings: []pratique.Finding{high},
			want: pratique.Decision{Outcome: pratique.Deny, Reasons: []pratique.Reason{highReason}}},
		"high tolerated": {params: Params{BlockAt: "CRITICAL"}, findings: []pratique.Finding{high},
			want: pratique.Decision{Outcome: pratique.Allow}},
		"unknown": {findings: []pratique.Finding{unknown},
			want: pratique.Decision{Outcome: pratique.Allow, Notes: []pratique.Reason{unknownReason}}},
		"unknown refused": {params: Params{UnknownSeverity: UnknownDeny},
			findings: []pratique.Finding{unknown}, want: pratique.Decision{Outcome: pratique.Deny,
				Reasons: []pratique.Reason{unknownReason}}},
		"both": {findings: []pratique.Finding{unknown, high}, want: pratique.Decision{
			Outcome: pratique.Deny, Reasons: []pratique.Reason{highReason},
			Notes: []pratique.Reason{unknownReason},
		}},
		"twice in one package": {findings: []pratique.Finding{high, high},
			want: pratique.Decision{Outcome: pratique.Deny, Reasons: []pratique.Reason{highReason}}},
		"stale database": {params: Params{MaxDatabaseAge: time.Minute},
			want: pratique.Decision{Outcome: pratique.Deny, Reasons: []pratique.Reason{{
				Rule:    "database_age",
				Message: "the vulnerability database is of 2026-08-01T11:00:00Z, 1 h old; at most 0 h are allowed, by policy.maxDatabaseAge: pratique db update or db import brings a newer one",
			}}}},
		"foreign repository": {params: Params{AllowedRepositories: []pratique.Glob{"other.example/**"}}, want: pratique.Decision{Outcome: pratique.Deny, Reasons: []pratique.Reason{{
			Rule:    "repository",
			Message: "repository registry.example/team/app is not among policy.allowedRepositories",
		}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := load(t, Config{Params: tt.params}).Evaluate(t.Context(),
				testInput(t, tt.findings...))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Reasons) == 0 {
				got.Reasons = nil
			}
			if len(got.Notes) == 0 {
				got.Notes = nil
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReasonsAreBoundedAndOrdered(t *testing.T) {
	t.Parallel()
	var findings []pratique.Finding
	for i := range 250 {
		findings = append(findings, finding(fmt.Sprintf("CVE-%03d", i), pratique.SeverityHigh))
	}
	findings = append(findings, finding("CVE-zzz", pratique.SeverityCritical))
	p := load(t, Config{Params: Params{MaxDatabaseAge: time.Minute}})
	want, err := p.Evaluate(t.Context(), testInput(t, findings...))
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Reasons) != MaxReasons+1 {
		t.Fatalf("%d reasons", len(want.Reasons))
	}
	if want.Reasons[0].Rule != "database_age" || want.Reasons[1].Finding != "CVE-zzz" ||
		want.Reasons[2].Finding != "CVE-000" {
		t.Errorf("the gravest are not first: %v", want.Reasons[:3])
	}
	if got := want.Reasons[MaxReasons]; got.Rule != RuleMore ||
		!strings.Contains(got.Message, "152 more") {
		t.Errorf("last reason %v", got)
	}
	for range 5 {
		rand.Shuffle(len(findings), func(i, j int) {
			findings[i], findings[j] = findings[j], findings[i]
		})
		got, err := p.Evaluate(t.Context(), testInput(t, findings...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("the order of findings changes the decision:\n%s", diff)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files []string
		want  string
		kind  pratique.Kind
	}{
		"syntax error": {[]string{"a.rego", "package pratique\n\ndeny contains if {"},
			"a.rego:3", pratique.Invalid},
		"misspelt input": {[]string{"a.rego", deny + "count(input.scan.findngs) > 0"},
			"a.rego:3", pratique.Invalid},
		"misspelt finding": {[]string{"a.rego", deny +
			"input.scan.findings[_].sevrity == \"HIGH\""}, "a.rego:3", pratique.Invalid},
		"misspelt parameter": {[]string{"a.rego", deny + "data.pratique.params.onlyfixable"},
			"a.rego:3", pratique.Invalid},
		"second file is wrong": {[]string{"a.rego", deny + "input.now == \"\"", "b.rego",
			"package pratique\n\nx := y"}, "b.rego:3", pratique.Invalid},
		"no deny": {[]string{"a.rego", "package pratique\n\nnote contains \"x\""},
			"no rule deny", pratique.Invalid},
		"deny is a boolean": {[]string{"a.rego",
			"package pratique\n\ndeny if input.now == \"\""}, "a.rego:3", pratique.Invalid},
		"other package": {[]string{"a.rego", "package main\n\ndeny contains \"x\""},
			"a.rego:1", pratique.Invalid},
		"network": {[]string{"a.rego", deny +
			"http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})"}, "http.send",
			pratique.Invalid},
		"clock": {[]string{"a.rego", deny + "time.now_ns() > 0"}, "time.now_ns",
			pratique.Invalid},
		"environment": {[]string{"a.rego", deny + "opa.runtime().env.HOME"}, "opa.runtime",
			pratique.Invalid},
		"chance": {[]string{"a.rego", deny + "rand.intn(\"x\", 2) == 1"}, "rand.intn",
			pratique.Invalid},
		"remote schema": {[]string{"a.rego", deny +
			"json.match_schema({}, {\"$ref\": \"http://127.0.0.1/\"})"}, "json.match_schema",
			pratique.Invalid},
		"empty file": {[]string{"a.rego", ""}, "a.rego", pratique.Invalid},
		"only tests": {[]string{"a_test.rego", "package pratique_test\n\ntest_x if true"},
			"no *.rego file", pratique.NotFound},
		"nothing": {nil, "no *.rego file", pratique.NotFound},
		"too large": {[]string{"a.rego", deny + "true\n#" +
			strings.Repeat("x", maxFileBytes)}, "larger than", pratique.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(t.Context(), Config{Dir: policyDir(t, tt.files...)})
			if err == nil || !strings.Contains(err.Error(), tt.want) || pratique.KindOf(err) != tt.kind {
				t.Errorf("error %v (%v), want %q (%v)", err, pratique.KindOf(err), tt.want, tt.kind)
			}
		})
	}
	if _, err := Load(t.Context(),
		Config{Dir: filepath.Join(t.TempDir(), "absent")}); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("absent directory: %v", err)
	}
}

func TestLoadRefusesParams(t *testing.T) {
	t.Parallel()
	for want, params := range map[string]Params{
		"block_at":             {BlockAt: "high"},
		"not CRITICAL":         {BlockAt: "UNKNOWN"},
		"unknown_severity":     {UnknownSeverity: "ignore"},
		"max_database_age":     {MaxDatabaseAge: -time.Hour},
		"second or more":       {MaxDatabaseAge: 72},
		"allowed_repositories": {AllowedRepositories: []pratique.Glob{"registry.example/[a"}},
		"is empty":             {AllowedRepositories: []pratique.Glob{""}},
	} {
		if _, err := Load(t.Context(), Config{Params: params}); err == nil ||
			!strings.Contains(err.Error(), want) || pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%+v: %v, want %q", params, err, want)
		}
	}
}

// What is not a clear answer must never allow.
func TestEvaluateFailsClosed(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"strings":            `deny contains "x" if input.sbom.packages == 3`,
		"no rule":            `deny contains {"message": "m"} if input.sbom.packages == 3`,
		"no message":         `deny contains {"rule": "r", "message": ""} if input.sbom.packages == 3`,
		"message is number":  `deny contains {"rule": "r", "message": 1} if input.sbom.packages == 3`,
		"unknown key":        `deny contains {"rule": "r", "message": "m", "cve": "x"} if input.sbom.packages == 3`,
		"bad note":           "deny contains {\"rule\": \"r\", \"message\": \"m\"} if input.sbom.packages == 4\nnote contains 3",
		"builtin error":      `deny contains {"rule": "r", "message": "m"} if to_number(input.image.user) == 3`,
		"division by zero":   `deny contains {"rule": "r", "message": "m"} if 1 / (input.sbom.packages - 3) == 3`,
		"conflicting values": "deny contains {\"rule\": \"r\", \"message\": \"m\"} if f == 1\nf := 1 if input.sbom.packages == 3\nf := 2 if input.sbom.packages > 2",
	}
	in := testInput(t)
	in.Image.User = "latest"
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := load(t, Config{Dir: policyDir(t, "a.rego", "package pratique\n\n"+rules+"\n")})
			d, err := p.Evaluate(t.Context(), in)
			if pratique.KindOf(err) != pratique.Invalid || d.Outcome != "" {
				t.Errorf("decision %v, error %v (%v)", d, err, pratique.KindOf(err))
			}
		})
	}
}

// TestShapesInWords: whoever wrote the rule reads what is wrong with it.
func TestShapesInWords(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]string{
		`deny contains "x"`: "the policy fails: deny holds a text, want {rule, message}",
		"deny contains {\"rule\": \"r\", \"message\": \"m\"}\nnote contains 3": "the policy fails: note holds a number, want {rule, message}",
		`deny contains {"rule": "r", "message": ["m"]}`:                        "the policy fails: in deny, message is a list, want a text",
		`deny contains {"rule": "r", "message": "m", "cve": "x"}`:              `the policy fails: deny holds an object with the key "cve", want rule, message, finding and package`,
		`deny contains {"rule": "r"}`:                                          "the policy fails: an element of deny has no rule or no message",
		`deny contains {"rule": "r", "message": "m", "finding": null}`:         "",
	} {
		p := load(t, Config{Dir: policyDir(t, "a.rego", "package pratique\n\n"+rule+"\n")})
		if _, err := p.Evaluate(t.Context(), testInput(t)); (err == nil) != (want == "") ||
			err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}

func TestEvaluateEndsInTime(t *testing.T) {
	t.Parallel()
	slow := "package pratique\n\ndeny contains {\"rule\": \"r\", \"message\": \"m\"} if {\n" +
		"n := numbers.range(1, 3000)\nsome a in n\nsome b in n\nsome c in n\na + b + c == -1\n}\n"
	p := load(t, Config{Dir: policyDir(t, "a.rego", slow), Timeout: 50 * time.Millisecond})
	start := time.Now()
	if d, err := p.Evaluate(t.Context(),
		testInput(t)); pratique.KindOf(err) != pratique.Exhausted || d.Outcome != "" {
		t.Errorf("decision %v, error %v", d, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := p.Evaluate(ctx, testInput(t)); pratique.KindOf(err) != pratique.Unavailable ||
		d.Outcome != "" {
		t.Errorf("canceled: decision %v, error %v", d, err)
	}
}

func TestCustomPolicyReadsParams(t *testing.T) {
	t.Parallel()
	dir := policyDir(t,
		"main.rego",
		"package pratique\n\nimport data.pratique.lib\n\ndeny contains {\"rule\": \"age\", \"message\": lib.say} if "+
			"params.max_database_age_seconds == 3600\n",
		"lib.rego",
		"package pratique.lib\n\nsay := sprintf(\"block at %s\", [data.pratique.params.block_at])\n",
		"..data.txt", "ignored")
	d, err := load(t,
		Config{Dir: dir, Params: Params{MaxDatabaseAge: time.Hour,
			BlockAt: "LOW"}}).Evaluate(t.Context(), testInput(t))
	want := []pratique.Reason{{Rule: "age", Message: "block at LOW"}}
	if err != nil || d.Outcome != pratique.Deny || !slices.Equal(d.Reasons, want) {
		t.Errorf("%v %v", d, err)
	}
}

func TestIDPinsFilesAndParameters(t *testing.T) {
	t.Parallel()
	const rule = "package pratique\n\ndeny contains {\"rule\": \"r\", \"message\": \"m\"} if input.now == \"\"\n"
	base := load(t, Config{Dir: policyDir(t, "a.rego", rule)}).ID()
	same := map[string]Config{
		"another place": {Dir: policyDir(t, "a.rego", rule)},
		"with tests": {Dir: policyDir(t, "a.rego", rule, "a_test.rego",
			"package pratique_test\n")},
		"default params spelled": {Dir: policyDir(t, "a.rego", rule),
			Params: Params{BlockAt: "HIGH", UnknownSeverity: "allow", MaxDatabaseAge: 72 * time.Hour}},
	}
	for name, cfg := range same {
		if got := load(t, cfg).ID().Digest; got != base.Digest {
			t.Errorf("%s: %s, want %s", name, got, base.Digest)
		}
	}
	other := map[string]Config{
		"parameter":    {Dir: policyDir(t, "a.rego", rule), Params: Params{OnlyFixable: true}},
		"content":      {Dir: policyDir(t, "a.rego", rule+"\n")},
		"file name":    {Dir: policyDir(t, "b.rego", rule)},
		"another file": {Dir: policyDir(t, "a.rego", rule, "b.rego", "package pratique\n\nx := 1\n")},
	}
	for name, cfg := range other {
		if got := load(t, cfg).ID().Digest; got == base.Digest {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func BenchmarkEvaluate200Findings(b *testing.B) {
	var findings []pratique.Finding
	for i := range 200 {
		findings = append(findings, finding(fmt.Sprintf("CVE-%03d", i), pratique.Severities()[i%5]))
	}
	p, in := load(b, Config{}), testInput(b, findings...)
	b.ReportAllocs()
	for b.Loop() {
		if d, err := p.Evaluate(b.Context(), in); err != nil || d.Outcome != pratique.Deny {
			b.Fatal(d, err)
		}
	}
}

// testSections has one finding in each section.
func testSections(inspected *pratique.Inspected) *pratique.Extras {
	inspected.ExtraKinds = pratique.ExtraKinds()
	return &pratique.Extras{
		Kinds: pratique.ExtraKinds(),
		Secrets: []pratique.Secret{{Rule: "aws-access-key-id", Path: "srv/env",
			StartLine: 3, Severity: pratique.SeverityCritical}},
		Misconfigurations: []pratique.Misconfiguration{{ID: "DS-0002", Type: "dockerfile",
			Severity: pratique.SeverityHigh}},
		Licenses: []pratique.License{{Name: "AGPL-3.0", Category: "forbidden",
			Package: "x", Severity: pratique.SeverityCritical}},
	}
}

// TestRulesOfTheGuide compiles the rules that docs/policy.md shows, and evaluates by them.
func TestRulesOfTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(guide), "```")
	var rules []string
	for _, part := range parts {
		if rule, ok := strings.CutPrefix(part, "rego\n"); ok {
			rules = append(rules, rule)
		}
	}
	if len(rules) != 2 {
		t.Fatalf("%d rules", len(rules))
	}
	for i, want := range []map[bool]string{{true: "", false: ""},
		{true: "x has the license AGPL-3.0", false: "nobody looked at the licenses"}} {
		p := load(t, Config{Dir: policyDir(t, "own.rego", rules[i])})
		for looked, message := range want {
			in := testInput(t)
			if !looked {
				in.Scan.Scanned, in.Scan.Licenses = ScannedInput{}, []LicenseInput{}
			}
			d, err := p.Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, r := range d.Reasons {
				got += r.Message
			}
			if got != message {
				t.Errorf("rule %d, looked %v: %q, want %q", i, looked, got, message)
			}
		}
	}
}

// TestBlockSecrets: an image in which nobody looked does not pass for one without secrets.
func TestBlockSecrets(t *testing.T) {
	t.Parallel()
	for _, block := range []bool{false, true} {
		p := load(t, Config{Params: Params{BlockSecrets: block}})
		for name, tt := range map[string]struct {
			change func(*Input)
			want   string
		}{
			"a secret": {func(*Input) {}, "secret"},
			"none":     {func(in *Input) { in.Scan.Secrets = []SecretInput{} }, ""},
			"not asked": {func(in *Input) {
				in.Scan.Secrets, in.Scan.Scanned = []SecretInput{}, ScannedInput{}
			}, "secrets_not_scanned"},
		} {
			in := testInput(t)
			tt.change(&in)
			d, err := p.Evaluate(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, r := range d.Reasons {
				got += r.Rule
			}
			if want := tt.want; block && got != want || !block && got != "" {
				t.Errorf("%s, block %v: %q", name, block, got)
			}
		}
	}
}
