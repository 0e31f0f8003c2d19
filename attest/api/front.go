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
	maxBody  = 16 << 10
	bodyTime = 10 * time.Second
	maxQuery = 4 << 10
)

// front stands before the routes: headers, authentication, limits, and problems where the mux would write text.
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
			refuseCaller(w, status, token.lacks(r.URL.Path))
			return
		}
		// A change that was let in is finished although the server stops or the client hangs up; only waiting looks at
		// the request's own context. Reading ends with the request.
		ctx := r.Context()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			ctx = context.WithoutCancel(ctx)
		}
		r = r.WithContext(context.WithValue(ctx, callerKey{}, caller{token: token, request: r}))
	}
	if len(r.URL.RawQuery) > maxQuery {
		writeProblem(w, plainProblem(http.StatusRequestURITooLong, "the query is too long"))
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

// refuse asks the mux's own answer for its status and its Allow header, and writes them as a problem.
func refuse(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	own := &statusOnly{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(own, r)
	switch own.status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", own.header.Get("Allow"))
		writeProblem(w, plainProblem(own.status, "the allowed methods are "+own.header.Get("Allow")))
	default:
		writeProblem(w, plainProblem(http.StatusNotFound, "there is nothing at this path; /openapi.json lists what there is"))
	}
}

// readBody reads a bounded body in bounded time, and lifts the deadline afterwards: it would otherwise end a
// handler that waits. It reports whether to go on.
func readBody(w http.ResponseWriter, r *http.Request) bool {
	control := http.NewResponseController(w)
	// Writers of tests know no deadlines; then none applies.
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeProblem(w, plainProblem(http.StatusRequestEntityTooLarge, "the body is larger than 16 KiB"))
	case err != nil:
		writeProblem(w, plainProblem(http.StatusBadRequest, "the body could not be read"))
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return err == nil
}

// statusOnly is a response that keeps status and headers.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
