package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
)

// Operator lists and changes the jobs of everybody.
type Operator interface {
	// Jobs returns at most limit jobs that are not done, in the order of the stages, the most urgent
	// priority first, then the oldest first, and whether there are more. It also returns those that
	// the queue refused for good. A state that is not empty selects the jobs in it.
	Jobs(ctx context.Context, state string, limit int) (queued []Job, more bool, refused []Job, err error)
	// Find returns the event of a queued job. The error is NotFound if there is none.
	Find(ctx context.Context, id string) (pratique.Event, error)
	// Cancel ends the work for an event. The subject is zero if it is not known.
	Cancel(ctx context.Context, e pratique.Event, s pratique.Subject, by, reason string) error
	// Requeue enqueues the work for an event again, in the name of by, and returns the new event.
	Requeue(ctx context.Context, e pratique.Event, by string) (pratique.Event, error)
}

// The states of a [Job] besides failed and canceled.
const (
	JobWaiting = "waiting"
	JobRunning = "running"
	JobRefused = "refused"
)

// Job is work that is not done, has failed, or was canceled.
type Job struct {
	Event       string            `json:"event" doc:"The id to cancel or requeue it by"`
	State       string            `json:"state" enum:"waiting,running,failed,canceled,refused" doc:"waiting for a worker or for the next attempt; running; failed or canceled, and not requeued; refused by the queue for good: submit the image again"`
	Ref         string            `json:"ref" doc:"The image as it was named"`
	Image       string            `json:"image,omitempty" doc:"registry/path@digest, once the ref is resolved"`
	Stage       string            `json:"stage,omitempty" doc:"inspect, attest or deploy; that of the last attempt if the work has ended"`
	Target      string            `json:"target,omitempty" doc:"The target to write, if several ask for the image: each has a job of its own"`
	Priority    pratique.Priority `json:"priority,omitempty" doc:"push, manual or rescan"`
	Attempts    int               `json:"attempts" doc:"How often the stage was started"`
	Reason      string            `json:"reason,omitempty" doc:"Why the last attempt failed, or who canceled the work"`
	NextAttempt time.Time         `json:"nextAttempt,omitzero" doc:"When it is retried, if that is known"`
	Since       time.Time         `json:"since" doc:"When it was enqueued for the stage, or ended"`
	AgeSeconds  int64             `json:"ageSeconds" doc:"The time since then"`
}

// JobList is a part of all jobs.
type JobList struct {
	Items  []Job                 `json:"items"`
	More   bool                  `json:"more" doc:"There are more than the limit"`
	Queues []pratique.QueueStats `json:"queues,omitempty" doc:"The whole backlog, with the age of the oldest job of each priority of each stage"`
}

