package signer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/signer"
	"github.com/pratique-dev/pratique/signer/signertest"
)

// bytesOf signs a message with a key whose signatures do not vary.
func bytesOf(t testing.TB, k signertest.Key, message string) []byte {
	t.Helper()
	sig, err := k.Sign(t.Context(), []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return sig.Bytes
}

func keyID(k signertest.Key) string { return k.Identity().(pratique.Key).ID }

func subject(t testing.TB) pratique.Subject {
	t.Helper()
	s, err := pratique.ParseSubject("registry.test/team/app@sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func statement(t testing.TB) pratique.Statement {
	s := subject(t)
	return pratique.Statement{
		Type: "https://in-toto.io/Statement/v1",
		Subject: []pratique.StatementSubject{{Name: s.Repository.String(),
			Digest: map[string]string{"sha256": s.Digest.Hex()}}},
		PredicateType: "https://example.test/p",
		Predicate:     json.RawMessage(`{"a":"<b> & c"}`),
	}
}

func TestEnvelopeIsDSSE(t *testing.T) {
	k := signertest.NewKey(1)
	signed, err := signer.SignStatement(t.Context(), k, statement(t))
	if err != nil {
		t.Fatal(err)
	}
	encoded := signed.Content()
	// The members of DSSE and no others, payload and signature in standard base64.
	payload := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"registry.test/team/app","digest":{"sha256":"` +
		strings.Repeat("ab", 32) +
		`"}}],"predicateType":"https://example.test/p","predicate":{"a":"<b> & c"}}`
	pae := "DSSEv1 28 application/vnd.in-toto+json " + "245 " + payload
	if len(payload) != 245 {
		t.Fatalf("the payload has %d bytes", len(payload))
	}
	want := `{"payloadType":"application/vnd.in-toto+json","payload":"` +
		base64.StdEncoding.EncodeToString([]byte(payload)) +
		`","signatures":[{"keyid":"` + keyID(k) + `","sig":"` +
		base64.StdEncoding.EncodeToString(bytesOf(t, k, pae)) + `"}]}`
	if diff := cmp.Diff(want, string(encoded)); diff != "" {
		t.Errorf("envelope (-want +got):\n%s", diff)
	}
	decoded, err := signer.DecodeEnvelope(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := signer.EncodeEnvelope(decoded); err != nil || string(again) != string(encoded) {
		t.Errorf("encoded again %s, %v", again, err)
	}
	if signed.PredicateType() != "https://example.test/p" ||
		signed.Payload() != pratique.DigestOf([]byte(payload)) ||
		signed.Digest() != pratique.DigestOf(encoded) {
		t.Errorf("it says of itself %s %s %s", signed.PredicateType(), signed.Payload(), signed.Digest())
	}
	got, by, err := signer.OpenEnvelope(k, decoded)
	if err != nil || by != k.Identity() {
		t.Fatalf("opened as %v, %v", by, err)
	}
	if diff := cmp.Diff(statement(t), got); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
	if !signer.IsAbout(got, subject(t).Digest) || signer.IsAbout(got, pratique.DigestOf(nil)) {
		t.Error("IsAbout does not tell subjects apart")
	}
}

// sealed signs any payload, also those that SignStatement would refuse.
func sealed(t testing.TB, k signertest.Key, payload string) pratique.Envelope {
	pae := append([]byte("DSSEv1 28 application/vnd.in-toto+json "), []byte(itoa(len(payload))+" "+
		payload)...)
	return pratique.Envelope{
		PayloadType: signer.PayloadType, Payload: []byte(payload),
		Signatures: []pratique.EnvelopeSignature{{Sig: bytesOf(t, k, string(pae))}},
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestOpenEnvelopeIsStrict(t *testing.T) {
	k, other := signertest.NewKey(1), signertest.NewKey(2)
	const good = `{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"x","digest":{"sha256":"aa"}}],"predicateType":"p","predicate":{}}`
	if _, _, err := signer.OpenEnvelope(k, sealed(t, k, good)); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	several := sealed(t, k, good)
	several.Signatures = append([]pratique.EnvelopeSignature{{KeyID: keyID(k),
		Sig: []byte("wrong")}, {}}, several.Signatures...)
	if _, _, err := signer.OpenEnvelope(k, several); err != nil {
		t.Errorf("one good signature of three: %v", err)
	}
	flooded := sealed(t, k, good)
	flooded.Signatures = append(make([]pratique.EnvelopeSignature, 100), flooded.Signatures...)
	retyped := sealed(t, k, good)
	retyped.PayloadType = "application/vnd.in-toto+json; charset=utf-8"
	altered := sealed(t, k, good)
	altered.Payload = []byte(strings.Replace(good, `"aa"`, `"bb"`, 1))
	for name, e := range map[string]pratique.Envelope{
		"empty":                {},
		"another key":          sealed(t, other, good),
		"altered payload":      altered,
		"another payload type": retyped,
		"a hundred signatures": flooded,
		"no signature":         {PayloadType: signer.PayloadType, Payload: []byte(good)},
		"not JSON":             sealed(t, k, `x`),
		"null":                 sealed(t, k, `null`),
		"list":                 sealed(t, k, `[]`),
		"trailing data":        sealed(t, k, good+`{}`),
		"a name twice": sealed(t, k, strings.Replace(good, `"predicateType":"p"`,
			`"predicateType":"q","predicateType":"p"`, 1)),
		"a name in another case": sealed(t, k, strings.Replace(good, `"predicateType"`,
			`"PredicateType"`, 1)),
		"invalid UTF-8": sealed(t, k, strings.Replace(good, `"p"`, "\"\xff\"", 1)),
		"another _type": sealed(t, k, strings.Replace(good, `v0.1`, `v9`, 1)),
		"no subject": sealed(t, k,
			strings.Replace(good, `{"name":"x","digest":{"sha256":"aa"}}`, ``, 1)),
		"subject without digest": sealed(t, k, strings.Replace(good, `{"sha256":"aa"}`, `{}`, 1)),
		"no predicate type":      sealed(t, k, strings.Replace(good, `"p"`, `""`, 1)),
		"predicate is a string": sealed(t, k, strings.Replace(good, `"predicate":{}`,
			`"predicate":"{}"`, 1)),
		"predicate is null": sealed(t, k, strings.Replace(good, `"predicate":{}`,
			`"predicate":null`, 1)),
	} {
		if st, by, err := signer.OpenEnvelope(k, e); pratique.KindOf(err) != pratique.Unverified ||
			by != nil {
			t.Errorf("%s: opened %+v, %v", name, st, err)
		}
	}
}

func TestSignStatementRefusesNonsense(t *testing.T) {
	_, err := signer.SignStatement(t.Context(), signertest.NewKey(1), pratique.Statement{})
	if pratique.KindOf(err) != pratique.Invalid {
		t.Errorf("an empty statement: %v", err)
	}
	// Two readers must not be able to see two different documents in it.
	for name, predicate := range map[string]string{
		"empty": ``, "list": `[]`, "cut": `{"a":1`, "more than one": `{}{}`,
		"a name twice": `{"a":1,"b":[{"c":1,"c":2}]}`, "invalid UTF-8": "{\"a\":\"\xff\"}",
		"another member": `{},"predicateType":"q","x":{}`,
	} {
		st := statement(t)
		st.Predicate = json.RawMessage(predicate)
		if _, err := signer.SignStatement(t.Context(), signertest.NewKey(1),
			st); pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("predicate %s: %v", name, err)
		}
	}
	denied := pratique.Errorf(pratique.Denied, "sign", "no")
	if _, err := signer.SignStatement(t.Context(), failing{signertest.NewKey(1), denied},
		statement(t)); pratique.KindOf(err) != pratique.Denied {
		t.Errorf("the key store's kind is lost: %v", err)
	}
	if _, err := signer.SignImage(t.Context(), failing{signertest.NewKey(1), errors.New("x")},
		subject(t)); err == nil {
		t.Error("a failure to sign is not an error")
	}
}

func TestSignedIsChecked(t *testing.T) {
	k, other := signertest.NewKey(1), signertest.NewKey(2)
	signed, err := signer.SignStatement(t.Context(), k, statement(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := signed.Check(k, subject(t).Digest); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another key":   signed.Check(other, subject(t).Digest),
		"another image": signed.Check(k, pratique.DigestOf(nil)),
		"nothing":       signer.Signed{}.Check(k, subject(t).Digest),
	} {
		if pratique.KindOf(err) != pratique.Unverified {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct {
	signertest.Key
	err error
}

func (f failing) Sign(context.Context, []byte) (signer.Signature, error) {
	return signer.Signature{}, f.err
}

func TestImageSignature(t *testing.T) {
	k := signertest.NewKey(1)
	s := subject(t)
	sig, err := signer.SignImage(t.Context(), k, s)
	if err != nil {
		t.Fatal(err)
	}
	// Byte for byte what cosign 2.6.5 signs.
	want := `{"critical":{"identity":{"docker-reference":"registry.test/team/app"},"image":{"docker-manifest-digest":"sha256:` +
		strings.Repeat("ab", 32) + `"},"type":"cosign container image signature"},"optional":null}`
	if diff := cmp.Diff(want, string(sig.Payload)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if by, err := signer.VerifyImage(k, s, sig); err != nil || by != k.Identity() {
		t.Errorf("verified as %v, %v", by, err)
	}
	sign := func(payload string) signer.SimpleSignature {
		return signer.SimpleSignature{Payload: []byte(payload),
			Signature: signer.Signature{Bytes: bytesOf(t, k, payload)}}
	}
	moved := s
	moved.Repository.Path = "team/other"
	for name, c := range map[string]struct {
		sig     signer.SimpleSignature
		subject pratique.Subject
		key     signertest.Key
	}{
		"another key":        {sig, s, signertest.NewKey(2)},
		"another image":      {sig, s.Sibling(pratique.DigestOf(nil)), k},
		"another repository": {sig, moved, k},
		"another type": {sign(strings.Replace(want, "cosign container", "atomic container",
			1)), s, k},
		"a digest twice": {sign(strings.Replace(want, `"image":{`,
			`"image":{"docker-manifest-digest":"sha256:00",`, 1)), s, k},
		"not JSON": {sign("x"), s, k},
		"altered": {signer.SimpleSignature{Payload: append(bytes.Clone(sig.Payload),
			' '), Signature: sig.Signature}, s, k},
		"nothing": {signer.SimpleSignature{}, s, k},
	} {
		if by, err := signer.VerifyImage(c.key, c.subject,
			c.sig); pratique.KindOf(err) != pratique.Unverified || by != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerifiers: whose signature it is decides, not which verifier accepts it.
func TestVerifiers(t *testing.T) {
	one, two, message := signertest.NewKey(1), signertest.NewKey(2), []byte("message")
	both := signer.AnyOf(one, two)
	theirs := signer.Signature{Bytes: bytesOf(t, two, "message")}
	if by, err := both.Verify(message, theirs); err != nil || by != two.Identity() {
		t.Errorf("one of two: %v, %v", by, err)
	}
	if by, err := signer.Only(both, two.Identity()).Verify(message, theirs); err != nil ||
		by != two.Identity() {
		t.Errorf("the wanted one: %v, %v", by, err)
	}
	for name, v := range map[string]signer.Verifier{
		"another": signer.Only(both, one.Identity()), "nobody": signer.Only(both, nil),
		"none of them": signer.AnyOf(), "a third": signer.AnyOf(signertest.NewKey(3)),
		"nobody, by somebody": signer.Only(nameless{}, nil),
	} {
		if by, err := v.Verify(message, theirs); pratique.KindOf(err) != pratique.Unverified ||
			by != nil {
			t.Errorf("%s: %v, %v", name, by, err)
		}
	}
}

// nameless accepts everything and names nobody.
type nameless struct{}

func (nameless) Verify([]byte, signer.Signature) (pratique.Identity, error) { return nil, nil }

// anyKey accepts every signature, so that the fuzzer gets past it.
type anyKey struct{ signertest.Key }

func (k anyKey) Verify([]byte, signer.Signature) (pratique.Identity, error) { return k.Identity(), nil }

func FuzzOpenEnvelope(f *testing.F) {
	k := anyKey{signertest.NewKey(1)}
	e, err := signer.SignStatement(f.Context(), k, statement(f))
	if err != nil {
		f.Fatal(err)
	}
	encoded := e.Content()
	f.Add(encoded, []byte(nil))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"bnVsbA==","signatures":[{}]}`), []byte(`{"_type":"https://in-toto.io/Statement/v1"}`))
	f.Fuzz(func(t *testing.T, data, payload []byte) {
		e, err := signer.DecodeEnvelope(data)
		if err != nil {
			if pratique.KindOf(err) != pratique.Corrupt {
				t.Errorf("kind %s", pratique.KindOf(err))
			}
			e = pratique.Envelope{PayloadType: signer.PayloadType,
				Signatures: []pratique.EnvelopeSignature{{}}}
		}
		if payload != nil {
			e.Payload = payload
		}
		st, _, err := signer.OpenEnvelope(k, e)
		if err != nil {
			if pratique.KindOf(err) != pratique.Unverified {
				t.Errorf("kind %s", pratique.KindOf(err))
			}
			return
		}
		// What was opened can be signed and opened again, and says the same.
		again, err := signer.SignStatement(t.Context(), k, st)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := signer.DecodeEnvelope(again.Content())
		if err != nil {
			t.Fatal(err)
		}
		same, _, err := signer.OpenEnvelope(k, decoded)
		if err != nil {
			t.Fatal(err)
		}
		if st.PredicateType != same.PredicateType || !cmp.Equal(st.Subject, same.Subject) {
			t.Errorf("%+v became %+v", st, same)
		}
	})
}
