package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
)

const (
	opRequest = "ask registry"

	defaultConcurrency = 16
	// failuresBeforePause is the number of consecutive failures before a registry is paused. Single
	// failures are retried at once, see retryReads.
	failuresBeforePause = 3
	// The length of a pause if the registry does not say how long to wait; it doubles up to
	// maxBackoff.
	minBackoff        = time.Second
	minLimitedBackoff = 4 * time.Second
	maxBackoff        = 5 * time.Minute
	// maxRetryAfter bounds what a registry may ask for.
	maxRetryAfter = 15 * time.Minute
)

// throttle bounds the concurrent requests to a registry. While the registry is paused, because it
// asked for that or failed repeatedly, every request fails at once with the remaining time. So a
// job gives its worker back, and the queue delivers it again after the pause.
type throttle struct {
	host   string
	slots  chan struct{}
	layers chan struct{} // half of the slots, so that downloads never block small requests

	mu       sync.Mutex
	failures int           // in a row
	since    time.Time     // start of the last pause
	until    time.Time     // end of the last pause
	kind     pratique.Kind // of the error during the pause
}

func newThrottle(host string, concurrency int) *throttle {
	if concurrency <= 0 {
		concurrency = defaultConcurrency
	}
	return &throttle{host: host, slots: make(chan struct{}, concurrency),
		layers: make(chan struct{}, max(1, concurrency/2))}
}

// acquire waits for a slot; release gives it back, and may be called again. It fails at once during
// a pause.
func (p *throttle) acquire(ctx context.Context, slots chan struct{}) (release func(), err error) {
	if err := p.paused(time.Now()); err != nil {
		return nil, err
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, pratique.Wrap(pratique.Unavailable, "wait to send request", p.host, ctx.Err())
	}
	if err := p.paused(time.Now()); err != nil { // begun while waiting
		<-slots
		return nil, err
	}
	return sync.OnceFunc(func() { <-slots }), nil
}

// paused returns the error of a pause, nil if there is none.
func (p *throttle) paused(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.until.Sub(now)
	if left <= 0 {
		return nil
	}
	return pratique.Wrap(p.kind, opRequest, p.host,
		&Throttled{Wait: left, Err: errors.New("paused after its last answers")})
}

// observe evaluates the answer to a request. It returns an error if the answer asks to wait, so
// that nobody retries at once; other errors are left to the caller.
func (p *throttle) observe(resp *http.Response, sent, now time.Time) error {
	limited := resp.StatusCode == http.StatusTooManyRequests
	if !limited && !isServerFailure(resp.StatusCode) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failures = 0
		return nil
	}
	wait := retryAfter(resp, now)
	p.recordFailure(limited, wait, sent, now)
	if !limited && wait <= 0 {
		return nil
	}
	err := toError(opRequest, p.host, transport.CheckError(resp)) // reads the body, within limits
	_ = resp.Body.Close()                                         // the error says more
	return &pratique.Error{Op: opRequest, Subject: p.host, Kind: pratique.KindOf(err),
		Err: throttled(wait, errors.Unwrap(err))}
}

// isServerFailure reports whether a status is a temporary failure of the server. Others, for
// example 501, concern the request.
func isServerFailure(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// Paused returns how long a repository's registry is still paused; 0 if it may be used, or is not
// configured.
func (c *Client) Paused(repo pratique.Repository) time.Duration {
	h, ok := c.hosts[repo.Registry]
	if !ok {
		return 0
	}
	return h.throttle.remaining()
}

// Pauses returns what [Client.Paused] returns, by the name of each configured registry.
func (c *Client) Pauses() map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, h := range c.hosts {
		all[h.Name] = h.throttle.remaining()
	}
	return all
}

func (p *throttle) remaining() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, time.Until(p.until))
}

// recordFailure counts a failure, and starts or extends a pause.
func (p *throttle) recordFailure(limited bool, asked time.Duration, sent, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, kind := minBackoff, pratique.Unavailable
	if limited {
		first, kind = minLimitedBackoff, pratique.RateLimited
	}
	pause := min(asked, maxRetryAfter)
	if asked <= 0 {
		if sent.Before(p.since) {
			return // sent before the pause
		}
		p.failures++
		if limited {
			p.failures = max(p.failures, failuresBeforePause)
		}
		if p.failures < failuresBeforePause {
			return
		}
		own := backoff.Backoff{Min: first, Max: maxBackoff, Jitter: 0.5}
		pause = own.Delay(p.failures-failuresBeforePause+1, backoff.Random())
	}
	if until := now.Add(pause); until.After(p.until) {
		p.since, p.until, p.kind = now, until, kind
	}
}

// slotBody gives the slot of a request back when the body was read or closed.
type slotBody struct {
	io.ReadCloser
	release func()
}

func (b *slotBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.release()
	}
	return n, err
}

func (b *slotBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// releaseOnClose keeps the slot of a request until its answer was read. If nobody closes the
// answer, the slot is given back when the request's context ends.
func releaseOnClose(req *http.Request, resp *http.Response, release func()) {
	if req.Method == http.MethodHead || resp.Body == http.NoBody ||
		resp.StatusCode >= http.StatusMultipleChoices {
		release() // there is no body worth waiting for
		return
	}
	stop := context.AfterFunc(req.Context(), release)
	resp.Body = &slotBody{ReadCloser: resp.Body, release: func() { stop(); release() }}
}
