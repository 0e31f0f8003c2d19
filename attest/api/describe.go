package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

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
	Queues []Queue `json:"queues,omitempty" doc:"The work that is not done, in the order of the line and the most urgent priority first. Absent where the queues could not be asked"`
	Outbox *Outbox `json:"outbox,omitempty" doc:"Pushes that were acknowledged and are not in a queue yet; absent where this service receives none"`
	// Rescan is the matching of what is known against the newest database.
	Rescan *Rescan `json:"rescan,omitempty" doc:"How far matching known images against the newest vulnerability database has come; absent before the first database"`
}

// Rescan is how far matching against the newest database has come.
type Rescan struct {
	From            pratique.Digest `json:"from,omitzero" doc:"The database before; absent for the first"`
	To              pratique.Digest `json:"to" doc:"The database in use"`
	StartedAt       time.Time       `json:"startedAt"`
	FinishedAt      *time.Time      `json:"finishedAt,omitempty"`
	Done            bool            `json:"done"`
	Everything      string          `json:"everything,omitempty" doc:"Why all package lists are matched again; absent if only those are that what changed can affect"`
	Names           int             `json:"names" doc:"Packages about which advisories differ"`
	Vulnerabilities int             `json:"vulnerabilities" doc:"Vulnerabilities whose details differ"`
	Lists           int             `json:"lists" doc:"Package lists that are known"`
	Affected        int             `json:"affected" doc:"Lists to be matched again"`
	Matched         int             `json:"matched" doc:"Lists that were matched again so far"`
	Failed          int             `json:"failed" doc:"Of these, those that could not be matched: their images are denied"`
	Touched         int             `json:"touched" doc:"Images that were looked at so far"`
	Changed         int             `json:"changed" doc:"Images whose findings differ; they are evaluated again"`
	NewlyAffected   int             `json:"newlyAffected" doc:"Images with new findings"`
	SetAside        int             `json:"setAside" doc:"Images that could not be looked at: they keep their reports until the next database, or a push"`
	Aside           []Aside         `json:"aside,omitempty" doc:"The first of them"`
}

// Aside is an image that could not be looked at with the newest database.
type Aside struct {
	Image  string `json:"image"`
	Reason string `json:"reason"`
}

// Outbox is the state of the durable store between the webhooks and the queues.
type Outbox struct {
	Waiting    int   `json:"waiting" doc:"Events on their way into the queue"`
	Unresolved int   `json:"unresolved" doc:"Tags that were pushed by a sender that does not tell the digest; the registry is being asked"`
	Refused    int   `json:"refused" doc:"Events set aside because the queue will never take them"`
	Bytes      int64 `json:"bytes" doc:"What waiting and unresolved take of maxBytes; when that is reached, senders are asked to come again"`
	MaxBytes   int64 `json:"maxBytes"`
	// OldestAgeSeconds is how long ago the oldest of them came in, 0 if there is none.
	OldestAgeSeconds int64 `json:"oldestAgeSeconds" doc:"How long ago the oldest of waiting and unresolved came in; 0 if there is none"`
}

// Queue is the work of one priority of one stage that is not done.
type Queue struct {
	Stage    string            `json:"stage" doc:"inspect, attest or deploy"`
	Priority pratique.Priority `json:"priority" doc:"push, manual or rescan"`
	Total    uint64            `json:"total" doc:"Running and waiting together"`
	Running  uint64            `json:"running" doc:"Jobs that a worker has, as the list of jobs says it"`
	Waiting  uint64            `json:"waiting" doc:"Jobs that wait for a worker, or for another attempt"`
	// OldestAgeSeconds is how long ago the oldest of them was put into the queue, 0 if there is none.
	OldestAgeSeconds int64 `json:"oldestAgeSeconds" doc:"How long ago the oldest job was put into the queue; 0 if there is none"`
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
		position, err := s.Index.Position()
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
