// Package oidc verifies the ID tokens with which senders such as Google Pub/Sub or Azure Event Grid
// authenticate themselves: a JWT of a public issuer in the Authorization header.
//
// A public issuer gives tokens to anybody, so a valid signature of the issuer proves nothing. A
// token is accepted only if its audience is ours and it names the configured account.
package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	coreos "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/outbound"
)

// Google's issuer, the other name that it gives itself in older tokens, and where its keys are.
const (
	googleIssuer  = "https://accounts.google.com"
	googleAlias   = "accounts.google.com"
	googleKeysURL = "https://www.googleapis.com/oauth2/v3/certs"
)

const (
	// maxHeader bounds the Authorization header, in bytes. Tokens of the known senders have 1 to 2
	// KiB.
	maxHeader = 8 << 10
	// maxSkew is how far ahead the issuer's clock may be. go-oidc allows nbf the same.
	maxSkew = 5 * time.Minute
)

// Config says whose tokens are accepted.
type Config struct {
	// Issuer is the exact iss of the tokens; default Google's.
	Issuer string
	// KeysURL is where the issuer's public keys are, as a JSON Web Key Set over https. The default
	// is Google's for Google's issuer; any other issuer needs one.
	KeysURL string
	// Audience must be among the token's audiences. Required, and unique to this service: a token
	// that was made for another one must not open this one.
	Audience string
	// Email is the exact account, which the issuer must have verified. Required for Google's issuer.
	Email string
	// Claims are further claims with their exact values, all of them strings, such as appid. An
	// issuer other than Google needs at least one of Email and Claims.
	Claims map[string]string
	// CA are certificates, in PEM, of authorities that are trusted for KeysURL beside those of the
	// system.
	CA []byte
	// Client fetches the keys; default one of its own, which uses CA. It is copied; redirects are
	// refused whatever it says.
	Client *http.Client
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	config Config
	token  coreos.Config
	keys   *keySet
}

// New checks the configuration; errors are Invalid. The keys are fetched for the first token, so
// the service starts while the issuer is down.
func New(c Config) (*Verifier, error) {
	if c.Issuer == "" || c.Issuer == googleAlias {
		c.Issuer = googleIssuer
	}
	if c.KeysURL == "" && c.Issuer == googleIssuer {
		c.KeysURL = googleKeysURL
	}
	if err := c.validate(); err != nil {
		return nil, pratique.Wrap(pratique.Invalid, "configure oidc", "", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		if err := outbound.Setup(transport, c.CA); err != nil {
			return nil, pratique.Wrap(pratique.Invalid, "configure oidc", "", err)
		}
		c.Client = &http.Client{Transport: transport}
	}
	return &Verifier{
		config: c,
		token: coreos.Config{ClientID: c.Audience, SupportedSigningAlgs: []string{coreos.RS256,
			coreos.ES256}, Now: c.Now},
		keys: newKeySet(c.KeysURL, c.Client, c.Now),
	}, nil
}

func (c Config) validate() error {
	switch u, err := url.Parse(c.KeysURL); {
	case c.KeysURL == "":
		return fmt.Errorf("issuer %s: keysURL is required for an issuer other than Google", c.Issuer)
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return fmt.Errorf("keysURL: want an https URL without credentials: whoever can change the keys on the way can make tokens")
	case c.Audience == "":
		return fmt.Errorf("audience is required: without it a token that was made for another service is accepted")
	case c.Issuer == googleIssuer && c.Email == "":
		return fmt.Errorf("email is required: Google gives tokens with any audience to everybody who has an account")
	case c.Email == "" && len(c.Claims) == 0:
		return fmt.Errorf("email or claims are required: without them every account of the issuer is accepted")
	}
	for name, value := range c.Claims {
		switch {
		case name == "" || value == "":
			return fmt.Errorf("claims: %q: %q: a name and a value are required", name, value)
		case slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "email", "email_verified"},
			name):
			return fmt.Errorf("claims: %s is checked by itself", name)
		}
	}
	return nil
}

// Verify accepts or refuses the value of an Authorization header: the word Bearer and a token, 8
// KiB at most.
//
// The error is Denied if the token is wrong (401), and Unavailable if it could not be found out
// because the issuer's keys cannot be read now (503: a sender that gives up after a 401 must try
// again). It says what is wrong and never contains the token. A fetch of the keys takes 5 seconds
// at most, and goes on to its end even when ctx ends.
func (v *Verifier) Verify(ctx context.Context, authorization string) error {
	raw, err := bearer(authorization)
	if err != nil {
		return denied(err)
	}
	if err := v.ours(raw); err != nil {
		return denied(err)
	}
	// One per call, since go-oidc keeps the text of the key set's error but not its kind.
	call := &callKeys{set: v.keys}
	token, err := coreos.NewVerifier(v.config.Issuer, call, &v.token).Verify(ctx, raw)
	switch {
	case call.err != nil:
		return call.err
	case err != nil:
		return denied(err)
	}
	return denied(v.holder(token))
}

// bearer returns the token in the header.
func bearer(authorization string) (string, error) {
	if len(authorization) > maxHeader {
		return "", fmt.Errorf("the header has %d bytes, more than %d", len(authorization), maxHeader)
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	switch {
	case authorization == "":
		return "", fmt.Errorf("no token: the Authorization header is missing")
	case !strings.EqualFold(scheme, "Bearer"):
		return "", fmt.Errorf("no token: want the scheme Bearer")
	case strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n{"):
		return "", fmt.Errorf("not a signed token: want three parts with dots between them")
	}
	return token, nil
}

// ours refuses tokens that cannot be valid with any key, of another issuer or with another
// algorithm, before the keys are fetched.
func (v *Verifier) ours(raw string) error {
	jws, err := jose.ParseSignedCompact(raw, algorithms())
	if err != nil {
		return err
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		return fmt.Errorf("the claims are not readable: %w", err)
	}
	if claims.Issuer != v.config.Issuer && (v.config.Issuer != googleIssuer ||
		claims.Issuer != googleAlias) {
		return fmt.Errorf("issued by %q, not by %s", pratique.Clip(claims.Issuer), v.config.Issuer)
	}
	return nil
}

// holder checks the account of a token with valid signature, issuer, audience and lifetime.
func (v *Verifier) holder(token *coreos.IDToken) error {
	if token.IssuedAt.IsZero() || token.IssuedAt.Unix() == 0 {
		return fmt.Errorf("iat is missing")
	}
	if now := v.config.Now(); token.IssuedAt.After(now.Add(maxSkew)) {
		return fmt.Errorf("issued at %s, in the future: is a clock wrong?",
			token.IssuedAt.UTC().Format(time.RFC3339))
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return fmt.Errorf("the claims are not readable: %w", err)
	}
	if v.config.Email != "" {
		if email, ok := claims["email"].(string); !ok || email != v.config.Email {
			return fmt.Errorf("email is %q, not %q", pratique.Clip(fmt.Sprint(claims["email"])),
				v.config.Email)
		}
		if verified, ok := claims["email_verified"].(bool); !ok || !verified {
			return fmt.Errorf("email_verified is not true")
		}
	}
	for name, want := range v.config.Claims {
		if got, ok := claims[name].(string); !ok || got != want {
			return fmt.Errorf("claim %s is %q, not the string %q", name,
				pratique.Clip(fmt.Sprint(claims[name])), want)
		}
	}
	return nil
}

// denied returns the error for an invalid token. It may quote claims, so its length is bounded.
func denied(err error) error {
	if err == nil {
		return nil
	}
	return pratique.Errorf(pratique.Denied, "verify token", "%s", pratique.Clip(err.Error()))
}
