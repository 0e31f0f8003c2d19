// Package client asks a running service over its HTTP API: submit an image, see how far it has come, sweep, and read
// what is known about it. Problem documents come back as errors with the kind that the service gave them.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

const (
	maxAnswer    = 16 << 20
	maxProblem   = 64 << 10
	retryPause   = time.Second
	unknownGrace = 30 * time.Second
	askTimeout   = 30 * time.Second
)

// ErrUnauthorized is in the errors of requests that the service did not let in: they came without a token, or with one that
// it does not know.
var ErrUnauthorized = errors.New("the service wants a token that it knows")

// Config says where the service is.
type Config struct {
	// URL is the service's base, for example https://pratique.example.
	URL string
	// Token is the bearer token; empty reads anonymously, where the service allows that.
	Token string
	// HTTP is the client to use; nil means one of its own.
	HTTP *http.Client
}

// Client is a client of the API. It may be used by several goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New checks the URL; the error is of kind Invalid.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") || base.RawQuery != "" || base.User != nil {
		return nil, pratique.Errorf(pratique.Invalid, "make client", "%q is not the base URL of a service, such as https://pratique.example", cfg.URL)
	}
	client := cfg.HTTP
	if client == nil {
		client = &http.Client{}
	}
	return &Client{base: base, token: cfg.Token, http: client}, nil
}