// CancelRequest gives the reason.
type CancelRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"256" doc:"Recorded with the cancellation"`
}

const (
	pathJobs = "/api/v1/jobs"
	canceled = string(pratique.StateCanceled)
	failed   = string(pratique.StateFailed)
)

type jobsInput struct {
	State string    `query:"state" enum:"waiting,running,failed,canceled,refused" doc:"By default all but canceled"`
	Since time.Time `query:"since" doc:"Leave out jobs that ended before"`
	Limit int       `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"For what is queued, and for what has ended"`
}

type jobsOutput struct{ Body JobList }

type cancelInput struct {
	ID   string `path:"id" minLength:"1" maxLength:"128"`
	Body CancelRequest
}

type requeueInput struct {
	ID string `path:"id" minLength:"1" maxLength:"128"`
}

func (s *service) registerJobs(api huma.API) {
	refusals := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusConflict, http.StatusServiceUnavailable}
	huma.Register(api, huma.Operation{
		OperationID: "listJobs", Method: http.MethodGet, Path: pathJobs, Tags: []string{"jobs"},
		Summary: "Jobs in the order in which they will be done, then those that failed or were canceled, the last first",
		Errors:  []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusServiceUnavailable},
	}, answer(s, s.jobs))
	huma.Register(api, huma.Operation{
		OperationID: "cancelJob", Method: http.MethodPost, Path: pathJobs + "/{id}/cancel",
		Tags:    []string{"jobs"},
		Summary: "Cancel the work for an event",
		Description: "A running job stops at the next point at which nothing is half done. What is signed or committed by then stays; if a commit is " +
			"being written at that moment, the work ends as deployed. Canceling twice is canceling once. Work that has ended is a " +
			"conflict (409). The token must allow to operate.",
		BodyReadTimeout: -1, MaxBodyBytes: maxBody + 1,
		Middlewares: huma.Middlewares{extendWriteDeadline},
		Errors:      append(refusals, http.StatusBadRequest, http.StatusRequestEntityTooLarge),
	}, answer(s, s.cancel))
	huma.Register(api, huma.Operation{
		OperationID: "requeueJob", Method: http.MethodPost, Path: pathJobs + "/{id}/requeue",
		Tags:    []string{"jobs"},
		Summary: "Requeue a failed or canceled event",
		Description: "The answer is the new submission, which names the old one. Requeuing twice is requeuing once. The " +
			"token must allow to operate.",
		DefaultStatus: http.StatusAccepted, Errors: refusals,
	}, answer(s, s.requeue))
}

func (s *service) jobs(ctx context.Context, in *jobsInput) (*jobsOutput, error) {
	if s.Operate == nil {
		return nil, noOperator()
	}
	out := JobList{Items: []Job{}}
	ended := in.State == "" || in.State == failed || in.State == canceled
	if queued := in.State != failed && in.State != canceled; queued {
		all, more, refused, err := s.Operate.Jobs(ctx, in.State, in.Limit)
		if err != nil {
			return nil, err
		}
		out.More = more
		for _, j := range slices.Concat(all, refused) {
			over, err := s.addIndexed(&j)
			if err != nil {
				return nil, err
			}
			if !over {
				out.Items = append(out.Items, j)
			}
		}
	}
	if ended {
		state := pratique.State(in.State)
		if state == "" {
			state = pratique.StateFailed
		}
		dead, more, err := s.Events.Dead(state, in.Since, in.Limit)
		if err != nil {
			return nil, err
		}
		out.More = out.More || more
		for _, e := range dead {
			out.Items = append(out.Items, endedJob(e))
		}
	}
	now := s.Now()
	for i := range out.Items {
		out.Items[i].AgeSeconds = int64(max(0, now.Sub(out.Items[i].Since)) / time.Second)
	}
	if about, err := s.Describe(ctx); err == nil {
		out.Queues = about.Queues
	}
	return &jobsOutput{Body: out}, nil
}

// addIndexed adds what the index knows of a job. A canceled job is over although its message is
// still in the queue.
func (s *service) addIndexed(j *Job) (over bool, err error) {
	e, err := s.Events.Event(j.Event)
	if pratique.KindOf(err) == pratique.NotFound {
		return false, nil // the event is not resolved yet
	}
	if f := e.Failure; f != nil && f.Stage == j.Stage && f.Target == j.Target && j.Reason == "" {
		j.Reason = f.Message
	}
	j.Image = e.Subject.String()
	return e.Done && e.State == pratique.StateCanceled, err
}

func endedJob(e index.EventStatus) Job {
	j := Job{Event: e.ID, State: string(e.State), Ref: e.Ref.String(), Image: e.Subject.String(),
		Priority: e.Priority, Reason: e.Detail, Since: e.UpdatedAt}
	if f := e.Failure; f != nil {
		j.Stage, j.Target, j.Attempts = f.Stage, f.Target, f.Attempts
		if e.State == pratique.StateFailed {
			j.Reason = f.Message
		}
	}
	return j
}

func (s *service) cancel(ctx context.Context, in *cancelInput) (*submissionOutput, error) {
	const op = opCancel
	if s.Operate == nil {
		return nil, noOperator()
	}
	status, err := s.Events.Event(in.ID)
	e := status.Event
	switch {
	case pratique.KindOf(err) == pratique.NotFound:
		if e, err = s.Operate.Find(ctx, in.ID); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if err := callerOf(ctx).permit(op, e.Ref.Repository); err != nil {
		return nil, err
	}
	switch {
	case status.State == pratique.StateCanceled:
		return &submissionOutput{Body: submissionOf(status)}, nil
	case status.Completed:
		return nil, pratique.Wrap(pratique.Conflict, op, in.ID,
			fmt.Errorf("it has ended: %s", status.State))
	}
	if err := s.Operate.Cancel(ctx, e, status.Subject, callerOf(ctx).token.Name,
		in.Body.Reason); err != nil {
		return nil, err
	}
	// The first end in the ledger counts, and the index knows which that is.
	status, err = s.await(ctx, in.ID, 10*time.Second)
	switch {
	case err != nil:
		return nil, err
	case status.Done && status.State != pratique.StateCanceled:
		return nil, pratique.Wrap(pratique.Conflict, op, in.ID,
			fmt.Errorf("it ended as %s meanwhile", status.State))
	}
	return &submissionOutput{Body: submissionOf(status)}, nil
}

func (s *service) requeue(ctx context.Context, in *requeueInput) (*submissionOutput, error) {
	const op = opRequeue
	if s.Operate == nil {
		return nil, noOperator()
	}
	status, err := s.Events.Event(in.ID)
	switch {
	case err != nil:
		return nil, err
	case !status.Done:
		return nil, pratique.Wrap(pratique.Conflict, op, in.ID,
			fmt.Errorf("its work is not over: it is %s", status.State))
	case status.State != pratique.StateFailed && status.State != pratique.StateCanceled:
		return nil, pratique.Wrap(pratique.Conflict, op, in.ID,
			fmt.Errorf("it ended as %s, which is an answer: submit the image to have it evaluated again", status.State))
	case status.RequeuedAs != "":
		status, err = s.Events.Event(status.RequeuedAs)
		return &submissionOutput{Body: submissionOf(status)}, err
	}
	old := status.Event
	if err := old.Validate(); err != nil {
		return nil, pratique.Wrap(pratique.Conflict, op, in.ID,
			fmt.Errorf("its reference is not on record: %w", err))
	}
	if err := callerOf(ctx).permit(op, old.Ref.Repository); err != nil {
		return nil, err
	}
	e, err := s.Operate.Requeue(ctx, old, callerOf(ctx).token.Name)
	if err != nil {
		return nil, err
	}
	return &submissionOutput{Body: submissionOf(index.EventStatus{Event: e, Work: receivedWork(),
		UpdatedAt: s.Now().UTC()})}, nil
}

func noOperator() error {
	return pratique.Errorf(pratique.NotFound, "operate", "this service has no queues")
}
