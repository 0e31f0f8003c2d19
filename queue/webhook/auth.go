package webhook

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // Nexus signs with HMAC-SHA1, which nobody can forge without the key
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pratique-dev/pratique"
)

// Method is how a sender authenticates itself.
type Method string

// The methods. A [Format] says which of them its sender supports.
const (
	MethodHeader     Method = "header"      // a header whose whole value is the secret
	MethodBearer     Method = "bearer"      // Authorization: Bearer SECRET
	MethodBasic      Method = "basic"       // Authorization: Basic, the secret is USER:PASSWORD
	MethodHMACSHA256 Method = "hmac-sha256" // a signature of the body
	MethodHMACSHA1   Method = "hmac-sha1"
	MethodURL        Method = "url"  // the last part of the URL, for senders that can do nothing else
	MethodOIDC       Method = "oidc" // a token of an identity provider
)

// Auth says how requests are authenticated.
type Auth struct {
	// Method defaults to the first of the format.
	Method Method
	// Header is the name of the header that carries the secret or the signature; default that of
	// the method, or the sender's own.
	Header string
	// Prefix precedes the hexadecimal digits of a signature; default the sender's own.
	Prefix string
	// Secrets are all valid, two while one is rotated; see [Handler.SetSecrets]. They have at least
	// 16 characters.
	Secrets []string
	// Tokens verifies the tokens of [MethodOIDC], which has no secrets.
	Tokens TokenVerifier
	// Insecure accepts every request. It must be asked for, and excludes Secrets.
	Insecure bool
}

// TokenVerifier checks an Authorization header. The error is Denied if the token is not valid, and
// Unavailable if that cannot be found out now.
type TokenVerifier interface {
	Verify(ctx context.Context, authorization string) error
}

// signatureFormat is where a sender puts its signature, and how it writes it.
type signatureFormat struct{ header, prefix string }

const minSecret = 16

// authenticator authenticates requests. It compares hashes in constant time, which hides content
// and length of a secret. Its secrets may change while requests are checked.
type authenticator struct {
	method   Method
	header   string
	prefix   string
	tokens   TokenVerifier
	insecure bool
	secrets  atomic.Pointer[secrets]
}

// secrets are the hashes of what a request may present, or the keys of its signatures.
type secrets struct {
	hashes [][sha256.Size]byte
	keys   [][]byte
}

func newAuthenticator(a Auth, f Format) (*authenticator, error) {
	out := &authenticator{method: a.Method, prefix: a.Prefix, tokens: a.Tokens, insecure: a.Insecure}
	if out.method == "" {
		out.method = f.Methods[0]
	}
	if !slices.Contains(f.Methods, out.method) {
		return nil, fmt.Errorf("auth: %s does not support %q: want one of %v", f.Name, out.method,
			f.Methods)
	}
	out.header = a.Header
	switch {
	case out.signs():
		out.header, out.prefix = cmp.Or(a.Header, f.signature.header),
			cmp.Or(a.Prefix, f.signature.prefix)
		if out.header == "" {
			return nil, errors.New("auth: say in which header the signature is")
		}
	case out.method == MethodHeader:
		out.header = cmp.Or(a.Header, f.header)
	}
	out.header = http.CanonicalHeaderKey(cmp.Or(out.header, "Authorization"))
	switch {
	case a.Insecure && (len(a.Secrets) > 0 || a.Tokens != nil):
		return nil, errors.New("auth: insecure and secrets exclude each other")
	case a.Insecure:
		return out, nil
	case out.method == MethodOIDC && a.Tokens == nil:
		return nil, errors.New("auth: oidc needs the issuer's settings")
	case out.method == MethodOIDC:
		return out, nil
	}
	return out, out.set(a.Secrets)
}

// set replaces the secrets.
func (a *authenticator) set(all []string) error {
	if len(all) == 0 {
		return errors.New("auth: no secret given; to accept requests from anybody say insecure")
	}
	next := &secrets{}
	for i, s := range all {
		if err := a.check(s); err != nil {
			return fmt.Errorf("auth: secret %d: %w", i+1, err)
		}
		next.keys = append(next.keys, []byte(s))
		next.hashes = append(next.hashes, sha256.Sum256([]byte(a.presentation(s))))
	}
	a.secrets.Store(next)
	return nil
}

