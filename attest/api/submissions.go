package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

// MaxWait is the maximum time that a request may wait for the end of a submission.
const MaxWait = 60 * time.Second

const pollInterval = 100 * time.Millisecond

// SubmissionRequest asks for an image to be evaluated.
type SubmissionRequest struct {
	Image string `json:"image" minLength:"3" maxLength:"512" doc:"registry/path[:tag][@sha256:…]" example:"registry.example/team/app:1.0"`
	Wait  int    `json:"wait,omitempty" minimum:"0" maximum:"60" doc:"How many seconds to wait for the end before answering"`
}

// Submission is how far the work for an event has come. Events of webhooks can be queried, too.
type Submission struct {
	ID  string `json:"id"`
	Ref string `json:"ref" doc:"The image as it was named"`
	// Image is what the ref was resolved to, registry/path@digest.
	Image      string            `json:"image,omitempty" doc:"registry/path@digest, once the ref is resolved"`
	Digest     pratique.Digest   `json:"digest,omitzero"`
	Source     string            `json:"source,omitempty"`
	Actor      string            `json:"actor,omitempty"`
	State      pratique.State    `json:"state"`
	Done       bool              `json:"done"`
	Outcome    pratique.Outcome  `json:"outcome,omitempty" doc:"allow or deny. Once done is true it follows from state and stays: deployed, allowed, superseded and reverted are allow, denied is deny, failed, ignored and canceled have none"`
	Verdict    pratique.Digest   `json:"verdict,omitzero" doc:"The digest of the document of the verdict that the work ended with"`
	Reasons    []pratique.Reason `json:"reasons,omitempty" doc:"Why that verdict denies"`
	Detail     string            `json:"detail,omitempty" doc:"Why the work ended as it did"`
	Failure    *pratique.Failed  `json:"failure,omitempty" doc:"The last failed attempt"`
	Commits    []pratique.Commit `json:"commits,omitempty"`
	ReceivedAt time.Time         `json:"receivedAt,omitzero"`
	UpdatedAt  time.Time         `json:"updatedAt,omitzero"`
	Requeues   string            `json:"requeues,omitempty" doc:"The failed or canceled submission that this one requeues"`
	RequeuedAs string            `json:"requeuedAs,omitempty" doc:"The submission that requeues this one"`
	CanceledBy string            `json:"canceledBy,omitempty"`
	Links      SubmissionLinks   `json:"links"`
}

// SubmissionLinks are paths on this server.
type SubmissionLinks struct {
	Self  string `json:"self"`
	Image string `json:"image,omitempty"`
}

type submitInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"The same key, token and image are the same submission, so a request may be repeated"`
	Body           SubmissionRequest
}

type submitOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     Submission
}

type submissionInput struct {
	ID   string `path:"id" minLength:"1" maxLength:"128"`
	Wait int    `query:"wait" minimum:"0" maximum:"60" doc:"How many seconds to wait for the end before answering"`
}

type submissionOutput struct {
	Body Submission
}

func (s *service) registerSubmissions(api huma.API) {
	ended := &huma.Response{Description: "The work ended within wait",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Submission](), true, "")},
		}}
	huma.Register(api, huma.Operation{
		OperationID: "submitImage", Method: http.MethodPost, Path: "/api/v1/submissions",
		Tags:    []string{"submissions"},
		Summary: "Submit an image to be evaluated",
		Description: "202 means that the submission is stored. With wait, 200 means that the work has ended. " +
			"The token must allow submissions of the image's repository. An image that is older than what a target holds is deployed there only if " +
			"the token may roll back.",
		DefaultStatus: http.StatusAccepted, BodyReadTimeout: -1, MaxBodyBytes: maxBody + 1,
		Middlewares: huma.Middlewares{extendWriteDeadline},
		Responses:   map[string]*huma.Response{"200": ended},
		Errors: []int{
			http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnauthorized,
			http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge,
			http.StatusTooManyRequests,
			http.StatusServiceUnavailable,
		},
	}, answer(s, s.submit))
	huma.Register(api, huma.Operation{
		OperationID: "getSubmission", Method: http.MethodGet, Path: "/api/v1/submissions/{id}",
		Tags:    []string{"submissions"},
		Summary: "How far the work for a submission has come",
		Description: "The index is milliseconds behind the ledger, so a submission may be unknown (404) right after it " +
			"was accepted; with wait it is not.",
		Middlewares: huma.Middlewares{extendWriteDeadline},
		Errors:      []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusServiceUnavailable},
	}, answer(s, func(ctx context.Context, in *submissionInput) (*submissionOutput, error) {
		status, err := s.await(ctx, in.ID, time.Duration(in.Wait)*time.Second)
		return &submissionOutput{Body: submissionOf(status)}, err
	}))
}

// extendWriteDeadline gives a handler that waits enough time. The server's own deadline is for
// handlers that do not wait.
func extendWriteDeadline(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	// the writers of tests have none
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(MaxWait + 10*time.Second))
	next(ctx)
}

func (s *service) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	const op = "submit"
	ref, err := pratique.ParseImageRef(in.Body.Image)
	if err != nil {
		return nil, pratique.Wrap(pratique.Invalid, op, "", err)
	}
	accepted, err := s.accept(ctx, op, ref, in.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	out := &submitOutput{Status: http.StatusAccepted}
	if in.Body.Wait > 0 {
		// The event is stored, so an error of the index must not look like a refusal.
		if status, err := s.await(ctx, accepted.ID, time.Duration(in.Body.Wait)*time.Second); err == nil {
			accepted = status
		}
	}
	if accepted.Done {
		out.Status = http.StatusOK
	}
	out.Body = submissionOf(accepted)
	out.Location = out.Body.Links.Self
	return out, nil
}

// accept stores a submission of the caller. The same key, token and image are the same event.
func (s *service) accept(ctx context.Context, op string, ref pratique.ImageRef,
	key string) (index.EventStatus, error) {
	by := callerOf(ctx)
	if err := by.permit(op, ref.Repository); err != nil {
		return index.EventStatus{}, err
	}
	unique := rand.Text()
	if key != "" {
		unique = by.token.Name + "\x00" + key
	}
	event := pratique.Event{
		ID: pratique.EventID(pratique.SourceSubmission, ref, unique), Ref: ref,
		Source: pratique.SourceSubmission, Actor: by.token.Name,
		Priority: pratique.PriorityManual, AllowOlder: by.token.Rollback, ReceivedAt: s.Now().UTC(),
	}
	if err := s.Submit(ctx, event); err != nil {
		return index.EventStatus{}, err
	}
	return index.EventStatus{Event: event, Work: receivedWork(), UpdatedAt: event.ReceivedAt}, nil
}

// receivedWork is the work for an event that was just received.
func receivedWork() pratique.Work { return pratique.Work{State: pratique.State(pratique.FactReceived)} }

// await returns the event's status once it is done, or its current status when the time is over or
// the server stops.
func (s *service) await(ctx context.Context, id string, wait time.Duration) (index.EventStatus, error) {
	status, err := s.Events.Event(id)
	if wait <= 0 {
		return status, err
	}
	stopped := callerOf(ctx).request.Context().Done()
	timer, ticker := time.NewTimer(wait), time.NewTicker(pollInterval)
	defer timer.Stop()
	defer ticker.Stop()
	for {
		if (err == nil && status.Done) || (err != nil && pratique.KindOf(err) != pratique.NotFound) {
			return status, err
		}
		select {
		case <-stopped:
			return status, err
		case <-timer.C:
			return status, err
		case <-ticker.C:
		}
		status, err = s.Events.Event(id)
	}
}

func submissionOf(e index.EventStatus) Submission {
	s := Submission{
		ID: e.ID, Ref: e.Ref.String(), Image: e.Subject.String(), Digest: e.Subject.Digest,
		Source: e.Source, Actor: e.Actor,
		State: e.State, Done: e.Done, Outcome: e.Outcome, Verdict: e.Verdict, Reasons: e.Reasons,
		Detail: e.Detail, Failure: e.Failure,
		Commits: e.Commits, ReceivedAt: e.ReceivedAt, UpdatedAt: e.UpdatedAt,
		Requeues: e.Requeues, RequeuedAs: e.RequeuedAs, CanceledBy: e.CanceledBy,
		Links: SubmissionLinks{Self: "/api/v1/submissions/" + e.ID},
	}
	if !e.Subject.IsZero() {
		s.Links.Image = selfPath(e.Subject, "")
	}
	return s
}
