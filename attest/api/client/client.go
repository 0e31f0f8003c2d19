// Package client is a client of the HTTP API: it submits images, waits for submissions, requests
// sweeps, and reads what is known about images. Problem documents become errors with the kind that
// the service gave them.
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
	maxResponse    = 16 << 20
	maxProblem     = 64 << 10
	retryPause     = time.Second
	maxUnknown     = 30 * time.Second
	requestTimeout = 30 * time.Second
)

// ErrUnauthorized is wrapped in the error of a request without a token, or with an unknown one.
var ErrUnauthorized = errors.New("the service requires a valid token")

// Config says where the service is.
type Config struct {
	// URL is the base URL of the service, for example https://pratique.example.
	URL string
	// Token is the bearer token; empty reads anonymously, where the service allows that.
	Token string
	// HTTP is the client to use; nil means a new one.
	HTTP *http.Client
}

// Client is a client of the API. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client. A bad URL is Invalid.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") ||
		base.RawQuery != "" || base.User != nil {
		return nil, pratique.Errorf(pratique.Invalid, "make client",
			"%q is not the base URL of a service, such as https://pratique.example", cfg.URL)
	}
	client := cfg.HTTP
	if client == nil {
		client = &http.Client{}
	}
	return &Client{base: base, token: cfg.Token, http: client}, nil
}

// Submit submits an image. Two calls with the same key are one submission; the key may be empty.
// With a wait above zero, the result comes when the work has ended or the wait is over, at most
// [api.MaxWait].
func (c *Client) Submit(ctx context.Context, image, key string,
	wait time.Duration) (api.Submission, error) {
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
	return out, c.do(ctx, http.MethodGet, "/api/v1/submissions/"+url.PathEscape(id), query, nil,
		nil, wait, &out)
}

