package verify_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest"
	"github.com/pratique-dev/pratique/attest/attesttest"
	"github.com/pratique-dev/pratique/attest/verify"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/oci"
	"github.com/pratique-dev/pratique/signer/oci/storetest"
	"github.com/pratique-dev/pratique/signer/oci/tags"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// evidence is a store that returns what it is told.
type evidence struct {
	found map[string][]oci.Verified
	err   error
}

func (e evidence) Verified(_ context.Context, _ pratique.Subject, _ signer.Verifier,
	predicateType string) ([]oci.Verified, error) {
	if e.err != nil {
		return nil, e.err
	}
	if e.found[predicateType] == nil {
		return nil, pratique.Errorf(pratique.NotFound, "read", "nothing of type %q", predicateType)
	}
	return e.found[predicateType], nil
}

var us, them pratique.Identity = pratique.Key{ID: "us"},
	pratique.Certificate{Issuer: "https://issuer.test", SAN: "them"}

// summaries are those that a store found, in its order.
func summaries(sts ...pratique.Statement) evidence {
	found := []oci.Verified{}
	for i, st := range sts {
		found = append(found, oci.Verified{Statement: st, Attestation: pratique.Attestation{
			PredicateType: pratique.PredicateVSA, Digest: digest(string(rune('a' + i))), Signer: us,
		}})
	}
	return evidence{found: map[string][]oci.Verified{pratique.PredicateVSA: found}}
}

