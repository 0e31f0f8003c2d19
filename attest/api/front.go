package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	maxBody     = 16 << 10
	bodyTimeout = 10 * time.Second
	maxQuery    = 4 << 10
)

// front handles all requests before the routes do: headers, authentication, limits, and problems in
// place of the mux's plain text.
type front struct {
	mux  *http.ServeMux
	auth authenticator
}

// ServeHTTP implements [http.Handler].
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		token, status := f.auth.check(r)
		if status != 0 {
			refuseCaller(w, status, token.missingPermission(r.URL.Path))
			return
		}
		// A change is finished even if the server stops or the client disconnects; only waiting
		// uses the context of the request. Reading ends with the request.
		ctx := r.Context()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			ctx = context.WithoutCancel(ctx)
		}
		r = r.WithContext(context.WithValue(ctx, callerKey{}, caller{token: token, request: r}))
	}
	if len(r.URL.RawQuery) > maxQuery {
		writeProblem(w, newProblem(http.StatusRequestURITooLong, "the query is too long"))
		return
	}
	handler, pattern := f.mux.Handler(r)
	if pattern == "" {
		refuse(w, r, handler)
		return
	}
	if !readBody(w, r) {
		return
	}
	f.mux.ServeHTTP(w, r)
}

// refuse takes the status and the Allow header from the mux's own response, and writes them as a
// problem.
func refuse(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	own := &statusRecorder{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(own, r)
	switch own.status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", own.header.Get("Allow"))
		writeProblem(w, newProblem(own.status, "the allowed methods are "+own.header.Get("Allow")))
	default:
		writeProblem(w, newProblem(http.StatusNotFound,
			"there is nothing at this path; /openapi.json lists what there is"))
	}
}

// readBody reads a bounded body within a deadline, and then removes the deadline, which would end a
// handler that waits. It reports whether it succeeded.
func readBody(w http.ResponseWriter, r *http.Request) bool {
	control := http.NewResponseController(w)
	// The writers of tests have no deadlines.
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeProblem(w, newProblem(http.StatusRequestEntityTooLarge, "the body is larger than 16 KiB"))
	case err != nil:
		writeProblem(w, newProblem(http.StatusBadRequest, "the body could not be read"))
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return err == nil
}

// statusRecorder is a response writer that keeps status and headers only.
type statusRecorder struct {
	header http.Header
	status int
}

func (s *statusRecorder) Header() http.Header         { return s.header }
func (s *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusRecorder) WriteHeader(status int)      { s.status = status }
