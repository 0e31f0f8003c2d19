package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
)

// placesTimeout bounds reading the config repositories.
const placesTimeout = 5 * time.Second

// ImagePlaces is what the config repositories hold now of an image's repository.
type ImagePlaces struct {
	Image   string         `json:"image" doc:"registry/path@digest"`
	Targets []TargetPlaces `json:"targets" doc:"One entry for each deploy target that asks for the image's repository"`
}

// TargetPlaces is what one target holds now.
type TargetPlaces struct {
	Target     string             `json:"target"`
	Remote     string             `json:"remote"`
	Branch     string             `json:"branch"`
	Tip        string             `json:"tip,omitempty" doc:"The commit that was read"`
	ObservedAt *time.Time         `json:"observedAt,omitempty" doc:"When the branch was at that commit; absent if it could never be read"`
	Failure    string             `json:"failure,omitempty" doc:"Why the branch could not be read now; the rest is then as old as observedAt says"`
	Places     []HeldPlace        `json:"places"`
	Count      int                `json:"count" doc:"The number of places, of which at most 200 are listed"`
	Broken     []pratique.Problem `json:"broken,omitempty" doc:"Places of the image that cannot be edited until somebody changes them"`
	Hints      []pratique.Problem `json:"hints,omitempty" doc:"Only where there is no place: lines that name the repository and are not edited, or that the target's path is not on the branch"`
}

// HeldPlace is a value that names an image of the repository.
type HeldPlace struct {
	pratique.Place
	ThisImage bool `json:"thisImage" doc:"It names this digest"`
}

type placesOutput struct {
	Body ImagePlaces
}

func (s *service) registerPlaces(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "getImagePlaces", Method: http.MethodGet,
		Path: "/api/v1/images/{digest}/places", Tags: []string{"images"},
		Summary: "What the config repositories hold now, and whether it is this image",
		Description: "The branches are read for this answer, in at most five seconds; if that fails, the answer is as old as it says. " +
			"The deployments of an image are its commits: what they wrote may have been replaced since.",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict,
			http.StatusServiceUnavailable},
	}, answer(s, s.places))
}

func (s *service) places(ctx context.Context, in *imageInput) (*placesOutput, error) {
	if s.Places == nil {
		return nil, pratique.Errorf(pratique.NotFound, "read places",
			"this service has no config repositories")
	}
	record, err := s.find(in)
	if err != nil {
		return nil, err
	}
	out := ImagePlaces{Image: record.Subject.String(), Targets: []TargetPlaces{}}
	ctx, cancel := context.WithTimeout(ctx, placesTimeout)
	defer cancel()
	found, err := s.Places(ctx, record.Subject.Repository)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		target := TargetPlaces{
			Target: t.Target, Remote: t.Remote, Branch: t.Branch, Tip: t.Tip, Failure: t.Failure,
			Places: []HeldPlace{}, Count: t.Count, Broken: t.Problems, Hints: t.Hints,
		}
		if !t.ObservedAt.IsZero() {
			target.ObservedAt = &t.ObservedAt
		}
		for _, p := range t.Places {
			target.Places = append(target.Places,
				HeldPlace{Place: p, ThisImage: p.Digest == record.Subject.Digest})
		}
		out.Targets = append(out.Targets, target)
	}
	return &placesOutput{Body: out}, nil
}
