package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/backoff"
	"github.com/pratique-dev/pratique/internal/outbound"
)

// toError gives an error of the network or of a registry its kind. Unknown errors are considered
// temporary and worth another attempt.
func toError(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	var ours *pratique.Error
	if errors.As(err, &ours) {
		return &pratique.Error{Op: op, Subject: subject, Kind: ours.Kind, Err: ours}
	}
	var status *transport.Error
	if errors.As(err, &status) {
		return &pratique.Error{Op: op, Subject: subject, Kind: statusKind(status), Err: describe(status)}
	}
	// The URL may be signed for an object store, and then it is a secret.
	var located *url.Error
	if errors.As(err, &located) {
		err = located.Err
	}
	return &pratique.Error{Op: op, Subject: subject, Kind: pratique.Unavailable,
		Err: outbound.Explain(err, "registries[].ca")}
}

// loginError is toError for the handshake, where 404 means that there is no registry, not that an
// image is missing.
func loginError(host Host, err error) error {
	const op = "log in to registry"
	var status *transport.Error
	answered := errors.As(err, &status)
	switch {
	case answered && statusKind(status) == pratique.NotFound:
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable,
			Err: fmt.Errorf("there is no registry: %w", describe(status))}
	case host.PlainHTTP && (answered && status.StatusCode == http.StatusBadRequest ||
		strings.Contains(err.Error(), "malformed HTTP response")):
		answer := errors.New("the answer is not HTTP")
		if answered {
			answer = describe(status)
		}
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable, Err: fmt.Errorf(
			"%w; the request was plain HTTP: if the registry uses TLS, set plainHTTP: false for it",
			answer)}
	case errors.Is(err, http.ErrSchemeMismatch):
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable,
			Err: errors.New("the request was TLS and the answer is plain HTTP: set plainHTTP: true for this registry if that is intended")}
	}
	return toError(op, host.Name, err)
}

func statusKind(e *transport.Error) pratique.Kind {
	for _, d := range e.Errors {
		if d.Code == transport.TooManyRequestsErrorCode {
			return pratique.RateLimited
		}
	}
	switch {
	case e.StatusCode == http.StatusTooManyRequests:
		return pratique.RateLimited
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return pratique.Denied
	case e.StatusCode == http.StatusNotFound, e.StatusCode == http.StatusGone:
		return pratique.NotFound
	case e.StatusCode == http.StatusBadRequest, e.StatusCode == http.StatusMethodNotAllowed,
		e.StatusCode == http.StatusNotAcceptable, e.StatusCode == http.StatusUnsupportedMediaType:
		return pratique.Invalid
	default:
		return pratique.Unavailable
	}
}

// Throttled is in the error chain when a registry answered 429 or 503 and said how long to wait,
// and when a request was not sent because the registry is paused.
type Throttled struct {
	// Wait is positive. The registry chooses it: bound it.
	Wait time.Duration
	Err  error
}

// Error returns the cause, with the wait.
func (t *Throttled) Error() string { return fmt.Sprintf("%v (retry in %s)", t.Err, t.Wait) }

// Unwrap returns the cause.
func (t *Throttled) Unwrap() error { return t.Err }

// RetryAfter returns Wait, so that callers need not know this type.
func (t *Throttled) RetryAfter() time.Duration { return t.Wait }

// throttled adds to an error how long the registry asked to wait, if it did.
func throttled(wait time.Duration, err error) error {
	if wait <= 0 {
		return err
	}
	return &Throttled{Wait: wait, Err: err}
}

// retryAfter returns how long an answer asks to wait, 0 if it does not.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	return backoff.FromHeader(resp.Header, now)
}

// describe returns the status and the first error of the registry. The rest of the body may be a
// megabyte of HTML, or anything else that does not belong into a log.
func describe(e *transport.Error) error {
	text := fmt.Sprintf("registry answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	if len(e.Errors) > 0 {
		text += fmt.Sprintf(": %s: %s", pratique.Clip(string(e.Errors[0].Code)),
			pratique.Clip(e.Errors[0].Message))
	}
	switch e.StatusCode {
	case http.StatusUnauthorized:
		text += ": it requires a login, or rejects the one it got: set registries[].username and password for this host"
	case http.StatusForbidden:
		text += ": the login of registries[].username may not do this"
	}
	return errors.New(text)
}

// reason is an error's text, short enough for a fact.
func reason(err error) string {
	const most = 400
	return pratique.Excerpt(strings.TrimPrefix(err.Error(), opParse+": "), most)
}
