package api

import (
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// The paths of the probes. They need no token, and answer in plain text.
const (
	pathAlive = "/healthz"
	pathReady = "/readyz"
)

// registerProbes serves the probes, and adds them to the OpenAPI document.
func (s *service) registerProbes(api huma.API, mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathAlive, func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET "+pathReady, func(w http.ResponseWriter, r *http.Request) {
		if wait := s.NotReady(r.Context()); wait != "" {
			plain(w, http.StatusServiceUnavailable, wait)
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	text := func(about string) *huma.Response {
		return &huma.Response{Description: about,
			Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}
	}
	api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "probeAlive", Method: http.MethodGet, Path: pathAlive,
		Tags: []string{"service"}, Security: []map[string][]string{},
		Summary:   "Whether the process answers: for a liveness probe",
		Responses: map[string]*huma.Response{"200": text("It does")},
	})
	api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "probeReady", Method: http.MethodGet, Path: pathReady,
		Tags: []string{"service"}, Security: []map[string][]string{},
		Summary: "Whether images can be evaluated, and answers are complete: for a readiness probe",
		Description: "While the service is not ready, it accepts pushes, which wait. A load balancer that withholds webhooks until then " +
			"relies on the senders to retry.",
		Responses: map[string]*huma.Response{
			"200": text("There is a vulnerability database, and the projections have read the ledger"),
			"503": text("What is waited for"),
		},
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}
