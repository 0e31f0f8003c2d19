package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// Reconciler looks through repositories for pushes that no webhook told of.
type Reconciler interface {
	// Request asks for sweeps now, of the repositories named or else of all, and returns which these are. One that is
	// not configured is Invalid.
	Request(repos []pratique.Repository) ([]pratique.Repository, error)
	// Status returns how far the sweeps of each configured repository have come.
	Status() []Reconciliation
}

// ReconcileRequest asks for sweeps.
type ReconcileRequest struct {
	Repositories []string `json:"repositories,omitempty" maxItems:"1000" doc:"Each registry/path; none means all that are configured" example:"[\"registry.example/team/app\"]"`
}

// Reconciliation is how far the sweeps of a repository have come. While one is under way, or waits after trouble, the
// numbers are its, otherwise those of the last.
type Reconciliation struct {
	Repository string         `json:"repository" doc:"registry/path"`
	State      string         `json:"state" enum:"idle,waiting,sweeping,failed" doc:"idle or failed between sweeps, by how the last ended; waiting for its turn, or, with retryAt, for the registry"`
	Started    time.Time      `json:"started,omitzero"`
	Finished   time.Time      `json:"finished,omitzero" doc:"When the last sweep ended, well or not"`
	Next       time.Time      `json:"next,omitzero" doc:"When the next begins; absent while one is under way"`
	Tags       int            `json:"tags" doc:"Tags met: those unchanged, news and skipped"`
	Unchanged  int            `json:"unchanged"`
	News       int            `json:"news" doc:"Tags that no webhook told of, or not of what they name now; they are judged"`
	Skipped    map[string]int `json:"skipped,omitempty" doc:"Tags that were not taken, by reason: signature-tag, filter, waiting, overtaken, vanished, not-a-tag, unreadable"`
	Requests   int            `json:"requests" doc:"How often the registry was asked"`
	Error      string         `json:"error,omitempty" doc:"Why the last sweep failed, or what the one under way waits after"`
	RetryAt    time.Time      `json:"retryAt,omitzero" doc:"When the sweep under way goes on"`
}

// ReconciliationList is one entry for each repository, in the order of the configuration.
type ReconciliationList struct {
	Items []Reconciliation `json:"items"`
}

type reconcileInput struct {
	Body ReconcileRequest
}

type reconciliationsOutput struct {
	Body ReconciliationList
}

func (s *service) registerReconciliations(api huma.API) {
	const path = "/api/v1/reconciliations"
	huma.Register(api, huma.Operation{
		OperationID: "requestReconciliations", Method: http.MethodPost, Path: path, Tags: []string{"reconciliations"},
		Summary: "Look through repositories now for pushes that no webhook told of",
		Description: "The answer is the state of the repositories that are to be swept. A sweep under way is followed by another. " +
			"A repository is done when its state is idle or failed again. A request is forgotten when the service stops; then finished " +
			"has not changed. The token must allow submissions.",
		DefaultStatus: http.StatusAccepted, BodyReadTimeout: -1, MaxBodyBytes: maxBody + 1,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
			http.StatusRequestEntityTooLarge,
		},
	}, answer(s, s.reconcile))
	huma.Register(api, huma.Operation{
		OperationID: "listReconciliations", Method: http.MethodGet, Path: path, Tags: []string{"reconciliations"},
		Summary: "How far the sweeps for pushes that no webhook told of have come",
		Errors:  []int{http.StatusUnauthorized, http.StatusNotFound},
	}, answer(s, func(context.Context, *struct{}) (*reconciliationsOutput, error) {
		if s.Reconcile == nil {
			return nil, noReconciler()
		}
		return reconciliations(s.Reconcile.Status()), nil
	}))
}

func (s *service) reconcile(_ context.Context, in *reconcileInput) (*reconciliationsOutput, error) {
	if s.Reconcile == nil {
		return nil, noReconciler()
	}
	var repos []pratique.Repository
	for _, name := range in.Body.Repositories {
		repo, err := pratique.ParseRepository(name)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, "reconcile", "", err)
		}
		repos = append(repos, repo)
	}
	accepted, err := s.Reconcile.Request(repos)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, repo := range accepted {
		asked[repo.String()] = true
	}
	var chosen []Reconciliation
	for _, r := range s.Reconcile.Status() {
		if asked[r.Repository] {
			chosen = append(chosen, r)
		}
	}
	return reconciliations(chosen), nil
}

func reconciliations(all []Reconciliation) *reconciliationsOutput {
	if all == nil {
		all = []Reconciliation{} // an empty list, and not null
	}
	return &reconciliationsOutput{Body: ReconciliationList{Items: all}}
}

func noReconciler() error {
	return pratique.Errorf(pratique.NotFound, "reconcile", "this service has no repositories configured to be reconciled")
}
