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

// toError gives an error of the network or of a registry its kind. What is not recognized is taken for trouble
// on the way, which is worth another try.
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
	// The URL may be a signed one of an object store: a secret, and of no use to the reader.
	var located *url.Error
	if errors.As(err, &located) {
		err = located.Err
	}
	return &pratique.Error{Op: op, Subject: subject, Kind: pratique.Unavailable, Err: outbound.Explain(err, "registries[].ca")}
}

// loginError is fault for the handshake, where a 404 says that there is no registry, not that an image is gone.
func loginError(host Host, err error) error {
	const op = "log in to registry"
	var status *transport.Error
	answered := errors.As(err, &status)
	switch {
	case answered && statusKind(status) == pratique.NotFound:
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable,
			Err: fmt.Errorf("no registry answers there: %w", describe(status))}
	case host.PlainHTTP && (answered && status.StatusCode == http.StatusBadRequest || strings.Contains(err.Error(), "malformed HTTP response")):
		answer := errors.New("it does not answer in HTTP")
		if answered {
			answer = describe(status)
		}
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable, Err: fmt.Errorf(
			"%w; it was asked over plain HTTP: if it speaks TLS, set plainHTTP: false for this registry", answer)}
	case errors.Is(err, http.ErrSchemeMismatch):
		return &pratique.Error{Op: op, Subject: host.Name, Kind: pratique.Unavailable,
			Err: errors.New("it was asked over TLS and answers in plain HTTP: set plainHTTP: true for this registry if that is meant")}
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

// Throttled is in the chain of errors of registries that said how long to wait, with 429 or 503, and of those about
// requests that were not sent because the registry is left in peace.
type Throttled struct {
	// Wait is above zero, and as long as the registry likes: bound it.
	Wait time.Duration
	Err  error
}

// Error returns the cause, with the wait.
func (t *Throttled) Error() string { return fmt.Sprintf("%v (to be asked again in %s)", t.Err, t.Wait) }

// Unwrap returns the cause.
func (t *Throttled) Unwrap() error { return t.Err }

// RetryAfter returns Wait, so that callers of callers need not know this type.
func (t *Throttled) RetryAfter() time.Duration { return t.Wait }

// throttled adds to an error how long the registry wants to be left in peace, if it said so.
func throttled(wait time.Duration, err error) error {
	if wait <= 0 {
		return err
	}
	return &Throttled{Wait: wait, Err: err}
}

// retryAfter is how long an answer that asks for patience wants us to wait, 0 if it does not say.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	return backoff.FromHeader(resp.Header, now)
}

// describe keeps the status and the registry's own first words; the rest of the answer may be a megabyte of
// HTML or whatever else somebody wants in our logs.
func describe(e *transport.Error) error {
	text := fmt.Sprintf("registry answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	if len(e.Errors) > 0 {
		text += fmt.Sprintf(": %s: %s", pratique.Clip(string(e.Errors[0].Code)), pratique.Clip(e.Errors[0].Message))
	}
	switch e.StatusCode {
	case http.StatusUnauthorized:
		text += ": it wants a login, or does not take the one it got: set registries[].username and password for this host"
	case http.StatusForbidden:
		text += ": the login of registries[].username may not do this"
	}
	return errors.New(text)
}

// reason is what an error says, short enough for a fact.
func reason(err error) string {
	const most = 400
	return pratique.Excerpt(strings.TrimPrefix(err.Error(), opParse+": "), most)
}
