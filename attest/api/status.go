package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/display"
)

// ProblemType is the prefix of the type of every problem. The rest is the kind, with dashes.
const ProblemType = "urn:pratique:error:"

// Status is the HTTP status of an error. It depends only on the kind; nil is 200.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	switch pratique.KindOf(err) {
	case pratique.Invalid:
		return http.StatusUnprocessableEntity
	case pratique.NotFound:
		return http.StatusNotFound
	case pratique.Denied:
		return http.StatusForbidden
	case pratique.Conflict:
		return http.StatusConflict
	case pratique.Exhausted:
		return http.StatusRequestEntityTooLarge
	case pratique.RateLimited:
		return http.StatusTooManyRequests
	case pratique.Unavailable, pratique.Stale:
		return http.StatusServiceUnavailable
	case pratique.Unknown:
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return http.StatusServiceUnavailable
		}
	}
	return http.StatusInternalServerError
}

// problem is the problem document of an error. A server error may name hosts, paths and keys, so its
// text is not sent.
func problem(err error) *huma.ErrorModel {
	status, kind := Status(err), pratique.KindOf(err)
	detail := err.Error()
	switch {
	case status == http.StatusServiceUnavailable:
		detail = "a part of the service is unavailable now; try again later"
	case status >= http.StatusInternalServerError:
		detail = "internal error; the log of the service has the cause"
	}
	return &huma.ErrorModel{
		Type:  ProblemType + strings.ReplaceAll(kind.String(), " ", "-"),
		Title: http.StatusText(status), Status: status, Detail: detail,
	}
}

// newProblem is a problem without an error of ours.
func newProblem(status int, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail}
}

// writeProblem writes a problem outside huma's handlers.
func writeProblem(w http.ResponseWriter, p *huma.ErrorModel) {
	body, err := json.Marshal(p)
	if err != nil { // strings and a number can always be encoded
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = display.JSON(w).Write(append(body, '\n')) // the client may be gone
}
