package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
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
	// Deploy names images that sweeps found, as registry/path:tag.
	Deploy []string `json:"deploy,omitempty" maxItems:"20" doc:"Each registry/path:tag: what the tag names now is evaluated and deployed as if it had been pushed just now. Then none in repositories means no sweep. The token must allow to operate" example:"[\"registry.example/team/app:1.0\"]"`
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
	News       int            `json:"news" doc:"Tags that no webhook told of, or not of what they name now; they are evaluated"`
	Skipped    map[string]int `json:"skipped,omitempty" doc:"Tags that were not taken, by reason: signature-tag, filter, waiting, overtaken, vanished, not-a-tag, unreadable"`
	Requests   int            `json:"requests" doc:"How often the registry was asked"`
	Restored   int            `json:"restored,omitempty" doc:"Images that are attested again, since the registry has lost their attestations"`
	Error      string         `json:"error,omitempty" doc:"Why the last sweep failed, or what the one under way waits after"`
	RetryAt    time.Time      `json:"retryAt,omitzero" doc:"When the sweep under way goes on"`
}

// ReconciliationList is one entry for each repository, in the order of the configuration.
type ReconciliationList struct {
	Items []Reconciliation `json:"items"`
	// Submissions are for the images that were to be deployed, in their order.
	Submissions []Submission `json:"submissions,omitempty" doc:"One for each image of deploy, in their order"`
}

type reconcileInput struct {
	Body ReconcileRequest
}

type reconciliationsOutput struct {
	Body ReconciliationList
}

const (
	pathReconciliations = "/api/v1/reconciliations"
	opReconcile         = "reconcile"
	// lookUpTime bounds asking a registry what a tag names.
	lookUpTime = 20 * time.Second
)

func (s *service) registerReconciliations(api huma.API) {
	const path = pathReconciliations
	huma.Register(api, huma.Operation{
		OperationID: "requestReconciliations", Method: http.MethodPost, Path: path, Tags: []string{"reconciliations"},
		Summary: "Look through repositories now for pushes that no webhook told of",
		Description: "The answer is the state of the repositories that are to be swept. A sweep under way is followed by another. " +
			"A repository is done when its state is idle or failed again. A request is forgotten when the service stops; then finished " +
			"has not changed. A sweep has what it finds evaluated and attested, and deploys it only where Git names that very tag already; " +
			"for anything more name the image in deploy. The token must allow submissions, and only the repositories that it is for are swept.",
		DefaultStatus: http.StatusAccepted, BodyReadTimeout: -1, MaxBodyBytes: maxBody + 1,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
			http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusServiceUnavailable,
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

func (s *service) reconcile(ctx context.Context, in *reconcileInput) (*reconciliationsOutput, error) {
	who := callerOf(ctx)
	sweeps := len(in.Body.Deploy) == 0 || len(in.Body.Repositories) > 0
	switch {
	case sweeps && s.Reconcile == nil:
		return nil, noReconciler()
	case sweeps && !who.token.Submit:
		return nil, pratique.Errorf(pratique.Denied, opReconcile, "the token %s may not ask for sweeps: that needs submit: true", who.token.Name)
	case len(in.Body.Deploy) > 0 && !who.token.Operate:
		return nil, pratique.Errorf(pratique.Denied, opReconcile, "the token %s may not deploy what a sweep found: that needs operate: true", who.token.Name)
	}
	var repos []pratique.Repository
	if sweeps {
		var err error
		if repos, err = s.toSweep(who, in.Body.Repositories); err != nil {
			return nil, err
		}
	}
	chosen := []Reconciliation{}
	if sweeps { // before anything is submitted: a sweep too many does no harm
		var err error
		if chosen, err = s.sweep(repos); err != nil {
			return nil, err
		}
	}
	submissions, err := s.deployByName(ctx, in.Body.Deploy)
	if err != nil {
		return nil, err
	}
	out := reconciliations(chosen)
	out.Body.Submissions = submissions
	return out, nil
}

// toSweep returns the repositories to sweep; none means all. A token that is not for all repositories sweeps those that
// it is for.
func (s *service) toSweep(who caller, names []string) ([]pratique.Repository, error) {
	var repos []pratique.Repository
	if len(names) == 0 && len(who.token.Repositories) > 0 {
		refused := noReconciler() // nothing is configured
		for _, r := range s.Reconcile.Status() {
			repo, err := pratique.ParseRepository(r.Repository)
			if err == nil {
				err = who.permit(opReconcile, repo)
			}
			if err != nil {
				refused = err
				continue
			}
			repos = append(repos, repo)
		}
		if len(repos) == 0 { // which would mean all
			return nil, refused
		}
		return repos, nil
	}
	for _, name := range names {
		repo, err := pratique.ParseRepository(name)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, opReconcile, "", err)
		}
		if err := who.permit(opReconcile, repo); err != nil {
			return nil, err
		}
		repos = append(repos, repo)
	}
	return repos, nil
}

// sweep asks for sweeps, and returns the repositories that wait for one, as they stood before: a short sweep may be over by
// now, and whoever waits compares its end with the one before.
func (s *service) sweep(repos []pratique.Repository) ([]Reconciliation, error) {
	before := s.Reconcile.Status()
	accepted, err := s.Reconcile.Request(repos)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, repo := range accepted {
		asked[repo.String()] = true
	}
	var chosen []Reconciliation
	for _, r := range before {
		if !asked[r.Repository] {
			continue
		}
		if r.State == "idle" || r.State == "failed" {
			r.State = "waiting"
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}

// deployByName submits images that sweeps found, each by the digest that its tag names now. All are looked up before the
// first is submitted.
func (s *service) deployByName(ctx context.Context, images []string) ([]Submission, error) {
	if len(images) == 0 {
		return nil, nil
	}
	refs := make([]pratique.ImageRef, len(images))
	for i, image := range images {
		ref, err := pratique.ParseImageRef(image)
		if err == nil && (!strings.Contains(image, ":"+ref.Tag) || ref.Tag == "" || !ref.ContentID().IsZero()) {
			err = fmt.Errorf("image %q: name its tag, as in registry.example/team/app:1.0, and no digest", image)
		}
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, opReconcile, "", err)
		}
		if err := callerOf(ctx).permit(opReconcile, ref.Repository); err != nil {
			return nil, err
		}
		refs[i] = ref
	}
	lookUp, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	for i, ref := range refs {
		digest, err := s.Digest(lookUp, ref)
		if err != nil {
			return nil, err
		}
		refs[i].Digest = digest
	}
	var out []Submission
	for _, ref := range refs {
		accepted, err := s.accept(ctx, opReconcile, ref, "")
		if err != nil {
			return nil, err
		}
		out = append(out, submissionOf(accepted))
	}
	return out, nil
}

func reconciliations(all []Reconciliation) *reconciliationsOutput {
	if all == nil {
		all = []Reconciliation{} // an empty list, and not null
	}
	return &reconciliationsOutput{Body: ReconciliationList{Items: all}}
}

func noReconciler() error {
	return pratique.Errorf(pratique.NotFound, "reconcile", "this service has no repositories configured to be reconciled: name them under reconcile.repositories")
}