func TestNewestSummaryCounts(t *testing.T) {
	at := func(outcome pratique.Outcome, later time.Duration) pratique.Statement {
		in := attesttest.Verdict(outcome)
		in.Verdict.EvaluatedAt = attesttest.EvaluatedAt().Add(later)
		return attesttest.VSA(t, in)
	}
	for name, c := range map[string]struct {
		all  []pratique.Statement
		at   int
		want pratique.Outcome
	}{
		"one": {[]pratique.Statement{at(pratique.Allow, 0)}, 0, pratique.Allow},
		"an old pass copied back": {[]pratique.Statement{at(pratique.Deny, 1),
			at(pratique.Allow, 0)}, 0, pratique.Deny},
		"a new pass": {[]pratique.Statement{at(pratique.Deny, 0),
			at(pratique.Allow, 1)}, 1, pratique.Allow},
		"at one time": {[]pratique.Statement{at(pratique.Allow, 0),
			at(pratique.Deny, 0), at(pratique.Allow, 0)}, 1, pratique.Deny},
	} {
		got, err := verify.NewReader(summaries(c.all...), nil).Summary(t.Context(), attesttest.Subject())
		if err != nil || got.Envelope != digest(string(rune('a'+c.at))) || got.Signer != us ||
			got.Outcome != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	unsigned := summaries(at(pratique.Allow, 0))
	unsigned.found[pratique.PredicateVSA][0].Attestation.Signer = nil
	for name, c := range map[string]struct {
		evidence evidence
		kind     pratique.Kind
	}{
		"none":       {summaries(), pratique.NotFound},
		"none there": {evidence{}, pratique.NotFound},
		"none that holds": {evidence{err: pratique.Errorf(pratique.Unverified, "read",
			"x")}, pratique.Unverified},
		"no answer": {evidence{err: pratique.Errorf(pratique.Unavailable, "read",
			"x")}, pratique.Unavailable},
		"one that cannot be read": {summaries(at(pratique.Allow, 0), pratique.Statement{}),
			pratique.Unverified},
		"signed by nobody": {unsigned, pratique.Unverified},
	} {
		got, err := verify.NewReader(c.evidence, nil).Summary(t.Context(), attesttest.Subject())
		if pratique.KindOf(err) != c.kind || !cmp.Equal(got, verify.Summary{}, byValue) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestHolds(t *testing.T) {
	signature := pratique.Attestation{Digest: digest("payload"), Signer: us}
	summary := pratique.Attestation{PredicateType: pratique.PredicateVSA, Digest: digest("vsa"),
		Signer: us}
	sbom := pratique.Attestation{PredicateType: pratique.PredicateSPDX, Digest: digest("sbom"),
		Signer: us}
	with := func(a pratique.Attestation, change func(*pratique.Attestation)) pratique.Attestation {
		change(&a)
		return a
	}
	both := map[string][]oci.Verified{
		"": {{Attestation: with(signature, func(a *pratique.Attestation) {
			a.Signer = them
		})}, {Attestation: signature}},
		pratique.PredicateVSA: {{Attestation: summary}},
	}
	for name, c := range map[string]struct {
		evidence evidence
		attested []pratique.Attestation
		want     bool
		kind     pratique.Kind
	}{
		"all": {evidence{found: both}, []pratique.Attestation{signature, sbom,
			summary}, true, pratique.Unknown},
		"a denial": {evidence{found: both}, []pratique.Attestation{sbom, summary},
			true, pratique.Unknown},
		"another summary": {evidence{found: both},
			[]pratique.Attestation{with(summary, func(a *pratique.Attestation) {
				a.Digest = digest("x")
			})}, false, pratique.Unknown},
		"the signature of others": {evidence{found: map[string][]oci.Verified{"": both[""][:1]}},
			[]pratique.Attestation{signature}, false, pratique.Unknown},
		"signed by nobody": {evidence{found: map[string][]oci.Verified{"": {{Attestation: with(signature, func(a *pratique.Attestation) {
			a.Signer = nil
		})}}}}, []pratique.Attestation{with(signature, func(a *pratique.Attestation) {
			a.Signer = nil
		})}, false, pratique.Unknown},
		"no signature": {evidence{found: map[string][]oci.Verified{pratique.PredicateVSA: both[pratique.PredicateVSA]}}, []pratique.Attestation{signature, summary}, false, pratique.Unknown},
		"nothing that holds": {evidence{err: pratique.Errorf(pratique.Unverified, "read",
			"x")}, []pratique.Attestation{summary}, false, pratique.Unknown},
		"a registry without answer": {evidence{err: pratique.Errorf(pratique.Unavailable, "read",
			"x")}, []pratique.Attestation{summary}, false, pratique.Unavailable},
	} {
		got, err := verify.NewReader(c.evidence, nil).Holds(t.Context(), attesttest.Subject(), c.attested)
		if got != c.want || (err != nil) != (c.kind != pratique.Unknown) ||
			pratique.KindOf(err) != c.kind {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

// TestRegistry reads from a real registry in which two keys signed, before and after one of them is
// believed no more.
func TestRegistry(t *testing.T) {
	reg := storetest.NewRegistry(t)
	store := tags.NewStore(reg, tags.Limits{})
	image := reg.Push(t, "team/app")
	before, now := signertest.NewKey(1), signertest.NewKey(2)
	write := func(k signertest.Key, outcome pratique.Outcome,
		later time.Duration) []pratique.Attestation {
		t.Helper()
		in := attesttest.Verdict(outcome)
		in.Verdict.Subject, in.Verdict.EvaluatedAt = image, attesttest.EvaluatedAt().Add(later)
		st, err := attest.NewVSA(in)
		if err != nil {
			t.Fatal(err)
		}
		e, err := signer.SignStatement(t.Context(), k, st)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.SignImage(t.Context(), k, image)
		if err != nil {
			t.Fatal(err)
		}
		session, err := store.Open(t.Context(), image, k, k.Identity())
		if err != nil {
			t.Fatal(err)
		}
		out, err := session.Attach(t.Context(), sig, []signer.Signed{e})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	both, one := verify.NewReader(store, signer.AnyOf(before, now)), verify.NewReader(store, now)
	old := write(before, pratique.Allow, 0)
	if s, err := both.Summary(t.Context(), image); err != nil || s.Signer != before.Identity() ||
		s.Outcome != pratique.Allow || s.Envelope != old[1].Digest {
		t.Errorf("by the old key: %+v, %v", s, err)
	}
	if s, err := one.Summary(t.Context(), image); pratique.KindOf(err) != pratique.Unverified {
		t.Errorf("by the old key, which is not believed any more: %+v, %v", s, err)
	}
	newer := write(now, pratique.Deny, time.Hour)
	for name, r := range map[string]*verify.Reader{"both keys": both, "the new key": one} {
		if s, err := r.Summary(t.Context(), image); err != nil || s.Signer != now.Identity() ||
			s.Outcome != pratique.Deny {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if holds, err := r.Holds(t.Context(), image, newer); err != nil || !holds {
			t.Errorf("%s: what was attested last: %t, %v", name, holds, err)
		}
		if holds, err := r.Holds(t.Context(), image, old); err != nil || holds != (r == both) {
			t.Errorf("%s: what was attested first: %t, %v", name, holds, err)
		}
	}
}