// Wait returns the submission once it is done. It calls progress, if not nil, with every new state
// and failed attempt. It waits through outages of the service until ctx ends; then the error is
// Unavailable. A response of a proxy, such as a 404, is an outage, too, unless it refuses the
// caller. If the service itself does not know the submission, or the server never was the service,
// Wait gives up after 30 s, because the index may lag.
func (c *Client) Wait(ctx context.Context, id string,
	progress func(api.Submission)) (api.Submission, error) {
	const op = "wait for submission"
	var last api.Submission
	var unknownSince time.Time // zero if the submission is known
	var cause error
	for {
		// Short requests show the states in between.
		s, err := c.Submission(ctx, id, time.Second)
		switch {
		case ctx.Err() != nil:
			return last, pratique.Wrap(pratique.Unavailable, op, id, errors.Join(ctx.Err(), cause))
		case err != nil && final(err, last.ID != ""):
			if unknownSince.IsZero() {
				unknownSince = time.Now()
			}
			if !isTransient(err) || time.Since(unknownSince) >= maxUnknown {
				return last, err
			}
			cause = err
		case err != nil:
			unknownSince, cause = time.Time{}, err
		default:
			unknownSince, cause = time.Time{}, nil
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

// final reports whether a response may end a wait, at once or if it does not change. The response of
// a proxy means nothing if the submission is known to exist.
func final(err error, known bool) bool {
	kind := pratique.KindOf(err)
	return kind == pratique.Denied || kind.Permanent() && !(known && foreign(err))
}

// isTransient reports whether a response that may end a wait may change.
func isTransient(err error) bool {
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

// Image returns what is known about an image, named as a digest, registry/path@digest, or
// registry/path:tag.
func (c *Client) Image(ctx context.Context, name string) (api.Image, error) {
	var out api.Image
	if digest, err := pratique.ParseDigest(name); err == nil {
		return out, c.do(ctx, http.MethodGet, "/api/v1/images/"+digest.String(), nil, nil, nil, 0, &out)
	}
	if digits, ok := strings.CutPrefix(name, "sha256:"); ok && !strings.Contains(digits, "/") {
		return out, pratique.Errorf(pratique.Invalid, "find image",
			"digest %q: want all 64 digits after sha256:", pratique.Excerpt(name, 120))
	}
	if _, err := pratique.ParseImageRef(name); err != nil {
		return out, pratique.Wrap(pratique.Invalid, "find image", "", err)
	}
	return out, c.do(ctx, http.MethodGet, "/api/v1/images", url.Values{"ref": {name}}, nil, nil, 0, &out)
}

// Places returns what the config repositories hold now of an image's repository.
func (c *Client) Places(ctx context.Context, of api.Image) (api.ImagePlaces, error) {
	var out api.ImagePlaces
	path := "/api/v1/images/" + of.Digest.String() + "/places"
	return out, c.do(ctx, http.MethodGet, path, url.Values{"repository": {of.Repository}}, nil, nil,
		0, &out)
}

// Reconcile requests sweeps of the repositories, named as registry/path, or of all that are
// configured if there are none. It returns their state; see [pratique.Sweep].
func (c *Client) Reconcile(ctx context.Context, repositories []string) ([]pratique.Sweep, error) {
	out, err := c.reconcile(ctx, api.ReconcileRequest{Repositories: repositories})
	return out.Items, err
}

// DeployByName has images, named as registry/path:tag, evaluated and deployed as if they had been
// pushed now. It returns their submissions, in the same order.
func (c *Client) DeployByName(ctx context.Context, images []string) ([]api.Submission, error) {
	out, err := c.reconcile(ctx, api.ReconcileRequest{Deploy: images})
	return out.Submissions, err
}

func (c *Client) reconcile(ctx context.Context,
	request api.ReconcileRequest) (out api.ReconciliationList, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return out, pratique.Wrap(pratique.Internal, "reconcile", "", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return out, c.do(ctx, http.MethodPost, "/api/v1/reconciliations", nil, header, body, 0, &out)
}

// Reconciliations returns the progress of the sweeps of each configured repository.
func (c *Client) Reconciliations(ctx context.Context) ([]pratique.Sweep, error) {
	var out api.ReconciliationList
	err := c.do(ctx, http.MethodGet, "/api/v1/reconciliations", nil, nil, nil, 0, &out)
	return out.Items, err
}

// Jobs lists jobs, optionally those in a state, without those that ended before since. See
// [api.JobList].
func (c *Client) Jobs(ctx context.Context, state string, since time.Time,
	limit int) (api.JobList, error) {
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

// Cancel cancels the work for an event. If it has ended, the error is Conflict.
func (c *Client) Cancel(ctx context.Context, id, reason string) (api.Submission, error) {
	var out api.Submission
	body, err := json.Marshal(api.CancelRequest{Reason: reason})
	if err != nil {
		return out, pratique.Wrap(pratique.Internal, "cancel", id, err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return out, c.do(ctx, http.MethodPost, "/api/v1/jobs/"+url.PathEscape(id)+"/cancel", nil,
		header, body, 0, &out)
}

// Requeue requeues a failed or canceled event, and returns the new submission. If the event has
// another end, or none, the error is Conflict.
func (c *Client) Requeue(ctx context.Context, id string) (api.Submission, error) {
	var out api.Submission
	return out, c.do(ctx, http.MethodPost, "/api/v1/jobs/"+url.PathEscape(id)+"/requeue", nil, nil,
		nil, 0, &out)
}

func seconds(wait time.Duration) int {
	return int(min(max(wait, 0), api.MaxWait) / time.Second)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, header http.Header,
	body []byte, wait time.Duration, out any) error {
	op := strings.ToLower(method) + " " + path
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+max(wait, 0))
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
	defer func() { _ = res.Body.Close() }() // the body was read, or is not needed
	if res.StatusCode >= http.StatusBadRequest {
		return problem(op, res)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	switch {
	case err != nil:
		return pratique.Wrap(pratique.Unavailable, op, "", err)
	case len(raw) > maxResponse:
		return pratique.Errorf(pratique.Exhausted, op, "the answer is larger than %d bytes", maxResponse)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return pratique.Wrap(pratique.Corrupt, op, "",
			&foreignError{fmt.Errorf("the answer is not from a Pratique service: %w", err)})
	}
	return nil
}

// foreignError is the response of a proxy in front of the service.
type foreignError struct{ error }

func (f *foreignError) Unwrap() error { return f.error }

// problem turns an error response into an error. Its kind is the service's, or follows from the
// status.
func problem(op string, res *http.Response) error {
	var p huma.ErrorModel
	raw, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // a part may be enough
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if mediaType != "application/problem+json" || json.Unmarshal(raw, &p) != nil {
		return pratique.Wrap(kindOf("", res.StatusCode), op, "",
			&foreignError{fmt.Errorf("the server answers %s", res.Status)})
	}
	kind, text := kindOf(p.Type, res.StatusCode), p.Detail
	for _, e := range p.Errors {
		text += "; " + e.Error()
	}
	err := fmt.Errorf("%s (%d)", text, res.StatusCode)
	if res.StatusCode == http.StatusUnauthorized {
		err = fmt.Errorf("%w (%d)", ErrUnauthorized, res.StatusCode)
	}
	// gateways write problems, too
	if kind == pratique.NotFound && !strings.HasPrefix(p.Type, api.ProblemType) {
		err = &foreignError{err}
	}
	return pratique.Wrap(kind, op, "", err)
}

func kindOf(problemType string, status int) pratique.Kind {
	if name, ok := strings.CutPrefix(problemType, api.ProblemType); ok {
		var kind pratique.Kind
		// An unknown name is Unknown, and never an error; then the status decides.
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
