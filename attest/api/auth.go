package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pratique-dev/pratique"
)

// Auth says who may use the API. The zero value lets nobody in.
type Auth struct {
	Tokens []Token
	// AnonymousRead lets everybody read. Changes need a token all the same.
	AnonymousRead bool
	// Hosts are the names of this server. The Host header of a request without a token has to be one
	// of them, an IP address or localhost. So a web page that reaches the server under a name of its
	// own cannot read.
	Hosts []string
}

// Token is a bearer token.
type Token struct {
	// Name is the token's name in facts.
	Name string
	// Secret is the token itself, at least 16 characters.
	Secret string
	// Submit allows submissions and sweeps. Operate allows to cancel and requeue anybody's jobs, and
	// to deploy what a sweep found. Without either, the token may only read.
	Submit, Operate bool
	// Repositories are globs by segment of registry/path. The token may change nothing about others.
	// None means all.
	Repositories []pratique.Glob
	// Rollback allows to deploy an image that is older than the one that Git has.
	Rollback bool
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
		for _, g := range t.Repositories {
			if err := g.Validate(); err != nil {
				return fmt.Errorf("repositories of token %q: %w", t.Name, err)
			}
		}
		names[t.Name], secrets[t.Secret] = true, true
	}
	return nil
}

// Operations in errors.
const (
	opCancel  = "cancel"
	opRequeue = "requeue"
)

// caller is who sent a request, and the request. The token is zero for anonymous readers.
type caller struct {
	token   Token
	request *http.Request
}

// permit returns an error if the caller's token may not change the repository.
func (c caller) permit(op string, repo pratique.Repository) error {
	if len(c.token.Repositories) == 0 || pratique.MatchAny(c.token.Repositories, repo.String()) {
		return nil
	}
	const most = 10
	var patterns []string
	for _, g := range c.token.Repositories[:min(most, len(c.token.Repositories))] {
		patterns = append(patterns, string(g))
	}
	if more := len(c.token.Repositories) - most; more > 0 {
		patterns = append(patterns, fmt.Sprintf("%d more", more))
	}
	what := "images"
	if op == opCancel || op == opRequeue {
		what = "jobs"
	}
	return pratique.Errorf(pratique.Denied, op, "token %s may %s only %s of %s, and %s is none of them",
		c.token.Name, op, what, strings.Join(patterns, ", "), repo)
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
	hosts         []string
}

type hashedToken struct {
	Token
	hash [sha256.Size]byte
}

// newAuthenticator lets nobody in if the Auth is invalid. If it only left out the bad token, its
// holder would notice late; if it kept it, an empty secret could match.
func newAuthenticator(a Auth) authenticator {
	if a.Validate() != nil {
		return authenticator{}
	}
	out := authenticator{anonymousRead: a.AnonymousRead, hosts: a.Hosts}
	for _, t := range a.Tokens {
		out.tokens = append(out.tokens, hashedToken{Token: t, hash: sha256.Sum256([]byte(t.Secret))})
	}
	return out
}

// check returns the caller's token, or the status to refuse the request with: 401 if another token
// is needed, 403 if the token may not do this, 421 for anonymous readers with another host. A wrong
// token is refused even where none is needed.
func (a authenticator) check(r *http.Request) (token Token, status int) {
	header := r.Header.Get("Authorization")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if header == "" {
		switch {
		case !a.anonymousRead || !reads:
			return Token{}, http.StatusUnauthorized
		case !a.isOwnHost(r.Host):
			return Token{}, http.StatusMisdirectedRequest
		}
		return Token{}, 0
	}
	scheme, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Token{}, http.StatusUnauthorized
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	found := -1
	for i := range a.tokens { // all of them, so that the time does not reveal which one matched
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 {
			found = i
		}
	}
	switch {
	case found < 0:
		return Token{}, http.StatusUnauthorized
	case !reads && !a.tokens[found].mayChange(r.URL.Path):
		return a.tokens[found].Token, http.StatusForbidden
	}
	return a.tokens[found].Token, 0
}

// mayChange reports whether the token may change something at this path.
func (t Token) mayChange(path string) bool {
	switch {
	case strings.HasPrefix(path, pathJobs+"/"):
		return t.Operate
	case path == pathReconciliations: // the handler checks the rest
		return t.Submit || t.Operate
	}
	return t.Submit
}

// isOwnHost reports whether a Host header names this server. Names are those of the configuration,
// because anybody can point a domain to any address. Addresses and localhost belong to no domain.
func (a authenticator) isOwnHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(a.hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

// refuseCaller writes the problem of a refused request. The detail is for the status 403.
func refuseCaller(w http.ResponseWriter, status int, detail string) {
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="pratique"`)
		detail = "send a valid token: Authorization: Bearer …"
	case http.StatusMisdirectedRequest:
		detail = "without a token, ask for this server by its address or a name of its own: publicURL, or api.hosts in its configuration"
	}
	writeProblem(w, newProblem(status, detail))
}

// missingPermission says what a token needs to change something at this path.
func (t Token) missingPermission(path string) string {
	switch {
	case strings.HasPrefix(path, pathJobs+"/"):
		return "the token " + t.Name + " may not cancel or requeue: that needs operate: true"
	case path == pathReconciliations:
		return "the token " + t.Name +
			" may read, and not ask for sweeps, which needs submit: true, nor deploy, which needs operate: true"
	}
	may := "read"
	if t.Operate {
		may = "read and operate"
	}
	return "the token " + t.Name + " may " + may + ", and not submit: that needs submit: true"
}

// Guard passes requests of those who may read the API to next. It protects what else the server says
// about itself.
func Guard(a Auth, next http.Handler) http.Handler {
	auth := newAuthenticator(a)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, status := auth.check(r); status != 0 {
			refuseCaller(w, status, "this token may not read")
			return
		}
		next.ServeHTTP(w, r)
	})
}