// Submit asks for an image to be evaluated. Two calls with the same key, which may be empty, are one submission.
// With a wait above zero the answer comes when the work has ended or the wait is over; at most [api.MaxWait].
func (c *Client) Submit(ctx context.Context, image, key string, wait time.Duration) (api.Submission, error) {
	var out api.Submission
	body, err := json.Marshal(api.SubmissionRequest{Image: image, Wait: seconds(wait)})
	if err != nil {
		return out, pratique.Wrap(pratique.Internal, "submit", image, err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return out, c.do(ctx, http.MethodPost, "/api/v1/submissions", nil, header, body, wait, &out)
}

// Submission returns how far the work has come; see [Client.Submit] for wait.
func (c *Client) Submission(ctx context.Context, id string, wait time.Duration) (api.Submission, error) {
	var out api.Submission
	query := url.Values{}
	if s := seconds(wait); s > 0 {
		query.Set("wait", strconv.Itoa(s))
	}
	return out, c.do(ctx, http.MethodGet, "/api/v1/submissions/"+url.PathEscape(id), query, nil, nil, wait, &out)
}

// Wait returns the submission once it is done. It calls progress, if not nil, with every state and every failed
// attempt that it sees, and goes on through outages of the service until ctx ends; then the error is of kind
// Unavailable. What something in front of the service answers in its place is an outage, too, a 404 for example,
// unless it refuses the caller. The service's own answer that it does not know the submission is believed once it
// has stood for 30 s, since the index may lag behind; and so is a server that never showed to be the service.
func (c *Client) Wait(ctx context.Context, id string, progress func(api.Submission)) (api.Submission, error) {
	const op = "wait for submission"
	var last api.Submission
	var astray time.Time // since when nobody knows the submission, zero if that is not so
	var cause error
	for {
		// Short requests show the steps in between; long ones would show only the end.
		s, err := c.Submission(ctx, id, time.Second)
		switch {
		case ctx.Err() != nil:
			return last, pratique.Wrap(pratique.Unavailable, op, id, errors.Join(ctx.Err(), cause))
		case err != nil && final(err, last.ID != ""):
			if astray.IsZero() {
				astray = time.Now()
			}
			if !mayPass(err) || time.Since(astray) >= unknownGrace {
				return last, err
			}
			cause = err
		case err != nil:
			astray, cause = time.Time{}, err
		default:
			astray, cause = time.Time{}, nil
			if progress != nil && (s.State != last.State || attempts(s) != attempts(last)) {
				progress(s)
			}
			if last = s; s.Done {
				return s, nil
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// final says whether an answer ends a wait, at once or when it stands for long enough. What is not the service's
// says nothing about a submission that is known to be there.
func final(err error, known bool) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.Denied || kind.Permanent() && !(known && foreign(err))
}

// mayPass says whether an answer that ends a wait may be different in a moment.
func mayPass(err error) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.NotFound || kind != pratique.Denied && foreign(err)
}

func foreign(err error) bool {
	var f *foreignError
	return errors.As(err, &f)
}

func attempts(s api.Submission) int {
	if s.Failure == nil {
		return 0
	}
	return s.Failure.Attempts
}

// Image returns what is known about an image, named as a digest, as registry/path@digest, or as registry/path:tag.
func (c *Client) Image(ctx context.Context, name string) (api.Image, error) {
	var out api.Image
	if digest, err := pratique.ParseDigest(name); err == nil {
		return out, c.do(ctx, http.MethodGet, "/api/v1/images/"+digest.String(), nil, nil, nil, 0, &out)
	}
	if digits, ok := strings.CutPrefix(name, "sha256:"); ok && !strings.Contains(digits, "/") {
		return out, pratique.Errorf(pratique.Invalid, "find image", "digest %q: want all 64 digits after sha256:", pratique.Excerpt(name, 120))
	}
	if _, err := pratique.ParseImageRef(name); err != nil {
		return out, pratique.Wrap(pratique.Invalid, "find image", "", err)
	}
	return out, c.do(ctx, http.MethodGet, "/api/v1/images", url.Values{"ref": {name}}, nil, nil, 0, &out)
}

// Places returns what the config repositories hold now of the repository of an image.
func (c *Client) Places(ctx context.Context, of api.Image) (api.ImagePlaces, error) {
	var out api.ImagePlaces
	path := "/api/v1/images/" + of.Digest.String() + "/places"
	return out, c.do(ctx, http.MethodGet, path, url.Values{"repository": {of.Repository}}, nil, nil, 0, &out)
}

// Reconcile asks for sweeps now, for pushes that no webhook told of, of the repositories named as registry/path, or of
// all that the service has configured if none is. It returns their state; see [api.Reconciliation] for when one is done.
func (c *Client) Reconcile(ctx context.Context, repositories []string) ([]api.Reconciliation, error) {
	out, err := c.reconcile(ctx, api.ReconcileRequest{Repositories: repositories})
	return out.Items, err
}

// DeployByName has images that sweeps found, named as registry/path:tag, evaluated and deployed as if they had been pushed just
// now. It returns their submissions, in the same order.
func (c *Client) DeployByName(ctx context.Context, images []string) ([]api.Submission, error) {
	out, err := c.reconcile(ctx, api.ReconcileRequest{Deploy: images})
	return out.Submissions, err
}

func (c *Client) reconcile(ctx context.Context, request api.ReconcileRequest) (out api.ReconciliationList, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return out, pratique.Wrap(pratique.Internal, "reconcile", "", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return out, c.do(ctx, http.MethodPost, "/api/v1/reconciliations", nil, header, body, 0, &out)
}

// Reconciliations returns how far the sweeps of each configured repository have come.
func (c *Client) Reconciliations(ctx context.Context) ([]api.Reconciliation, error) {
	var out api.ReconciliationList
	err := c.do(ctx, http.MethodGet, "/api/v1/reconciliations", nil, nil, nil, 0, &out)
	return out.Items, err
}

// Jobs lists work that is not done, and what ended without an answer; a state selects, and with since what ended before
// is left out. See [api.JobList].
func (c *Client) Jobs(ctx context.Context, state string, since time.Time, limit int) (api.JobList, error) {
	var out api.JobList
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if state != "" {
		query.Set("state", state)
	}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	return out, c.do(ctx, http.MethodGet, "/api/v1/jobs", query, nil, nil, 0, &out)
}

// Cancel ends the work for an event. Of what is over the error is of kind Conflict.
func (c *Client) Cancel(ctx context.Context, id, reason string) (api.Submission, error) {
	var out api.Submission
	body, err := json.Marshal(api.CancelRequest{Reason: reason})
	if err != nil {
		return out, pratique.Wrap(pratique.Internal, "cancel", id, err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return out, c.do(ctx, http.MethodPost, "/api/v1/jobs/"+url.PathEscape(id)+"/cancel", nil, header, body, 0, &out)
}

// Requeue takes the work for an event that failed or was canceled in anew, and returns what stands for it now. Of what
// has another end, or none yet, the error is of kind Conflict.
func (c *Client) Requeue(ctx context.Context, id string) (api.Submission, error) {
	var out api.Submission
	return out, c.do(ctx, http.MethodPost, "/api/v1/jobs/"+url.PathEscape(id)+"/requeue", nil, nil, nil, 0, &out)
}

func seconds(wait time.Duration) int {
	return int(min(max(wait, 0), api.MaxWait) / time.Second)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, header http.Header, body []byte, wait time.Duration, out any) error {
	op := strings.ToLower(method) + " " + path
	ctx, cancel := context.WithTimeout(ctx, askTimeout+max(wait, 0))
	defer cancel()
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return pratique.Wrap(pratique.Invalid, op, "", err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	}
	defer func() { _ = res.Body.Close() }() // the body was read, or is not wanted
	if res.StatusCode >= http.StatusBadRequest {
		return problem(op, res)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	case len(raw) > maxAnswer:
		return pratique.Errorf(pratique.Exhausted, op, "the answer is larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return pratique.Wrap(pratique.Corrupt, op, "", &foreignError{fmt.Errorf("the answer is not from a Pratique service: %w", err)})
	}
	return nil
}

// foreignError is an answer that is not the service's, but that of something in front of it.
type foreignError struct{ error }

func (f *foreignError) Unwrap() error { return f.error }

// problem turns an answer that refuses into an error; the kind is the service's, or follows from the status.
func problem(op string, res *http.Response) error {
	var p huma.ErrorModel
	raw, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // what could be read has to do
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if mediaType != "application/problem+json" || json.Unmarshal(raw, &p) != nil {
		return pratique.Wrap(kindOf("", res.StatusCode), op, "", &foreignError{fmt.Errorf("the server answers %s", res.Status)})
	}
	kind, text := kindOf(p.Type, res.StatusCode), p.Detail
	for _, e := range p.Errors {
		text += "; " + e.Error()
	}
	err := fmt.Errorf("%s (%d)", text, res.StatusCode)
	if res.StatusCode == http.StatusUnauthorized {
		err = fmt.Errorf("%w (%d)", ErrUnauthorized, res.StatusCode)
	}
	if kind == pratique.NotFound && !strings.HasPrefix(p.Type, api.ProblemType) { // gateways write problems, too
		err = &foreignError{err}
	}
	return pratique.Wrap(kind, op, "", err)
}

func kindOf(problemType string, status int) pratique.Kind {
	if name, ok := strings.CutPrefix(problemType, api.ProblemType); ok {
		var kind pratique.Kind
		// An unknown name gives Unknown, never an error; then the status decides.
		if _ = kind.UnmarshalText([]byte(strings.ReplaceAll(name, "-", " "))); kind != pratique.Unknown {
			return kind
		}
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return pratique.Denied
	case http.StatusNotFound:
		return pratique.NotFound
	case http.StatusConflict:
		return pratique.Conflict
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
		return pratique.Exhausted
	case http.StatusTooManyRequests:
		return pratique.RateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return pratique.Unavailable
	case http.StatusInternalServerError:
		return pratique.Unknown
	}
	return pratique.Invalid
}
