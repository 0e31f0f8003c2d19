package oidc

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pratique-dev/pratique"
)

func TestNewRefusesConfigurationThatAcceptsAnybody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no audience": {Config{Email: account}, "audience"},
		"google without email": {Config{Audience: audience,
			Claims: map[string]string{"sub": "1"}}, "email is required"},
		"alias without email": {Config{Issuer: googleAlias, Audience: audience},
			"email is required"},
		"other without keys": {Config{Issuer: "https://issuer.test", Audience: audience,
			Email: account}, "keysURL"},
		"other without a claim": {Config{Issuer: "https://issuer.test",
			KeysURL: "https://issuer.test/k", Audience: audience}, "email or claims"},
		"keys over http": {Config{KeysURL: "http://issuer.test/k", Audience: audience,
			Email: account}, "https"},
		"credentials in keys' URL": {Config{KeysURL: "https://a:b@issuer.test/k",
			Audience: audience, Email: account}, "https"},
		"empty claim": {Config{Audience: audience, Email: account,
			Claims: map[string]string{"appid": ""}}, "claims"},
		"claim of its own": {Config{Audience: audience, Email: account,
			Claims: map[string]string{"aud": "x"}}, "aud"},
	} {
		_, err := New(test.config)
		if pratique.KindOf(err) != pratique.Invalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an Invalid error with %q", name, err, test.want)
		}
	}
	v, err := New(Config{Audience: audience, Email: account})
	if err != nil || v.config.Issuer != googleIssuer || v.config.KeysURL != googleKeysURL {
		t.Errorf("the default is not Google: %v", err)
	}
}

func TestVerifyAcceptsAccountThatWasConfigured(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	google := i.verifier(t, Config{Audience: audience, Email: account})
	other := i.verifier(t, Config{Issuer: "https://issuer.test", Audience: audience,
		Claims: map[string]string{"appid": "app-1"}})
	for name, test := range map[string]struct {
		verifier *Verifier
		token    string
	}{
		"RS256":           {google, i.sign(t, "rsa", nil)},
		"ES256":           {google, i.sign(t, "ec", nil)},
		"alias of issuer": {google, i.sign(t, "rsa", claims{"iss": googleAlias})},
		"ours of several": {google,
			i.sign(t, "rsa", claims{"aud": []string{"https://other.test", audience}})},
		"clock a bit fast": {google,
			i.sign(t, "rsa", claims{"iat": i.at(4 * time.Minute), "nbf": i.at(4 * time.Minute)})},
		"claims": {other,
			i.sign(t, "rsa", claims{"iss": "https://issuer.test", "appid": "app-1", "email": nil})},
	} {
		if err := test.verifier.Verify(t.Context(), "Bearer "+test.token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := google.Verify(t.Context(), "bearer "+i.sign(t, "rsa", nil)); err != nil {
		t.Errorf("the scheme's case matters: %v", err)
	}
}

func TestVerifyDeniesTokenOfSomebodyElse(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account,
		Claims: map[string]string{"appid": "app-1"}})
	good := claims{"appid": "app-1"}
	if err := v.Verify(t.Context(), "Bearer "+i.sign(t, "rsa", good)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change claims
		want   string
	}{
		"audience":                {claims{"aud": "https://other.test"}, "audience"},
		"no audience":             {claims{"aud": nil}, "audience"},
		"audience of a prefix":    {claims{"aud": audience + "/x"}, "audience"},
		"issuer":                  {claims{"iss": "https://issuer.test"}, "issued by"},
		"no issuer":               {claims{"iss": nil}, "issued by"},
		"e-mail":                  {claims{"email": "someone@else.test"}, "email"},
		"e-mail in another case":  {claims{"email": strings.ToUpper(account)}, "email"},
		"no e-mail":               {claims{"email": nil}, "email"},
		"e-mail as list":          {claims{"email": []string{account}}, "email"},
		"unverified e-mail":       {claims{"email_verified": false}, "email_verified"},
		"verified as string":      {claims{"email_verified": "true"}, "email_verified"},
		"verified missing":        {claims{"email_verified": nil}, "email_verified"},
		"expired":                 {claims{"exp": i.at(-time.Second)}, "expired"},
		"no expiry":               {claims{"exp": nil}, "expired"},
		"not valid yet":           {claims{"nbf": i.at(6 * time.Minute)}, "nbf"},
		"issued in the future":    {claims{"iat": i.at(6 * time.Minute)}, "in the future"},
		"issued nowhen":           {claims{"iat": nil}, "iat is missing"},
		"claim":                   {claims{"appid": "app-2"}, "appid"},
		"claim missing":           {claims{"appid": nil}, "appid"},
		"claim as number":         {claims{"appid": 1}, "appid"},
		"claim very long":         {claims{"appid": strings.Repeat("é", 2000)}, "appid"},
		"time that is not a time": {claims{"exp": "soon"}, "unmarshal"},
	} {
		change := maps.Clone(good)
		maps.Copy(change, test.change)
		token := i.sign(t, "rsa", change)
		err := v.Verify(t.Context(), "Bearer "+token)
		wantDenied(t, name, err, test.want)
		if len(err.Error()) > 400 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		for part := range strings.SplitSeq(token, ".") {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error contains a part of the token", name)
			}
		}
	}
}

func TestVerifyDeniesForgedToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := i.verifier(t, Config{Audience: audience, Email: account})
	good := i.sign(t, "rsa", nil)
	parts := strings.Split(good, ".")
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	der, err := x509.MarshalPKIXPublicKey(i.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	elsewhere := newIssuer(t)
	for name, header := range map[string]string{
		"none": "Bearer " + encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"none in another case": "Bearer " + encode([]byte(`{"alg":"nOnE","kid":"rsa"}`)) + "." +
			parts[1] + "." + parts[2],
		"public key as secret": "Bearer " + signed(t, jose.HS256, public, "rsa", string(body)),
		"RS512":                "Bearer " + signed(t, jose.RS512, i.rsa, "rsa", string(body)),
		"another issuer's key": "Bearer " + signed(t, jose.RS256, elsewhere.rsa, "rsa", string(body)),
		"key of another kind":  "Bearer " + signed(t, jose.ES256, i.ec, "rsa", string(body)),
		"unknown key":          "Bearer " + signed(t, jose.RS256, i.rsa, "nobody", string(body)),
		"no key id":            "Bearer " + signed(t, jose.RS256, i.rsa, "", string(body)),
		"changed claims": "Bearer " + parts[0] + "." +
			encode([]byte(strings.Replace(string(body), account, "a@b.test", 1))) + "." + parts[2],
		"no signature":       "Bearer " + parts[0] + "." + parts[1] + ".",
		"other scheme":       "Basic " + good,
		"no scheme":          good,
		"two tokens":         "Bearer " + good + " " + good,
		"two headers in one": "Bearer " + good + ", Bearer " + good,
		"JSON serialisation": `Bearer {"payload":"` + parts[1] + `","protected":"` + parts[0] +
			`","signature":"` + parts[2] + `"}`,
		"claims that are a list": "Bearer " + signed(t, jose.RS256, i.rsa, "rsa", `["x"]`),
		"claims that are null":   "Bearer " + signed(t, jose.RS256, i.rsa, "rsa", `null`),
		"garbage":                "Bearer a.b.c",
		"only dots":              "Bearer ..",
		"empty":                  "",
		"only the scheme":        "Bearer ",
		"too long":               "Bearer " + good + strings.Repeat("A", maxHeader),
	} {
		wantDenied(t, name, v.Verify(t.Context(), header), "")
	}
}

// FuzzVerify looks for a panic, for a refusal without a kind, and for a header that opens the door
// although nobody signed it.
func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	v := i.verifier(f, Config{Audience: audience, Email: account})
	good := "Bearer " + i.sign(f, "rsa", nil)
	f.Add(good[:len(good)-8])
	f.Add("Bearer eyJhbGciOiJub25lIn0.e30.")
	f.Add("Bearer " + i.sign(f, "ec", claims{"iss": 3}))
	f.Add("Bearer " + i.sign(f, "ec", claims{"email": nil}))
	f.Add("Bearer " + signed(f, jose.RS256, i.rsa, "other", `{"iss":"accounts.google.com"}`))
	f.Fuzz(func(t *testing.T, header string) {
		err := v.Verify(context.Background(), header)
		if err == nil && !strings.HasSuffix(header, good[len("Bearer "):]) {
			t.Fatalf("%q opens the door", header)
		}
		if err != nil && pratique.KindOf(err) != pratique.Denied {
			t.Fatalf("%q: %v", header, err)
		}
	})
}

func wantDenied(t *testing.T, name string, err error, text string) {
	t.Helper()
	if pratique.KindOf(err) != pratique.Denied || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want Denied with %q", name, err, text)
	}
}

// signed makes a token with a given body. A []byte key is a secret.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, kid, body string) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are changes to the claims of a good token; nil takes one away.
type claims map[string]any

func (i *issuer) sign(t testing.TB, kid string, change claims) string {
	t.Helper()
	all := claims{
		"iss": googleIssuer, "aud": audience, "sub": "1", "email": account, "email_verified": true,
		"iat": i.at(-time.Minute), "exp": i.at(time.Hour),
	}
	for name, value := range change {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if kid == "ec" {
		return signed(t, jose.ES256, i.ec, kid, string(body))
	}
	return signed(t, jose.RS256, i.rsa, kid, string(body))
}
