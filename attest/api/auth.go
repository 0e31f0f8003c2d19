package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// Auth says who may ask. The zero value lets nobody in.
type Auth struct {
	Tokens []Token
	// AnonymousRead lets everybody read. Submissions need a token all the same.
	AnonymousRead bool
}

// Token is a bearer token.
type Token struct {
	// Name is what facts call its holder.
	Name string
	// Secret is the token itself, at least 16 characters.
	Secret string
	// Submit allows submissions and sweeps, Operate cancelling and requeuing the work of anybody. Without them the
	// token may only read.
	Submit, Operate bool
}

const minSecret = 16

// Validate checks that every token has a name of its own and a secret that is long enough.
func (a Auth) Validate() error {
	names, secrets := map[string]bool{}, map[string]bool{}
	for i, t := range a.Tokens {
		switch {
		case t.Name == "":
			return fmt.Errorf("token %d has no name", i+1)
		case names[t.Name]:
			return fmt.Errorf("two tokens are named %q", t.Name)
		case len(t.Secret) < minSecret:
			return fmt.Errorf("the secret of token %q is shorter than %d characters", t.Name, minSecret)
		case secrets[t.Secret]:
			return fmt.Errorf("token %q has the secret of another one", t.Name)
		}
		names[t.Name], secrets[t.Secret] = true, true
	}
	return nil
}

// caller is who asks, and the request as it came; the name is empty for anonymous readers.
type caller struct {
	name    string
	request *http.Request
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// authenticator holds hashes, so that comparing takes the same time for secrets of any length.
type authenticator struct {
	tokens        []hashedToken
	anonymousRead bool
}

type hashedToken struct {
	Token
	hash [sha256.Size]byte
}

// newAuthenticator lets nobody in if [Auth.Validate] has an objection: leaving out the one bad token would be
// noticed late, by its holder, and keeping it could let an empty secret match.
func newAuthenticator(a Auth) authenticator {
	if a.Validate() != nil {
		return authenticator{}
	}
	out := authenticator{anonymousRead: a.AnonymousRead}
	for _, t := range a.Tokens {
		out.tokens = append(out.tokens, hashedToken{Token: t, hash: sha256.Sum256([]byte(t.Secret))})
	}
	return out
}

// check names the caller, or gives the status to refuse with: 401 to those who may come with a (better) token,
// 403 to those whose token does not suffice. A wrong token is refused even where none is needed.
func (a authenticator) check(r *http.Request) (name string, status int) {
	header := r.Header.Get("Authorization")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if header == "" {
		if a.anonymousRead && reads {
			return "", 0
		}
		return "", http.StatusUnauthorized
	}
	scheme, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", http.StatusUnauthorized
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	found := -1
	for i := range a.tokens { // to the end, so that the time does not tell which one matched
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 {
			found = i
		}
	}
	switch {
	case found < 0:
		return "", http.StatusUnauthorized
	case !reads && !a.tokens[found].may(r.URL.Path):
		return "", http.StatusForbidden
	}
	return a.tokens[found].Name, 0
}

// may says whether the token allows to change something at this path.
func (t Token) may(path string) bool {
	if strings.HasPrefix(path, pathJobs+"/") {
		return t.Operate
	}
	return t.Submit
}

// Guard lets only those through to next who may read the API: for what else a server tells about itself.
func Guard(a Auth, next http.Handler) http.Handler {
	auth := newAuthenticator(a)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, status := auth.check(r); status != 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pratique"`)
			writeProblem(w, plainProblem(status, "send a valid token: Authorization: Bearer …"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
