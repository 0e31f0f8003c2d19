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
	// failuresBeforePause is how many answers in a row have to be failures of the registry before it is left in peace. A
	// single one is repeated at once, see retryReads.
	failuresBeforePause = 3
	// The pauses where a registry does not say how long it wants to be left in peace: they double up to longestOwn.
	minBackoff        = time.Second
	minLimitedBackoff = 4 * time.Second
	maxBackoff        = 5 * time.Minute
	// maxRetryAfter bounds what a registry may ask for.
	maxRetryAfter = 15 * time.Minute
)

// throttle keeps one registry from being asked too much: it bounds the requests that are under way, and while the
// registry wants to be left in peace every request fails at once, with the time that is left. So a job for it gives
// its worker back, and the queue brings it again when that time is over.
type throttle struct {
	host   string
	slots  chan struct{}
	layers chan struct{} // half of the slots, so that small requests never wait for downloads

	mu       sync.Mutex
	failures int           // in a row
	since    time.Time     // when the last pause was begun
	until    time.Time     // and its end
	kind     pratique.Kind // why
}

func newThrottle(host string, concurrency int) *throttle {
	if concurrency <= 0 {
		concurrency = defaultConcurrency
	}
	return &throttle{host: host, slots: make(chan struct{}, concurrency), layers: make(chan struct{}, max(1, concurrency/2))}
}

// acquire waits for a slot; leave gives it back, and may be called again. It fails at once during a pause.
func (p *throttle) acquire(ctx context.Context, slots chan struct{}) (leave func(), err error) {
	if err := p.paused(time.Now()); err != nil {
		return nil, err
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, pratique.Wrap(pratique.Unavailable, "wait for a request's turn", p.host, ctx.Err())
	}
	if err := p.paused(time.Now()); err != nil { // begun meanwhile
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
	return pratique.Wrap(p.kind, opRequest, p.host, &Throttled{Wait: left, Err: errors.New("it is left in peace after its last answers")})
}

// observe takes an answer to a request of that time into account. It returns the error of an answer that asks for
// patience: nobody should try again in place. Others are left to the caller.
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
	return &pratique.Error{Op: opRequest, Subject: p.host, Kind: pratique.KindOf(err), Err: throttled(wait, errors.Unwrap(err))}
}

// isServerFailure says whether a status tells of trouble that may pass. Others, 501 for one, are about the request.
func isServerFailure(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// Paused returns for how long a repository's registry is left in peace, so that nobody needs to begin what would fail
// at once; 0 if it may be asked, or is not configured.
func (c *Client) Paused(repo pratique.Repository) time.Duration {
	h, ok := c.hosts[repo.Registry]
	if !ok {
		return 0
	}
	return h.throttle.remaining()
}

// Pauses returns what [Client.Paused] says, for each configured registry by its name.
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

// recordFailure counts a failure, and begins a pause or makes it longer.
func (p *throttle) recordFailure(limited bool, told time.Duration, sent, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, kind := minBackoff, pratique.Unavailable
	if limited {
		first, kind = minLimitedBackoff, pratique.RateLimited
	}
	pause := min(told, maxRetryAfter)
	if told <= 0 {
		if sent.Before(p.since) {
			return // from before the pause: it is no news
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

// slotBody gives the slot of a request back when it was read or closed.
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

// releaseOnClose keeps the slot of a request for as long as its answer takes. An answer that nobody closes gives it back when
// the request's context ends.
func releaseOnClose(req *http.Request, resp *http.Response, leave func()) {
	if req.Method == http.MethodHead || resp.Body == http.NoBody || resp.StatusCode >= http.StatusMultipleChoices {
		leave() // there is nothing to speak of to read
		return
	}
	stop := context.AfterFunc(req.Context(), leave)
	resp.Body = &slotBody{ReadCloser: resp.Body, release: func() { stop(); leave() }}
}
