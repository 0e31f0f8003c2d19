package verify_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/attest/attesttest"
	"github.com/pratique-dev/pratique/attest/verify"
)

var byValue = cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })

func digest(s string) pratique.Digest { return pratique.DigestOf([]byte(s)) }

// TestParse reads what is written with all fields.
func TestParse(t *testing.T) {
	in := attesttest.Verdict(pratique.Deny)
	in.Inputs = []attest.Resource{{URI: pratique.PredicateSPDX, Digest: digest("envelope")}}
	got, err := verify.Parse(attesttest.VSA(t, in))
	if err != nil {
		t.Fatal(err)
	}
	want := verify.Summary{
		Subject: attesttest.Subject(), Verifier: attesttest.VerifierID, Version: in.Version,
		VerifiedAt: attesttest.EvaluatedAt().UTC(), Outcome: pratique.Deny,
		Profile: in.Verdict.Profile, Levels: []string{"FAILED"}, Inputs: in.Inputs,
		Verdict: digest("verdict"), ReasonCount: 1, Reasons: in.Verdict.Reasons, Notes: in.Verdict.Notes,
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

// edited returns a passing statement with one text replaced; the text must be there.
func edited(t *testing.T, old, new string) pratique.Statement {
	t.Helper()
	raw, err := json.Marshal(attesttest.VSA(t, attesttest.Verdict(pratique.Allow)))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), old) {
		t.Fatalf("%q is not in %s", old, raw)
	}
	var st pratique.Statement
	if err := json.Unmarshal([]byte(strings.Replace(string(raw), old, new, 1)), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestParseIsStrict(t *testing.T) {
	uri := `"resourceUri":"` + attesttest.Subject().String() + `"`
	hexDigest := digest("policy").Hex()
	for name, st := range map[string]pratique.Statement{
		"another predicate type": edited(t, `verification_summary/v1"`, `verification_summary/v2"`),
		"no verifier":            edited(t, `"id":"`+attesttest.VerifierID+`"`, `"id":""`),
		"verifier in capitals":   edited(t, `"verifier"`, `"Verifier"`),
		"no resource":            edited(t, uri, `"x":1`),
		"resource with a tag":    edited(t, `registry.test/team/app@`, `registry.test/team/app:v1@`),
		"resource twice":         edited(t, uri, uri+","+uri),
		"another subject digest": edited(t, `{"sha256":"`+attesttest.Subject().Digest.Hex(),
			`{"sha256":"`+digest("x").Hex()),
		"a second subject": edited(t, `"subject":[`,
			`"subject":[{"name":"x","digest":{"sha256":"`+digest("x").Hex()+`"}},`),
		"no time": edited(t, `"timeVerified":"2026-09-01T12:00:00Z",`, ``),
		"time is a number": edited(t, `"timeVerified":"2026-09-01T12:00:00Z"`,
			`"timeVerified":1`),
		"policy without digest":     edited(t, `"digest":{"sha256":"`+hexDigest+`"}`, `"x":1`),
		"policy without uri":        edited(t, `"uri":"`+attest.ProfilePrefix+`default",`, ``),
		"policy digest in sha1":     edited(t, `{"sha256":"`+hexDigest+`"}`, `{"sha1":"`+hexDigest+`"}`),
		"policy digest in capitals": edited(t, hexDigest, strings.ToUpper(hexDigest)),
		"input without digest":      edited(t, digest("report").Hex(), ""),
		"result in lower case":      edited(t, `PASSED`, `passed`),
		"no result":                 edited(t, `"PASSED"`, `""`),
		"passed and FAILED level": edited(t, `"SLSA_BUILD_LEVEL_UNEVALUATED"`,
			`"SLSA_BUILD_LEVEL_UNEVALUATED","FAILED"`),
		"failed without level": edited(t, `PASSED`, `FAILED`),
		"no levels":            edited(t, `["SLSA_BUILD_LEVEL_UNEVALUATED"]`, `[]`),
		"passed with reasons": edited(t, `"noteCount"`,
			`"reasons":[{"rule":"x","message":"y"}],"noteCount"`),
		"no predicate": {PredicateType: pratique.PredicateVSA},
		"null predicate": {PredicateType: pratique.PredicateVSA,
			Predicate: json.RawMessage(`null`)},
	} {
		if got, err := verify.Parse(st); pratique.KindOf(err) != pratique.Unverified ||
			!cmp.Equal(got, verify.Summary{}, byValue) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// What the specification lets others write.
	for name, st := range map[string]pratique.Statement{
		"unknown field": edited(t, `"slsaVersion"`, `"futureField":{"a":1},"slsaVersion"`),
		"another level": edited(t, `SLSA_BUILD_LEVEL_UNEVALUATED`, `SLSA_BUILD_LEVEL_3`),
		"dependency levels": edited(t, `"slsaVersion"`,
			`"dependencyLevels":{"SLSA_BUILD_LEVEL_3":5},"slsaVersion"`),
		"no slsaVersion": edited(t, `"slsaVersion":"1.1",`, ``),
	} {
		if got, err := verify.Parse(st); err != nil || got.Outcome != pratique.Allow {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, outcome := range []pratique.Outcome{pratique.Allow, pratique.Deny} {
		f.Add([]byte(attesttest.VSA(f, attesttest.Verdict(outcome)).Predicate))
	}
	f.Add([]byte(`null`))
	subjectHex := attesttest.Subject().Digest.Hex()
	f.Fuzz(func(t *testing.T, predicate []byte) {
		st := pratique.Statement{
			Type: attest.StatementType, PredicateType: pratique.PredicateVSA, Predicate: predicate,
			Subject: []pratique.StatementSubject{{Name: "x",
				Digest: map[string]string{"sha256": subjectHex}}},
		}
		got, err := verify.Parse(st)
		if err != nil {
			if pratique.KindOf(err) != pratique.Unverified {
				t.Errorf("kind %s", pratique.KindOf(err))
			}
			return
		}
		if got.Subject.Digest.Hex() != subjectHex || got.Verifier == "" ||
			got.VerifiedAt.IsZero() || got.Profile.Digest.IsZero() ||
			(got.Outcome != pratique.Allow && got.Outcome != pratique.Deny) ||
			(got.Outcome == pratique.Allow && len(got.Reasons) > 0) {
			t.Errorf("accepted %s as %+v", predicate, got)
		}
		allowed := strings.Contains(string(predicate), "PASSED") ||
			strings.Contains(string(predicate), `\u`)
		if got.Outcome == pratique.Allow && !allowed {
			t.Errorf("accepted %s as a pass", predicate)
		}
	})
}
