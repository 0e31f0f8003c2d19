package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/layers"
)

// stallAfter ends a download without progress; a slow one may take as long as its context allows.
const stallAfter = time.Minute

const maxRedirects = 5

// accept lists all manifest types, so that a registry neither converts nor hides a manifest. What
// cannot be used is refused here, with a reason.
var accept = strings.Join([]string{
	pratique.TypeOCIIndex, pratique.TypeOCIManifest, pratique.TypeDockerList,
	pratique.TypeDockerManifest, typeOCIArtifact, typeSchema1, typeSchema1Signed,
}, ", ")

// apiRequest is a request to a repository.
type apiRequest struct {
	method, kind, id string
	// query is the URL's, without the question mark.
	query string
	// ifNoneMatch makes the request conditional; then 304 is no error.
	ifNoneMatch string
	// noRetry leaves retries to the caller, for callers with a budget of requests.
	noRetry bool
}

// request sends a request and returns the answer with status 200. Reading the body fails with a
// [pratique.Error].
func (c *Client) request(ctx context.Context, t target, method, kind, id string) (*http.Response, error) {
	return c.do(ctx, t, apiRequest{method: method, kind: kind, id: id})
}

// do is request with all options. If a registry says how long to wait, the error has a [Throttled]
// in its chain.
func (c *Client) do(ctx context.Context, t target, q apiRequest) (*http.Response, error) {
	op, subject := q.method+" "+q.kind, t.repo.String()+" "+q.id
	rt, err := c.login(ctx, t, transport.PullScope, pullSessionAge)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := q.build(ctx, t)
	if err != nil {
		cancel(nil)
		return nil, pratique.Wrap(pratique.Invalid, op, subject, err)
	}
	client := &http.Client{Transport: rt, CheckRedirect: limitRedirects}
	resp, err := client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, toError(op, subject, err)
	}
	good := []int{http.StatusOK}
	if q.ifNoneMatch != "" {
		good = append(good, http.StatusNotModified)
	}
	if err := transport.CheckError(resp, good...); err != nil {
		_ = resp.Body.Close() // the error says more
		cancel(nil)
		return nil, toError(op, subject, err)
	}
	resp.Body = newStream(ctx, cancel, resp.Body, c.stall, op, subject)
	return resp, nil
}

func (q apiRequest) build(ctx context.Context, t target) (*http.Request, error) {
	if q.noRetry {
		ctx = context.WithValue(ctx, onceKey{}, true)
	}
	u := url.URL{Scheme: t.host.registry.Scheme(), Host: t.host.registry.RegistryStr(),
		Path: fmt.Sprintf("/v2/%s/%s/%s", t.name.RepositoryStr(), q.kind, q.id), RawQuery: q.query}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if q.kind == "manifests" {
		req.Header.Set("Accept", accept)
	}
	// Some registries compress unless they are told not to.
	req.Header.Set("Accept-Encoding", "identity")
	if q.ifNoneMatch != "" {
		req.Header.Set("If-None-Match", q.ifNoneMatch)
	}
	return req, nil
}

// limitRedirects bounds redirects. The guard decides where they may lead, since it sees every
// request.
func limitRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return pratique.Errorf(pratique.Unavailable, "follow redirects", "stopped after %d", maxRedirects)
	}
	return nil
}

// stream is a body whose errors have a kind, and which fails if no bytes come for a while.
type stream struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	body     io.ReadCloser
	stalled  *time.Timer
	patience time.Duration
	op       string
	subject  string
}

func newStream(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser,
	patience time.Duration, op, subject string) *stream {
	stop := func() { cancel(fmt.Errorf("no bytes for %s", patience)) }
	return &stream{ctx: ctx, cancel: cancel, body: body, stalled: time.AfterFunc(patience, stop),
		patience: patience, op: op, subject: subject}
}

func (s *stream) Read(p []byte) (int, error) {
	s.stalled.Reset(s.patience)
	n, err := s.body.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	return n, toError(s.op, s.subject, err)
}

func (s *stream) Close() error {
	s.stalled.Stop()
	s.cancel(nil)
	return s.body.Close()
}

// document is a manifest as it was received: the bytes, and the registry's type for them.
type document struct {
	raw         []byte
	contentType string
}

// manifest reads a manifest by tag or digest. want is zero for a tag; otherwise the bytes must have
// that digest.
func (c *Client) manifest(ctx context.Context, t target, id string,
	want pratique.ContentID) (document, error) {
	return c.readManifest(ctx, t, apiRequest{method: http.MethodGet, kind: "manifests", id: id}, want)
}

// requireSHA256 checks that a manifest which was found by a digest of another algorithm is also
// available by its sha256 digest, which signatures, attestations and commits use.
func (c *Client) requireSHA256(ctx context.Context, t target, doc document, id pratique.ContentID) error {
	if _, ok := id.Digest(); ok || id.IsZero() {
		return nil
	}
	own := pratique.DigestOf(doc.raw).ContentID()
	_, err := c.manifest(ctx, t, own.String(), own)
	if pratique.KindOf(err) == pratique.NotFound {
		return pratique.Errorf(pratique.Invalid, opParse,
			"the registry has %s, but not as %s, by which it would be signed and deployed: push it under a tag", id, own)
	}
	return err
}

