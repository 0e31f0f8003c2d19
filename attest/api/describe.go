package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// ServiceStatus is the response of /api/v1/status.
type ServiceStatus struct {
	Version  string             `json:"version"`
	Profiles []pratique.Profile `json:"profiles" doc:"The named policies by which images are evaluated"`
	Database *DatabaseAge       `json:"database" doc:"The vulnerability database in use; null while none is loaded, and then nothing is allowed"`
	// IndexPosition is the ledger position up to which the index has read.
	IndexPosition uint64                `json:"indexPosition"`
	Queues        []pratique.QueueStats `json:"queues,omitempty" doc:"The backlog of each priority of each stage, in the order of the stages and the most urgent priority first. Absent if the queues could not be read"`
	Outbox        *pratique.OutboxStats `json:"outbox,omitempty" doc:"Pushes that were acknowledged and are not in a queue yet; absent if this service receives none"`
	Rescan        *Rescan               `json:"rescan,omitempty" doc:"The rescan for the database in use; absent before the first database"`
}

// Rescan is the progress of a rescan, and the images that were set aside.
type Rescan struct {
	pratique.Rescan
	Aside []pratique.Aside `json:"aside,omitempty" doc:"The first of the images that could not be scanned"`
}

// TransformSchema implements [huma.SchemaTransformer].
func (ServiceStatus) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	database := s.Properties["database"]
	s.Properties["database"] = &huma.Schema{
		Description: database.Description, OneOf: []*huma.Schema{{Ref: database.Ref}, {Type: "null"}},
	}
	return s
}

type statusOutput struct {
	Body ServiceStatus
}

func (s *service) registerStatus(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "getStatus", Method: http.MethodGet, Path: "/api/v1/status",
		Tags:    []string{"service"},
		Summary: "Version, policy, vulnerability database, position of the index, and backlogs",
		Errors: []int{http.StatusUnauthorized, http.StatusServiceUnavailable,
			http.StatusInternalServerError},
	}, answer(s, func(ctx context.Context, _ *struct{}) (*statusOutput, error) {
		described, err := s.Describe(ctx)
		if err != nil {
			return nil, err
		}
		position, err := s.Events.Position()
		if err != nil {
			return nil, err
		}
		out := ServiceStatus{Version: described.Version, Profiles: described.Profiles,
			IndexPosition: position, Queues: described.Queues, Outbox: described.Outbox,
			Rescan: described.Rescan}
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

// renderDocument panics if the document cannot be encoded. Every test of this package would show
// that.
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
	_, _ = w.Write(d.json) // the client may be gone
}

func (d document) serveYAML(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+yaml")
	_, _ = w.Write(d.yaml) // the client may be gone
}
