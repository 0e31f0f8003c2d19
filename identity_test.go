package pratique_test

import (
	"encoding/json"
	"testing"

	"github.com/pratique-dev/pratique"
)

func TestIdentity(t *testing.T) {
	var key, same, other pratique.Identity = pratique.Key{ID: "aa"}, pratique.Key{ID: "aa"},
		pratique.Key{ID: "bb"}
	var certificate pratique.Identity = pratique.Certificate{Issuer: "https://issuer.test", SAN: "aa"}
	if equal := func(a, b pratique.Identity) bool {
		return a == b
	}; !equal(key, same) || equal(key, other) || equal(key, certificate) || equal(key, nil) {
		t.Error("identities are not compared by what they say")
	}
	for _, c := range []struct {
		identity   pratique.Identity
		json, text string
	}{
		{key, `{"keyID":"aa"}`, "key aa"},
		{certificate, `{"issuer":"https://issuer.test","san":"aa"}`,
			`"aa", certified by "https://issuer.test"`},
	} {
		a := pratique.Attestation{PredicateType: "p", Digest: pratique.DigestOf([]byte("x")),
			Signer: c.identity, Format: pratique.FormatCosignTags}
		encoded, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var decoded pratique.Attestation
		if err := json.Unmarshal(encoded, &decoded); err != nil || decoded != a {
			t.Errorf("%s became %+v, %v", encoded, decoded, err)
		}
		if form, err := json.Marshal(c.identity); err != nil || string(form) != c.json ||
			c.identity.String() != c.text {
			t.Errorf("%s, %s, %v", form, c.identity, err)
		}
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	for _, form := range []string{
		``, `"aa"`, `{}`, `{"keyID":""}`, `{"keyID":1}`, `{"issuer":"i"}`, `{"san":"s"}`,
		`{"keyID":"aa","san":"s"}`, `{"keyID":"aa","issuer":"i","san":"s"}`,
	} {
		if got, err := pratique.ParseIdentity([]byte(form)); err == nil {
			t.Errorf("%s is %v", form, got)
		}
	}
	var a pratique.Attestation
	if err := json.Unmarshal([]byte(`{"signer":{"keyID":""}}`), &a); err == nil {
		t.Errorf("an attestation by nobody is read as %+v", a)
	}
	// Facts of an earlier version name no signer: they are nobody's, so they count as made by
	// somebody else.
	for _, form := range []string{`{"keyID":"aa"}`, `{"signer":null}`} {
		if err := json.Unmarshal([]byte(form), &a); err != nil || a.Signer != nil {
			t.Errorf("%s: %+v, %v", form, a, err)
		}
	}
}