// check refuses secrets that can be guessed, or cannot be sent.
func (a *authenticator) check(s string) error {
	bare := s
	switch a.method { // what precedes the separator is not secret
	case MethodHeader:
		if scheme, rest, ok := strings.Cut(s, " "); ok && scheme != "" {
			bare = rest
		}
	case MethodBasic:
		var ok bool
		if _, bare, ok = strings.Cut(s, ":"); !ok {
			return errors.New("want user:password")
		}
	}
	switch {
	case len(bare) < minSecret || strings.TrimSpace(s) != s:
		return fmt.Errorf("want at least %d characters without spaces around them", minSecret)
	case a.method == MethodURL && strings.ContainsFunc(s, unsafeInPath):
		return errors.New("in a URL: letters, digits, - and _ only")
	}
	return nil
}

func unsafeInPath(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
}

// presentation returns what a request with this secret carries.
func (a *authenticator) presentation(s string) string {
	switch a.method {
	case MethodBearer:
		return "Bearer " + s
	case MethodBasic:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(s))
	default:
		return s
	}
}

// dummy is for receivers that do not exist. It takes as long as others, and accepts nothing.
func dummy() *authenticator {
	unknown := &secrets{hashes: make([][sha256.Size]byte, 1)}
	_, _ = rand.Read(unknown.hashes[0][:]) // never fails
	a := &authenticator{method: MethodHeader, header: "Authorization"}
	a.secrets.Store(unknown)
	return a
}

// SignsBody reports whether the sender signs bodies, and so no headers.
func (m Method) SignsBody() bool { return m == MethodHMACSHA256 || m == MethodHMACSHA1 }

// signsBody is [Method.SignsBody] of the method, or of the format's default where none is
// configured.
func (a Auth) signsBody(format string) bool {
	if f, ok := formatsByName()[format]; ok && a.Method == "" {
		return f.Methods[0].SignsBody()
	}
	return a.Method.SignsBody()
}

func (a *authenticator) signs() bool { return a.method.SignsBody() }

// admits checks a request before its body is read. A signature must be there;
// [authenticator.signed] verifies it. The error is nil, Denied or Unavailable.
func (a *authenticator) admits(r *http.Request) error {
	switch {
	case a.insecure:
		return nil
	case a.method == MethodOIDC:
		return a.tokens.Verify(r.Context(), a.single(r.Header))
	case a.method == MethodURL:
		return a.match(r.PathValue("secret"))
	case a.signs():
		if _, err := a.digits(r.Header); err != nil {
			return err
		}
		return nil
	default:
		return a.match(a.single(r.Header))
	}
}

// single returns the value of the header if there is exactly one.
func (a *authenticator) single(h http.Header) string {
	if values := h[a.header]; len(values) == 1 {
		return values[0]
	}
	return ""
}

func (a *authenticator) match(presented string) error {
	sum := sha256.Sum256([]byte(presented))
	found := 0
	for _, hash := range a.secrets.Load().hashes {
		found |= subtle.ConstantTimeCompare(sum[:], hash[:])
	}
	if found == 1 {
		return nil
	}
	return pratique.Errorf(pratique.Denied, "authenticate",
		"the header %s is missing or wrong: it must hold %s", a.header, a.wanted())
}

func (a *authenticator) wanted() string {
	switch a.method {
	case MethodBearer:
		return `"Bearer " and the configured secret`
	case MethodBasic:
		return `"Basic " and the configured user:password in base64`
	default:
		return `the whole configured value, for example "Bearer …"`
	}
}

func (a *authenticator) sum() func() hash.Hash {
	if a.method == MethodHMACSHA1 {
		return sha1.New
	}
	return sha256.New
}

// digits returns the signature of a request.
func (a *authenticator) digits(h http.Header) ([]byte, error) {
	text, ok := strings.CutPrefix(a.single(h), a.prefix)
	raw, err := hex.DecodeString(text)
	if !ok || err != nil || len(raw) != a.sum()().Size() {
		return nil, pratique.Errorf(pratique.Denied, "authenticate",
			"the header %s is missing or is no %s signature: give the webhook the configured secret", a.header, a.method)
	}
	return raw, nil
}

// signed verifies the signature of a body, if that is the method.
func (a *authenticator) signed(h http.Header, body []byte) error {
	if !a.signs() || a.insecure {
		return nil
	}
	presented, err := a.digits(h)
	if err != nil {
		return err
	}
	found := 0
	for _, key := range a.secrets.Load().keys {
		mac := hmac.New(a.sum(), key)
		mac.Write(body)
		found |= subtle.ConstantTimeCompare(mac.Sum(nil), presented)
	}
	if found == 0 {
		return pratique.Errorf(pratique.Denied, "authenticate",
			"the signature in %s is not that of the body with the configured secret", a.header)
	}
	return nil
}
