package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// ServiceStatus is the answer of /api/v1/status.
type ServiceStatus struct {
	Version  string          `json:"version"`
	Policy   pratique.Policy `json:"policy"`
	Database *DatabaseAge    `json:"database,omitempty" doc:"Absent while no vulnerability database is loaded; nothing is allowed then"`
	// IndexPosition is the ledger position up to which the index has read.
	IndexPosition uint64 `json:"indexPosition"`
}

type statusOutput struct {
	Body ServiceStatus
}

func (s *service) registerStatus(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "getStatus", Method: http.MethodGet, Path: "/api/v1/status", Tags: []string{"service"},
		Summary: "Version, policy, vulnerability database and how far the index has read",
		Errors:  []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusInternalServerError},
	}, answer(s, func(ctx context.Context, _ *struct{}) (*statusOutput, error) {
		described, err := s.Describe(ctx)
		if err != nil {
			return nil, err
		}
		position, err := s.Index.Position()
		if err != nil {
			return nil, err
		}
		out := ServiceStatus{Version: described.Version, Policy: described.Policy, IndexPosition: position}
		if described.Database != nil {
			out.Database = databaseAge(*described.Database, s.Now())
		}
		return &statusOutput{Body: out}, nil
	}))
}

// document is the OpenAPI document, rendered once.
type document struct {
	json, yaml []byte
}

// renderDocument panics if the document cannot be encoded, which every test of this package would meet.
func renderDocument(doc *huma.OpenAPI) document {
	compact, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	yaml, err := doc.YAML()
	if err != nil {
		panic(err)
	}
	return document{json: compact, yaml: yaml}
}

func (d document) serveJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(d.json) // a client that has gone needs no answer
}

func (d document) serveYAML(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+yaml")
	_, _ = w.Write(d.yaml) // a client that has gone needs no answer
}
