package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

type imageInput struct {
	Digest     string `path:"digest" maxLength:"80" doc:"sha256:… of the image or index" example:"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"`
	Repository string `query:"repository" maxLength:"512" doc:"registry/path; needed only where the digest is in several repositories"`
}

type imageOutput struct {
	Body Image
}

type listInput struct {
	Ref        string `query:"ref" maxLength:"512" doc:"registry/path:tag: answer with the image that the tag names, instead of a list. May not be combined with the other parameters"`
	Repository string `query:"repository" maxLength:"512" doc:"Only images of this registry/path"`
	State      state  `query:"state" doc:"Only images in this state. By default all but ignored ones, which are not images but signatures, charts and the like"`
	Outcome    string `query:"outcome" enum:"allow,deny" doc:"Only images with this verdict"`
	Limit      int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Maximum number of images of a page"`
	Cursor     string `query:"cursor" maxLength:"64" doc:"nextCursor of the previous page, with the same filters"`
}

type listOutput struct {
	ContentLocation string `header:"Content-Location" doc:"The image's own path, where ref was given"`
	Body            any
}

func (s *service) registerImages(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "getImage", Method: http.MethodGet, Path: "/api/v1/images/{digest}",
		Tags:    []string{"images"},
		Summary: "Everything known about an image",
		Description: "Verdict with reasons, facts with times and authors, counts, database with age, attestations, deployments. " +
			"A digest that is in several repositories is a conflict (409) until repository says which is meant.",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict,
			http.StatusServiceUnavailable},
	}, answer(s, func(_ context.Context, in *imageInput) (*imageOutput, error) {
		record, err := s.find(in)
		if err != nil {
			return nil, err
		}
		image, err := s.image(record)
		return &imageOutput{Body: image}, err
	}))

	registry := api.OpenAPI().Components.Schemas
	either := &huma.Schema{OneOf: []*huma.Schema{
		registry.Schema(reflect.TypeFor[ImagePage](), true, ""),
		registry.Schema(reflect.TypeFor[Image](), true, ""),
	}}
	huma.Register(api, huma.Operation{
		OperationID: "listImages", Method: http.MethodGet, Path: "/api/v1/images",
		Tags:    []string{"images"},
		Summary: "A page of images, or the image that a tag names",
		Description: "Without ref: images in the reverse order in which they were first seen. That order never changes, so following nextCursor " +
			"returns every image that was there at the beginning exactly once. With ref: the image that the tag names, as from " +
			"/api/v1/images/{digest}, whose path is in Content-Location. What a tag names is taken from the newest push that was reported, or " +
			"submission for which the registry was asked; not from pushes that were superseded, nor from submissions that named a digest themselves.",
		Responses: map[string]*huma.Response{"200": {
			Description: "ImagePage, or Image where ref was given",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: either}},
		}},
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity,
			http.StatusServiceUnavailable},
	}, answer(s, s.list))
}

func (s *service) list(_ context.Context, in *listInput) (*listOutput, error) {
	const op = "list images"
	if in.Ref != "" {
		if in.Repository != "" || in.State != "" || in.Outcome != "" || in.Cursor != "" {
			return nil, pratique.Errorf(pratique.Invalid, op,
				"ref asks for one image: leave the other parameters out")
		}
		return s.byRef(in.Ref)
	}
	q := index.Query{State: pratique.State(in.State), Outcome: pratique.Outcome(in.Outcome),
		Limit: in.Limit, Cursor: in.Cursor}
	if in.Repository != "" {
		repository, err := pratique.ParseRepository(in.Repository)
		if err != nil {
			return nil, pratique.Wrap(pratique.Invalid, op, "", err)
		}
		q.Repository = repository
	}
	page, err := s.Images.List(q)
	if err != nil {
		return nil, err
	}
	out := ImagePage{Items: make([]ImageSummary, 0, len(page.Items)), NextCursor: page.Next}
	for _, item := range page.Items {
		out.Items = append(out.Items, summaryOf(item))
	}
	return &listOutput{Body: out}, nil
}

