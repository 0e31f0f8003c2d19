package attest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
)

const verifierID = "https://pratique.test"

func verdict(t testing.TB, outcome pratique.Outcome) attest.VSAInput {
	v := pratique.Verdict{
		Subject: subject(t), Outcome: outcome, EvaluatedAt: evaluatedAt,
		Policy: pratique.Policy{Name: "default", Digest: digest("policy")},
		Inputs: []pratique.Input{{Kind: "report", Digest: digest("report")}, {Kind: "inventory", Digest: digest("inventory")}},
		Notes:  []pratique.Reason{{Rule: "age", Message: "the database is two hours old"}},
	}
	if outcome == pratique.Deny {
		v.Reasons = []pratique.Reason{{Rule: "severity", Message: "critical", Platform: "linux/amd64", Finding: "CVE-2026-1", Package: "libssl3"}}
		v.Children = []pratique.ChildVerdict{{Child: pratique.Child{Digest: digest("child"), Platform: "linux/amd64"}, Outcome: pratique.Deny}}
	}
	return attest.VSAInput{Verdict: v, VerdictDigest: digest("verdict"), VerifierID: verifierID, Version: map[string]string{"pratique": "1.2.3"}}
}

func vsa(t testing.TB, in attest.VSAInput) pratique.Statement {
	t.Helper()
	st, err := attest.NewVSA(in)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

var byValue = cmp.Comparer(func(a, b pratique.Digest) bool { return a == b })

func TestVSA(t *testing.T) {
	golden(t, "vsa-passed", vsa(t, verdict(t, pratique.Allow)))
	in := verdict(t, pratique.Deny)
	in.PolicyURI = "https://policies.test/default"
	in.Inputs = []attest.Resource{{URI: pratique.PredicateSPDX, Digest: digest("envelope")}}
	st := vsa(t, in)
	golden(t, "vsa-failed", st)
	got, err := attest.ParseVSA(st)
	if err != nil {
		t.Fatal(err)
	}
	want := attest.VSA{
		Subject: subject(t), VerifierID: verifierID, Version: in.Version, VerifiedAt: evaluatedAt.UTC(), Outcome: pratique.Deny,
		Policy: attest.Resource{URI: in.PolicyURI, Digest: digest("policy")}, Levels: []string{"FAILED"}, Inputs: in.Inputs,
		Verdict: digest("verdict"), ReasonCount: 1, Reasons: in.Verdict.Reasons, Notes: in.Verdict.Notes,
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

func TestVSAExtensionName(t *testing.T) {
	var predicate map[string]json.RawMessage
	if err := json.Unmarshal(vsa(t, verdict(t, pratique.Deny)).Predicate, &predicate); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(predicate[attest.ExtensionVerdict]), "CVE-2026-1") {
		t.Errorf("no reasons under %s", attest.ExtensionVerdict)
	}
}

func TestVSABoundsReasons(t *testing.T) {
	in := verdict(t, pratique.Deny)
	for i := range 5000 {
		in.Verdict.Reasons = append(in.Verdict.Reasons, pratique.Reason{Rule: "severity", Message: fmt.Sprint(i)})
	}
	st := vsa(t, in)
	got, err := attest.ParseVSA(st)
	if err != nil || got.ReasonCount != 5001 || len(got.Reasons) != 100 || len(st.Predicate) > 20000 {
		t.Errorf("%d of %d reasons in %d bytes, %v", len(got.Reasons), got.ReasonCount, len(st.Predicate), err)
	}
}

func TestNewVSARefuses(t *testing.T) {
	for name, spoil := range map[string]func(*attest.VSAInput){
		"no outcome":         func(in *attest.VSAInput) { in.Verdict.Outcome = "" },
		"allow with reasons": func(in *attest.VSAInput) { in.Verdict.Reasons = []pratique.Reason{{Rule: "x"}} },
		"no policy":          func(in *attest.VSAInput) { in.Verdict.Policy.Digest = pratique.Digest{} },
		"no time":            func(in *attest.VSAInput) { in.Verdict.EvaluatedAt = time.Time{} },
		"no verifier":        func(in *attest.VSAInput) { in.VerifierID = "" },
		"no subject":         func(in *attest.VSAInput) { in.Verdict.Subject = pratique.Subject{} },
		"input w/o digest":   func(in *attest.VSAInput) { in.Verdict.Inputs = []pratique.Input{{Kind: "report"}} },
	} {
		in := verdict(t, pratique.Allow)
		spoil(&in)
		if _, err := attest.NewVSA(in); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// edited returns a passing statement with one text replaced; the text must be there.
func edited(t *testing.T, old, new string) pratique.Statement {
	t.Helper()
	raw, err := json.Marshal(vsa(t, verdict(t, pratique.Allow)))
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

func TestParseVSAIsStrict(t *testing.T) {
	uri := `"resourceUri":"` + subject(t).String() + `"`
	hexDigest := digest("policy").Hex()
	for name, st := range map[string]pratique.Statement{
		"another predicate type":    edited(t, `verification_summary/v1"`, `verification_summary/v2"`),
		"no verifier":               edited(t, `"id":"`+verifierID+`"`, `"id":""`),
		"verifier in capitals":      edited(t, `"verifier"`, `"Verifier"`),
		"no resource":               edited(t, uri, `"x":1`),
		"resource with a tag":       edited(t, `registry.test/team/app@`, `registry.test/team/app:v1@`),
		"resource twice":            edited(t, uri, uri+","+uri),
		"another subject digest":    edited(t, `{"sha256":"`+subject(t).Digest.Hex(), `{"sha256":"`+digest("x").Hex()),
		"a second subject":          edited(t, `"subject":[`, `"subject":[{"name":"x","digest":{"sha256":"`+digest("x").Hex()+`"}},`),
		"no time":                   edited(t, `"timeVerified":"2026-09-01T12:00:00Z",`, ``),
		"time is a number":          edited(t, `"timeVerified":"2026-09-01T12:00:00Z"`, `"timeVerified":1`),
		"policy without digest":     edited(t, `"digest":{"sha256":"`+hexDigest+`"}`, `"x":1`),
		"policy without uri":        edited(t, `"uri":"default",`, ``),
		"policy digest in sha1":     edited(t, `{"sha256":"`+hexDigest+`"}`, `{"sha1":"`+hexDigest+`"}`),
		"policy digest in capitals": edited(t, hexDigest, strings.ToUpper(hexDigest)),
		"input without digest":      edited(t, digest("report").Hex(), ""),
		"result in lower case":      edited(t, `PASSED`, `passed`),
		"no result":                 edited(t, `"PASSED"`, `""`),
		"passed and FAILED level":   edited(t, `"SLSA_BUILD_LEVEL_UNEVALUATED"`, `"SLSA_BUILD_LEVEL_UNEVALUATED","FAILED"`),
		"failed without level":      edited(t, `PASSED`, `FAILED`),
		"no levels":                 edited(t, `["SLSA_BUILD_LEVEL_UNEVALUATED"]`, `[]`),
		"passed with reasons":       edited(t, `"noteCount"`, `"reasons":[{"rule":"x","message":"y"}],"noteCount"`),
		"no predicate":              {PredicateType: pratique.PredicateVSA},
		"null predicate":            {PredicateType: pratique.PredicateVSA, Predicate: json.RawMessage(`null`)},
	} {
		if got, err := attest.ParseVSA(st); pratique.KindOf(err) != pratique.Unverified || !cmp.Equal(got, attest.VSA{}, byValue) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// What the specification lets others write.
	for name, st := range map[string]pratique.Statement{
		"unknown field":     edited(t, `"slsaVersion"`, `"futureField":{"a":1},"slsaVersion"`),
		"another level":     edited(t, `SLSA_BUILD_LEVEL_UNEVALUATED`, `SLSA_BUILD_LEVEL_3`),
		"dependency levels": edited(t, `"slsaVersion"`, `"dependencyLevels":{"SLSA_BUILD_LEVEL_3":5},"slsaVersion"`),
		"no slsaVersion":    edited(t, `"slsaVersion":"1.1",`, ``),
	} {
		if got, err := attest.ParseVSA(st); err != nil || got.Outcome != pratique.Allow {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestNewestVSA(t *testing.T) {
	at := func(outcome pratique.Outcome, later time.Duration) pratique.Statement {
		in := verdict(t, outcome)
		in.Verdict.EvaluatedAt = evaluatedAt.Add(later)
		return vsa(t, in)
	}
	for name, c := range map[string]struct {
		all  []pratique.Statement
		at   int
		want pratique.Outcome
	}{
		"one":                     {[]pratique.Statement{at(pratique.Allow, 0)}, 0, pratique.Allow},
		"an old pass copied back": {[]pratique.Statement{at(pratique.Deny, 1), at(pratique.Allow, 0)}, 0, pratique.Deny},
		"a new pass":              {[]pratique.Statement{at(pratique.Deny, 0), at(pratique.Allow, 1)}, 1, pratique.Allow},
		"at one time":             {[]pratique.Statement{at(pratique.Allow, 0), at(pratique.Deny, 0), at(pratique.Allow, 0)}, 1, pratique.Deny},
	} {
		i, got, err := attest.NewestVSA(c.all)
		if err != nil || i != c.at || got.Outcome != c.want {
			t.Errorf("%s: %d, %+v, %v", name, i, got, err)
		}
	}
	if _, _, err := attest.NewestVSA(nil); pratique.KindOf(err) != pratique.NotFound {
		t.Errorf("none: %v", err)
	}
	if _, _, err := attest.NewestVSA([]pratique.Statement{at(pratique.Allow, 0), {}}); pratique.KindOf(err) != pratique.Unverified {
		t.Errorf("one that cannot be read: %v", err)
	}
}

func FuzzParseVSA(f *testing.F) {
	for _, outcome := range []pratique.Outcome{pratique.Allow, pratique.Deny} {
		f.Add([]byte(vsa(f, verdict(f, outcome)).Predicate))
	}
	f.Add([]byte(`null`))
	subjectHex := subject(f).Digest.Hex()
	f.Fuzz(func(t *testing.T, predicate []byte) {
		st := pratique.Statement{
			Type: attest.StatementType, PredicateType: pratique.PredicateVSA, Predicate: predicate,
			Subject: []pratique.StatementSubject{{Name: "x", Digest: map[string]string{"sha256": subjectHex}}},
		}
		got, err := attest.ParseVSA(st)
		if err != nil {
			if pratique.KindOf(err) != pratique.Unverified {
				t.Errorf("kind %s", pratique.KindOf(err))
			}
			return
		}
		if got.Subject.Digest.Hex() != subjectHex || got.VerifierID == "" || got.VerifiedAt.IsZero() || got.Policy.Digest.IsZero() ||
			(got.Outcome != pratique.Allow && got.Outcome != pratique.Deny) || (got.Outcome == pratique.Allow && len(got.Reasons) > 0) {
			t.Errorf("accepted %s as %+v", predicate, got)
		}
		allowed := strings.Contains(string(predicate), "PASSED") || strings.Contains(string(predicate), `\u`)
		if got.Outcome == pratique.Allow && !allowed {
			t.Errorf("accepted %s as a pass", predicate)
		}
	})
}
