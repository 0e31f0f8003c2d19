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

// Auth says who may ask. The zero value lets nobody in.
type Auth struct {
	Tokens []Token
	// AnonymousRead lets everybody read. Submissions need a token all the same.
	AnonymousRead bool
	// Hosts are the names of this server. A request without a token has to name one of them, an IP address or
	// localhost in its Host header: a page of a browser that reaches the server under a name of its own may not read.
	Hosts []string
}

// Token is a bearer token.
type Token struct {
	// Name is what facts call its holder.
	Name string
	// Secret is the token itself, at least 16 characters.
	Secret string
	// Submit allows submissions and sweeps, Operate canceling and requeuing the work of anybody, and deploying by name what
	// a sweep found. Without them the token may only read.
	Submit, Operate bool
	// Repositories are globs by segment of registry/path: the token changes nothing about others. None means all.
	Repositories []pratique.Glob
	// Rollback lets what the token asks for go back behind a newer image that stands in Git.
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

// What may be done to the work for an event, in the words of errors.
const (
	opCancel  = "cancel"
	opRequeue = "requeue"
)

// caller is who asks, and the request as it came; the token is zero for anonymous readers.
type caller struct {
	token   Token
	request *http.Request
}

// permit refuses to change something about a repository that the caller's token is not for.
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

// newAuthenticator lets nobody in if [Auth.Validate] has an objection: leaving out the one bad token would be
// noticed late, by its holder, and keeping it could let an empty secret match.
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

// check returns the caller's token, or gives the status to refuse with: 401 to those who may come with a (better) token,
// 403 to those whose token does not suffice, 421 to anonymous readers who ask for another host. A wrong token is refused
// even where none is needed.
func (a authenticator) check(r *http.Request) (token Token, status int) {
	header := r.Header.Get("Authorization")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if header == "" {
		switch {
		case !a.anonymousRead || !reads:
			return Token{}, http.StatusUnauthorized
		case !a.names(r.Host):
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
	for i := range a.tokens { // to the end, so that the time does not tell which one matched
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 {
			found = i
		}
	}
	switch {
	case found < 0:
		return Token{}, http.StatusUnauthorized
	case !reads && !a.tokens[found].may(r.URL.Path):
		return a.tokens[found].Token, http.StatusForbidden
	}
	return a.tokens[found].Token, 0
}

// may says whether the token allows to change something at this path.
func (t Token) may(path string) bool {
	switch {
	case strings.HasPrefix(path, pathJobs+"/"):
		return t.Operate
	case path == pathReconciliations: // what of it, the handler says
		return t.Submit || t.Operate
	}
	return t.Submit
}

// names reports whether a Host header names this server. Names are those of the configuration: whoever controls a domain
// can have it lead to any address. An address and localhost are nobody's domain.
func (a authenticator) names(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(a.hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

// refuseCaller writes the problem of a caller who is not let in; detail says what a token lacks.
func refuseCaller(w http.ResponseWriter, status int, detail string) {
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="pratique"`)
		detail = "send a valid token: Authorization: Bearer …"
	case http.StatusMisdirectedRequest:
		detail = "without a token, ask for this server by its address or a name of its own: publicURL, or api.hosts in its configuration"
	}
	writeProblem(w, plainProblem(status, detail))
}

// lacks says what a token needs to change something at this path.
func (t Token) lacks(path string) string {
	switch {
	case strings.HasPrefix(path, pathJobs+"/"):
		return "the token " + t.Name + " may not cancel or requeue: that needs operate: true"
	case path == pathReconciliations:
		return "the token " + t.Name + " may read, and not ask for sweeps, which needs submit: true, nor deploy, which needs operate: true"
	}
	may := "read"
	if t.Operate {
		may = "read and operate"
	}
	return "the token " + t.Name + " may " + may + ", and not submit: that needs submit: true"
}

// Guard lets only those through to next who may read the API: for what else a server tells about itself.
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
