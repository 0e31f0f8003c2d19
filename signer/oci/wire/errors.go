package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
)

// Fail wraps an error of the registry library in one with a kind. It leaves out what does not belong
// in logs: HTML pages, and URLs that may be signed.
func (s *Session) Fail(op string, err error) error {
	var ours *pratique.Error
	var response *transport.Error
	var located *url.Error
	kind := pratique.Unavailable
	switch {
	case errors.As(err, &ours):
		kind, err = ours.Kind, ours
	case errors.As(err, &response):
		kind, err = kindOfResponse(response), describeResponse(response)
	case errors.As(err, &located):
		err = located.Err
	}
	return &pratique.Error{Op: op, Subject: s.subject.String(), Kind: kind, Err: err}
}

func describeResponse(e *transport.Error) error {
	if len(e.Errors) == 0 {
		return fmt.Errorf("the registry answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	return fmt.Errorf("the registry answered %d %s: %.60q %.160q", e.StatusCode,
		http.StatusText(e.StatusCode), e.Errors[0].Code, e.Errors[0].Message)
}

// kindOfResponse classifies a status as internal/registry does, except for the two statuses that
// only writers get.
func kindOfResponse(e *transport.Error) pratique.Kind {
	for _, d := range e.Errors {
		if d.Code == transport.TooManyRequestsErrorCode {
			return pratique.RateLimited
		}
	}
	switch e.StatusCode {
	case http.StatusTooManyRequests:
		return pratique.RateLimited
	case http.StatusUnauthorized, http.StatusForbidden:
		return pratique.Denied
	case http.StatusNotFound, http.StatusGone:
		return pratique.NotFound
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return pratique.Invalid
	case http.StatusConflict, http.StatusPreconditionFailed:
		return pratique.Conflict
	default:
		return pratique.Unavailable
	}
}

// Errorf makes an error about the subject.
func (s *Session) Errorf(kind pratique.Kind, op, format string, args ...any) error {
	err := pratique.Errorf(kind, op, format, args...)
	err.Subject = s.subject.String()
	return err
}
