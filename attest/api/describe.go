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
	Version  string             `json:"version"`
	Profiles []pratique.Profile `json:"profiles" doc:"The named policies by which images are evaluated"`
	Database *DatabaseAge       `json:"database,omitempty" doc:"Absent while no vulnerability database is loaded; nothing is allowed then"`
	// IndexPosition is the ledger position up to which the index has read.
	IndexPosition uint64 `json:"indexPosition"`
	// Queues is the work that is not done, one entry for each priority of each stage.
	Queues []pratique.QueueFigures `json:"queues,omitempty" doc:"The work that is not done, in the order of the line and the most urgent priority first. Absent where the queues could not be asked"`
	Outbox *pratique.OutboxFigures `json:"outbox,omitempty" doc:"Pushes that were acknowledged and are not in a queue yet; absent where this service receives none"`
	// Rescan is the matching of what is known against the newest database.
	Rescan *Rescan `json:"rescan,omitempty" doc:"How far matching known images against the newest vulnerability database has come; absent before the first database"`
}

// Rescan is how far matching against the newest database has come, and what is in the way.
type Rescan struct {
	pratique.Rescan
	Aside []pratique.Aside `json:"aside,omitempty" doc:"The first of the images that could not be looked at"`
}

type statusOutput struct {
	Body ServiceStatus
}

func (s *service) registerStatus(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "getStatus", Method: http.MethodGet, Path: "/api/v1/status", Tags: []string{"service"},
		Summary: "Version, policy, vulnerability database, how far the index has read, and the work that waits",
		Errors:  []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusInternalServerError},
	}, answer(s, func(ctx context.Context, _ *struct{}) (*statusOutput, error) {
		described, err := s.Describe(ctx)
		if err != nil {
			return nil, err
		}
		position, err := s.Events.Position()
		if err != nil {
			return nil, err
		}
		out := ServiceStatus{Version: described.Version, Profiles: described.Profiles, IndexPosition: position, Queues: described.Queues, Outbox: described.Outbox, Rescan: described.Rescan}
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
