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

// Reconciler sweeps repositories for pushes that no webhook reported.
type Reconciler interface {
	// Request requests sweeps of the repositories, or of all if there are none, and returns which
	// these are. A repository that is not configured is Invalid.
	Request(repos []pratique.Repository) ([]pratique.Repository, error)
	// Status returns the progress of each configured repository.
	Status() []pratique.Sweep
}

// ReconcileRequest requests sweeps.
type ReconcileRequest struct {
	Repositories []string `json:"repositories,omitempty" maxItems:"1000" doc:"Each registry/path; none means all configured ones" example:"[\"registry.example/team/app\"]"`
	Deploy       []string `json:"deploy,omitempty" maxItems:"20" doc:"Each registry/path:tag: what the tag names now is evaluated and deployed as if it had been pushed now. With deploy, no repositories means no sweep. The token must allow to operate" example:"[\"registry.example/team/app:1.0\"]"`
}

// ReconciliationList is one entry for each repository, in the order of the configuration.
type ReconciliationList struct {
	Items       []pratique.Sweep `json:"items"`
	Submissions []Submission     `json:"submissions,omitempty" doc:"One for each image of deploy, in their order"`
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
	// digestTimeout bounds looking up tags in registries.
	digestTimeout = 20 * time.Second
)

func (s *service) registerReconciliations(api huma.API) {
	const path = pathReconciliations
	huma.Register(api, huma.Operation{
		OperationID: "requestReconciliations", Method: http.MethodPost, Path: path,
		Tags:    []string{"reconciliations"},
		Summary: "Sweep repositories now for pushes that no webhook reported",
		Description: "The answer is the state of the repositories to be swept. A sweep in progress is followed by another. " +
			"A repository is done when its state is idle or failed again. A request is lost when the service stops; then finished " +
			"does not change. What a sweep finds is evaluated and attested, and deployed only where Git names that tag already; " +
			"to deploy it elsewhere, name the image in deploy. The token must allow submissions, and only repositories that it may change are swept.",
		DefaultStatus: http.StatusAccepted, BodyReadTimeout: -1, MaxBodyBytes: maxBody + 1,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnauthorized,
			http.StatusForbidden, http.StatusNotFound,
			http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusServiceUnavailable,
		},
	}, answer(s, s.reconcile))
	huma.Register(api, huma.Operation{
		OperationID: "listReconciliations", Method: http.MethodGet, Path: path,
		Tags:    []string{"reconciliations"},
		Summary: "The progress of the sweeps for pushes that no webhook reported",
		Errors:  []int{http.StatusUnauthorized, http.StatusNotFound},
	}, answer(s, func(context.Context, *struct{}) (*reconciliationsOutput, error) {
		if s.Reconcile == nil {
			return nil, noReconciler()
		}
		return reconciliations(s.Reconcile.Status()), nil
	}))
}

func (s *service) reconcile(ctx context.Context, in *reconcileInput) (*reconciliationsOutput, error) {
	by := callerOf(ctx)
	sweeps := len(in.Body.Deploy) == 0 || len(in.Body.Repositories) > 0
	switch {
	case sweeps && s.Reconcile == nil:
		return nil, noReconciler()
	case sweeps && !by.token.Submit:
		return nil, pratique.Errorf(pratique.Denied, opReconcile,
			"the token %s may not ask for sweeps: that needs submit: true", by.token.Name)
	case len(in.Body.Deploy) > 0 && !by.token.Operate:
		return nil, pratique.Errorf(pratique.Denied, opReconcile,
			"the token %s may not deploy what a sweep found: that needs operate: true", by.token.Name)
	}
	var repos []pratique.Repository
	if sweeps {
		var err error
		if repos, err = s.repositoriesToSweep(by, in.Body.Repositories); err != nil {
			return nil, err
		}
	}
	chosen := []pratique.Sweep{}
	if sweeps { // before anything is submitted, because an extra sweep is harmless
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

// repositoriesToSweep returns the repositories to sweep; none means all. A token that is limited to
// some repositories sweeps those.
func (s *service) repositoriesToSweep(by caller, names []string) ([]pratique.Repository, error) {
	var repos []pratique.Repository
	if len(names) == 0 && len(by.token.Repositories) > 0 {
		refused := noReconciler() // nothing is configured
		for _, r := range s.Reconcile.Status() {
			repo, err := pratique.ParseRepository(r.Repository)
			if err == nil {
				err = by.permit(opReconcile, repo)
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
		if err := by.permit(opReconcile, repo); err != nil {
			return nil, err
		}
		repos = append(repos, repo)
	}
	return repos, nil
}

// sweep requests sweeps, and returns the repositories that wait for one, in their state before. A
// short sweep may be over by now, and clients wait for finished to change.
func (s *service) sweep(repos []pratique.Repository) ([]pratique.Sweep, error) {
	before := s.Reconcile.Status()
	accepted, err := s.Reconcile.Request(repos)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, repo := range accepted {
		asked[repo.String()] = true
	}
	var chosen []pratique.Sweep
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

// deployByName submits images by the digests that their tags name now. It looks up all of them
// before it submits the first.
func (s *service) deployByName(ctx context.Context, images []string) ([]Submission, error) {
	if len(images) == 0 {
		return nil, nil
	}
	refs := make([]pratique.ImageRef, len(images))
	for i, image := range images {
		ref, err := pratique.ParseImageRef(image)
		if err == nil && (!strings.Contains(image, ":"+ref.Tag) || ref.Tag == "" ||
			!ref.ContentID().IsZero()) {
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
	lookUp, cancel := context.WithTimeout(ctx, digestTimeout)
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

func reconciliations(all []pratique.Sweep) *reconciliationsOutput {
	if all == nil {
		all = []pratique.Sweep{} // an empty list, and not null
	}
	return &reconciliationsOutput{Body: ReconciliationList{Items: all}}
}

func noReconciler() error {
	return pratique.Errorf(pratique.NotFound, "reconcile",
		"no repositories are configured for reconciling: name them under reconcile.repositories")
}
