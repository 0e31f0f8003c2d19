package attest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/attest/attesttest"
)

func TestVSA(t *testing.T) {
	golden(t, "vsa-passed", attesttest.VSA(t, attesttest.Verdict(pratique.Allow)))
	in := attesttest.Verdict(pratique.Deny)
	in.Inputs = []attest.Resource{{URI: pratique.PredicateSPDX, Digest: digest("envelope")}}
	golden(t, "vsa-failed", attesttest.VSA(t, in))
}

func TestVSAExtensionName(t *testing.T) {
	var predicate map[string]json.RawMessage
	if err := json.Unmarshal(attesttest.VSA(t, attesttest.Verdict(pratique.Deny)).Predicate,
		&predicate); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(predicate[attest.ExtensionVerdict]), "CVE-2026-1") {
		t.Errorf("no reasons under %s", attest.ExtensionVerdict)
	}
}

func TestVSABoundsReasons(t *testing.T) {
	in := attesttest.Verdict(pratique.Deny)
	for i := range 5000 {
		in.Verdict.Reasons = append(in.Verdict.Reasons, pratique.Reason{Rule: "severity",
			Message: fmt.Sprint(i)})
	}
	st := attesttest.VSA(t, in)
	var got attest.VSAPredicate
	err := json.Unmarshal(st.Predicate, &got)
	if err != nil || got.Verdict.ReasonCount != 5001 || len(got.Verdict.Reasons) != 100 ||
		len(st.Predicate) > 20000 {
		t.Errorf("%d of %d reasons in %d bytes, %v", len(got.Verdict.Reasons),
			got.Verdict.ReasonCount, len(st.Predicate), err)
	}
}

func TestNewVSARefuses(t *testing.T) {
	for name, spoil := range map[string]func(*attest.VSAInput){
		"no outcome": func(in *attest.VSAInput) { in.Verdict.Outcome = "" },
		"allow with reasons": func(in *attest.VSAInput) {
			in.Verdict.Reasons = []pratique.Reason{{Rule: "x"}}
		},
		"no policy":   func(in *attest.VSAInput) { in.Verdict.Profile.Digest = pratique.Digest{} },
		"no time":     func(in *attest.VSAInput) { in.Verdict.EvaluatedAt = time.Time{} },
		"no verifier": func(in *attest.VSAInput) { in.VerifierID = "" },
		"no subject":  func(in *attest.VSAInput) { in.Verdict.Subject = pratique.Subject{} },
		"input w/o digest": func(in *attest.VSAInput) {
			in.Verdict.Inputs = []pratique.Input{{Kind: "report"}}
		},
	} {
		in := attesttest.Verdict(pratique.Allow)
		spoil(&in)
		if _, err := attest.NewVSA(in); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