func (c *Client) readManifest(ctx context.Context, t target, q apiRequest,
	want pratique.ContentID) (document, error) {
	resp, err := c.do(ctx, t, q)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = resp.Body.Close() }() // all was read, or the error is known
	raw, err := readDocument(resp, "manifest", c.limits.ManifestBytes)
	if err != nil {
		return document{}, err
	}
	own := pratique.DigestOf(raw).ContentID()
	if !want.IsZero() && !want.Of(raw) {
		return document{}, &pratique.Error{Op: "read manifest", Subject: t.repo.String() + "@" +
			want.String(), Kind: pratique.Corrupt,
			Err: fmt.Errorf("the bytes have digest %s", own)}
	}
	if want.IsZero() {
		want = own
	}
	doc := document{raw: raw, contentType: resp.Header.Get("Content-Type")}
	c.documents.put(t.repo, want, doc)
	return doc, nil
}

// manifestOf reads a manifest by digest. It may be answered from memory, since such a manifest
// never changes.
func (c *Client) manifestOf(ctx context.Context, t target, id pratique.ContentID) (document, error) {
	if doc, ok := c.documents.get(t.repo, id); ok {
		return doc, nil
	}
	return c.manifest(ctx, t, id.String(), id)
}

// config reads an image's configuration and checks it against its descriptor.
func (c *Client) config(ctx context.Context, t target, d descriptor) ([]byte, error) {
	id, err := d.id()
	if err != nil {
		return nil, err
	}
	if d.Size > c.limits.ManifestBytes {
		return nil, errTooLarge("image configuration", c.limits.ManifestBytes)
	}
	if doc, ok := c.documents.get(t.repo, id); ok {
		return doc.raw, nil
	}
	resp, err := c.request(ctx, t, http.MethodGet, "blobs", id.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // all was read, or the error is known
	raw, err := readDocument(resp, "image configuration", c.limits.ManifestBytes)
	if err != nil {
		return nil, err
	}
	if !id.Of(raw) || int64(len(raw)) != d.Size {
		return nil, &pratique.Error{Op: "read image configuration", Subject: t.repo.String() + "@" +
			id.String(), Kind: pratique.Corrupt,
			Err: fmt.Errorf("got %d bytes with digest %s, want %d", len(raw),
				pratique.DigestOf(raw), d.Size)}
	}
	c.documents.put(t.repo, id, document{raw: raw})
	return raw, nil
}

// Layer opens the compressed stream of a layer. Its digest is not checked here, since the reader of
// the stream hashes it anyway; it never has more than d.Size bytes. A read fails with kind
// Unavailable on a network error, and if no bytes come for a minute. Close it in any case: it holds
// one of the registry's slots.
func (c *Client) Layer(ctx context.Context, repo pratique.Repository,
	d layers.Descriptor) (io.ReadCloser, error) {
	t, err := c.target(repo)
	if err != nil {
		return nil, err
	}
	free, err := t.host.throttle.acquire(ctx, t.host.throttle.layers)
	if err != nil {
		return nil, toError("fetch layer", d.ID().String(), err)
	}
	resp, err := c.request(ctx, t, http.MethodGet, "blobs", d.ID().String())
	if err != nil {
		free()
		return nil, err
	}
	mismatch := &pratique.Error{Op: "fetch layer", Subject: d.ID().String(), Kind: pratique.Corrupt,
		Err: fmt.Errorf("the registry does not send the %d bytes of the manifest", d.Size)}
	if resp.ContentLength >= 0 && resp.ContentLength != d.Size {
		_ = resp.Body.Close() // refused unread
		free()
		return nil, mismatch
	}
	c.present.put(t.repo, d.Digest)
	return &layerStream{Reader: &boundedBody{ReadCloser: resp.Body, left: d.Size, err: mismatch},
		body: resp.Body, free: free}, nil
}

type layerStream struct {
	io.Reader
	body io.Closer
	free func()
}

func (l *layerStream) Close() error {
	defer l.free()
	return l.body.Close()
}

// readDocument reads a small document, also if the registry compresses it against our request.
func readDocument(resp *http.Response, what string, limit int64) ([]byte, error) {
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return readAll(resp.Body, what, limit)
	case "gzip":
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, pratique.Wrap(pratique.Corrupt, "read "+what, "", err)
		}
		raw, err := readAll(z, what, limit)
		if err != nil && pratique.KindOf(err) == pratique.Unknown {
			err = pratique.Wrap(pratique.Corrupt, "read "+what, "", err)
		}
		return raw, err
	default:
		return nil, pratique.Errorf(pratique.Corrupt, "read "+what,
			"the registry sent the encoding %q, which was not requested", pratique.Clip(encoding))
	}
}

func readAll(r io.Reader, what string, limit int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, errTooLarge(what, limit)
	}
	return b.Bytes(), nil
}
