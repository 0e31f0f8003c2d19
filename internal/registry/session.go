package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
)

const (
	// Tokens live for a minute unless the server says otherwise. Reads renew them automatically,
	// but the transport cannot repeat an upload whose token expires, so sessions for uploads are
	// renewed earlier.
	pullSessionAge = 10 * time.Minute
	pushSessionAge = 45 * time.Second
	maxSessions    = 1024
)

// sessions holds the authenticated transports, one for each repository and scope, since registries
// issue tokens per repository.
type sessions struct {
	mu   sync.Mutex
	open map[sessionKey]*session
}

type sessionKey struct {
	repository string
	scope      string
}

type session struct {
	lock      chan struct{} // held while logging in; a channel, so that waiting ends with the context
	transport http.RoundTripper
	madeAt    time.Time
}

func (s *sessions) get(key sessionKey) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || len(s.open) >= maxSessions {
		// Dropping all is rare and costs one login for each repository in use.
		s.open = map[sessionKey]*session{}
	}
	entry, ok := s.open[key]
	if !ok {
		entry = &session{lock: make(chan struct{}, 1)}
		s.open[key] = entry
	}
	return entry
}

// login returns a transport that is authenticated for the scope ("pull" or "push,pull").
func (c *Client) login(ctx context.Context, t target, scope string,
	age time.Duration) (http.RoundTripper, error) {
	s := c.sessions.get(sessionKey{repository: t.repo.String(), scope: scope})
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, toError("log in to registry", t.host.Name, ctx.Err())
	}
	if s.transport != nil && time.Since(s.madeAt) < age {
		return s.transport, nil
	}
	base := transport.NewUserAgent(retryReads(t.host.guard), c.userAgent)
	made, err := transport.NewWithContext(ctx, t.host.registry, t.host.credentials(), base,
		[]string{t.name.Scope(scope)})
	if err != nil {
		return nil, loginError(t.host.Host, err)
	}
	s.transport, s.madeAt = made, time.Now()
	return made, nil
}

// credentials come from the configuration. There is deliberately no fallback to a keychain.
func (h *host) credentials() authn.Authenticator {
	if h.Username == "" {
		return authn.Anonymous
	}
	return &authn.Basic{Username: h.Username, Password: h.Password}
}

// RemoteOptions returns the options for reading and writing signatures in a repository: a transport
// that is authenticated for pull and push and goes through the guard. The options hold ctx, so make
// them for one job; make a [remote.Pusher] for each job too, because it remembers uploads forever.
func (c *Client) RemoteOptions(ctx context.Context, repo pratique.Repository) ([]remote.Option,
	[]name.Option, error) {
	t, err := c.target(repo)
	if err != nil {
		return nil, nil, err
	}
	rt, err := c.login(ctx, t, transport.PushScope, pushSessionAge)
	if err != nil {
		return nil, nil, err
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(rt)}, t.host.names, nil
}

// Transport returns the transport of [Client.RemoteOptions], for callers that make their own
// requests.
func (c *Client) Transport(ctx context.Context, repo pratique.Repository) (http.RoundTripper, error) {
	t, err := c.target(repo)
	if err != nil {
		return nil, err
	}
	return c.login(ctx, t, transport.PushScope, pushSessionAge)
}

// readRetries retries requests without a body that change nothing. Uploads are retried by the code
// that has the bytes.
type readRetries struct {
	once, repeated http.RoundTripper
}

func retryReads(inner http.RoundTripper) http.RoundTripper {
	return &readRetries{once: inner, repeated: transport.NewRetry(inner,
		transport.WithRetryBackoff(transport.Backoff{Duration: 200 * time.Millisecond, Factor: 3,
			Jitter: 0.1, Steps: 3}),
		transport.WithRetryPredicate(isTransient),
		// Not 429: the queue waits for that.
		transport.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusInternalServerError,
			http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout))}
}

// onceKey marks the contexts of requests that must not be retried.
type onceKey struct{}

// RoundTrip implements [http.RoundTripper].
func (r *readRetries) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Context().Value(onceKey{}) != nil || req.Body != nil || req.Method != http.MethodGet &&
		req.Method != http.MethodHead {
		return r.once.RoundTrip(req)
	}
	return r.repeated.RoundTrip(req)
}

// isTransient reports whether a retry may succeed.
func isTransient(err error) bool {
	var status *transport.Error
	if errors.As(err, &status) {
		return status.Temporary()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