func (s *service) byRef(text string) (*listOutput, error) {
	const op = "look up image"
	ref, err := pratique.ParseImageRef(text)
	if err != nil {
		return nil, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if !ref.Other.IsZero() {
		return nil, pratique.Errorf(pratique.Invalid, op,
			"images are known by the sha256 of their manifests: ask by that, or by a tag")
	}
	digest := ref.Digest
	if digest.IsZero() {
		history, err := s.Images.Tag(ref)
		if err != nil {
			return nil, err
		}
		digest = history[0].Digest
	}
	record, err := s.find(&imageInput{Digest: digest.String(), Repository: ref.Repository.String()})
	if err != nil {
		return nil, err
	}
	image, err := s.image(record)
	return &listOutput{ContentLocation: image.Links.Self, Body: image}, err
}

// find returns the record of a digest in a repository. Without a repository, the digest must be in
// one only.
func (s *service) find(in *imageInput) (pratique.Record, error) {
	const op = "find image"
	digest, err := pratique.ParseDigest(in.Digest)
	if err != nil {
		return pratique.Record{}, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	var repository pratique.Repository
	if in.Repository != "" {
		if repository, err = pratique.ParseRepository(in.Repository); err != nil {
			return pratique.Record{}, pratique.Wrap(pratique.Invalid, op, "", err)
		}
	}
	records, err := s.Images.Images(digest)
	if err != nil {
		return pratique.Record{}, err
	}
	var names []string
	for _, r := range records {
		if r.Subject.Repository == repository {
			return r, nil
		}
		names = append(names, r.Subject.Repository.String())
	}
	switch {
	case !repository.IsZero():
		return pratique.Record{}, pratique.Errorf(pratique.NotFound, op, "%s is not known in %s",
			digest, repository)
	case len(records) > 1:
		return pratique.Record{}, pratique.Errorf(pratique.Conflict, op,
			"%s is in several repositories; say which, as registry/path@sha256:…, or with ?repository= in the API: %s", digest, strings.Join(names, ", "))
	}
	return records[0], nil
}

// image adds to a record what other records and the links say.
func (s *service) image(r pratique.Record) (Image, error) {
	now := s.Now()
	image := imageOf(r, now)
	if f := image.Failure; f != nil && !f.Final {
		image.NextAttempt = s.NextAttempt(f.Stage, lastFailed(r))
	}
	links, err := s.Images.Links(r.Subject)
	if err != nil {
		return Image{}, err
	}
	image.Tags = links.Tags
	for _, parent := range links.Parents {
		image.Parents = append(image.Parents, parent.String())
	}
	for _, c := range childrenOf(r) {
		subject := r.Subject.Sibling(c.Digest)
		child := ImageChild{Digest: c.Digest, Platform: c.Platform, Configured: c.Configured,
			Links: linksOf(pratique.Record{Subject: subject})}
		record, err := s.find(&imageInput{Digest: c.Digest.String(),
			Repository: subject.Repository.String()})
		switch {
		// not inspected yet, or a platform that is not configured
		case pratique.KindOf(err) == pratique.NotFound:
		case err != nil:
			return Image{}, err
		default:
			own := imageOf(record, now)
			child.Outcome, child.Counts, child.Fixable, child.Packages, child.Links = own.Outcome,
				own.Counts, own.Fixable, own.Packages, own.Links
			if own.Database != nil &&
				(image.Database == nil || own.Database.UpdatedAt.Before(image.Database.UpdatedAt)) {
				image.Database = own.Database
			}
		}
		image.Children = append(image.Children, child)
	}
	return image, nil
}

// lastFailed is the event of the last failed attempt, empty if there is none.
func lastFailed(r pratique.Record) string {
	for _, f := range slices.Backward(r.History) {
		if f.Kind == pratique.FactFailed {
			return f.Event
		}
	}
	return ""
}
