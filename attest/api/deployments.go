package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

// Deployment is an image repository in a target.
type Deployment struct {
	Target     string            `json:"target"`
	Repository string            `json:"repository" doc:"registry/path"`
	Remote     string            `json:"remote,omitempty"`
	Branch     string            `json:"branch,omitempty"`
	Present    []Revision        `json:"present" doc:"What the target holds, the newest first. Several if places of the target ask for different tags, none if somebody took the image away"`
	Earlier    []Revision        `json:"earlier,omitempty" doc:"The last revisions of digests that are no longer there, the one that ended last first; at most 20"`
	Drift      *pratique.Drifted `json:"drift,omitempty" doc:"Set after somebody took a digest away, until the next commit deploys one"`
}

// Revision is a digest that a commit brought to a target under one tag.
type Revision struct {
	pratique.Revision
	Self string `json:"self" doc:"The path of the image on this server"`
}

// TransformSchema implements [huma.SchemaTransformer]: what the fold keeps for itself is never in
// an answer.
func (Revision) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	delete(s.Properties, "places")
	return s
}

// DeploymentPage is a page of the list. A page may be short, even empty, and have a next one.
type DeploymentPage struct {
	Items      []Deployment `json:"items"`
	NextCursor string       `json:"nextCursor,omitempty" doc:"Absent on the last page"`
}

type deploymentsInput struct {
	Target     string `query:"target" maxLength:"512" doc:"Only deployments in this target"`
	Repository string `query:"repository" maxLength:"512" doc:"Only deployments of images of this registry/path"`
	Limit      int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many deployments a page holds at most"`
	Cursor     string `query:"cursor" maxLength:"4096" doc:"nextCursor of the page before, with the same filters"`
}

type deploymentsOutput struct {
	Body DeploymentPage
}

func (s *service) registerDeployments(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "listDeployments", Method: http.MethodGet, Path: "/api/v1/deployments",
		Tags:    []string{"deployments"},
		Summary: "What is deployed where, and what was before",
		Description: "One item for each image repository in each target, sorted by target and repository. It is what the facts say: commits of " +
			"this service, and what it found when it last compared them with Git. /api/v1/images/{digest}/places looks at Git itself.",
		Errors: []int{http.StatusUnauthorized, http.StatusUnprocessableEntity,
			http.StatusServiceUnavailable},
	}, answer(s, s.deployments))
}

func (s *service) deployments(_ context.Context, in *deploymentsInput) (*deploymentsOutput, error) {
	q := index.DeploymentQuery{Target: in.Target, Limit: in.Limit, Cursor: in.Cursor}
	if in.Repository != "" {
		var err error
		if q.Repository, err = pratique.ParseRepository(in.Repository); err != nil {
			return nil, pratique.Wrap(pratique.Invalid, "list deployments", "", err)
		}
	}
	page, err := s.Deployments(q)
	if err != nil {
		return nil, err
	}
	out := DeploymentPage{Items: make([]Deployment, len(page.Items)), NextCursor: page.Next}
	for i, d := range page.Items {
		out.Items[i] = Deployment{
			Target: d.Target, Repository: d.Repository.String(), Remote: d.Remote, Branch: d.Branch,
			Drift:   d.Drift,
			Present: revisionsOf(d.Repository, d.Present), Earlier: revisionsOf(d.Repository, d.Earlier),
		}
	}
	return &deploymentsOutput{Body: out}, nil
}

func revisionsOf(of pratique.Repository, all []pratique.Revision) []Revision {
	out := make([]Revision, len(all))
	for i, r := range all {
		r.Places = nil
		out[i] = Revision{Revision: r,
			Self: selfPath(pratique.Subject{Repository: of, Digest: r.Digest}, "")}
	}
	return out
}
