package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/pratique-dev/pratique"
)

const (
	opTags = "list tags"
	// pageTags is the requested page size; ECR refuses more. Registries may return fewer tags, or
	// all of them.
	pageTags     = 1000
	maxPageBytes = 16 << 20
	maxPageTags  = 100_000
	maxQuery     = 4096
	maxETag      = 256
)

// Tags returns one page of a repository's tags: at most 100,000 names in 16 MiB. after is the Next
// of the previous page, empty for the first; an etag makes the request conditional. Each call is
// one request, plus a login if there is no session, and is not retried. The error is NotFound if
// there is no such repository, RateLimited with a [Throttled] if the registry said how long to
// wait, and Corrupt if the list cannot be read or continued.
func (c *Client) Tags(ctx context.Context, repo pratique.Repository, after,
	etag string) (pratique.TagPage, error) {
	t, err := c.target(repo)
	if err != nil {
		return pratique.TagPage{}, pratique.Wrap(pratique.Unknown, opTags,
			pratique.Clip(repo.String()), err)
	}
	page, err := c.tags(ctx, t, after, etag)
	return page, pratique.Wrap(pratique.Unknown, opTags, repo.String(), err)
}

func (c *Client) tags(ctx context.Context, t target, after, etag string) (pratique.TagPage, error) {
	query := after
	if query == "" {
		query = url.Values{"n": {strconv.Itoa(pageTags)}}.Encode()
	}
	if len(query) > maxQuery || len(etag) > maxETag {
		return pratique.TagPage{}, pratique.Errorf(pratique.Invalid, opTags,
			"a query of %d bytes and an ETag of %d, the limits are %d and %d",
			len(query), len(etag), maxQuery, maxETag)
	}
	resp, err := c.do(ctx, t, apiRequest{method: http.MethodGet, kind: "tags", id: "list",
		query: query, ifNoneMatch: etag, noRetry: true})
	if err != nil {
		return pratique.TagPage{}, err
	}
	defer func() { _ = resp.Body.Close() }() // all was read, or the error is known
	if resp.StatusCode == http.StatusNotModified {
		return pratique.TagPage{NotModified: true}, nil
	}
	page, err := readPage(resp, t.repo)
	if err != nil {
		return pratique.TagPage{}, err
	}
	if page.Next, err = nextQuery(resp.Header.Values("Link")); err != nil {
		return pratique.TagPage{}, err
	}
	if page.Next == query {
		return pratique.TagPage{}, pratique.Errorf(pratique.Corrupt, opTags, "the next page is this page")
	}
	return page, nil
}

func readPage(resp *http.Response, repo pratique.Repository) (pratique.TagPage, error) {
	raw, err := readAll(resp.Body, "list of tags", maxPageBytes)
	if err != nil {
		return pratique.TagPage{}, err
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	err = checkUnambiguous(raw, shapeTags)
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return pratique.TagPage{}, pratique.Errorf(pratique.Corrupt, opTags,
			"not a list of tags: %s", pratique.Clip(err.Error()))
	}
	if len(list.Tags) > maxPageTags {
		return pratique.TagPage{}, pratique.Errorf(pratique.Exhausted, opTags,
			"%d tags at once, the limit is %d", len(list.Tags), maxPageTags)
	}
	page := pratique.TagPage{ETag: resp.Header.Get("ETag")}
	if len(page.ETag) > maxETag {
		page.ETag = ""
	}
	for _, tag := range list.Tags {
		if tag == "" || (pratique.ImageRef{Repository: repo, Tag: tag}).Validate() != nil {
			page.Invalid++
			continue
		}
		page.Tags = append(page.Tags, tag)
	}
	return page, nil
}

// link is one value of a Link header: a URL and its parameters.
var link = regexp.MustCompile(`<([^>]*)>\s*((?:;[^,<]*)*)`)

var relNext = regexp.MustCompile(`(?i);\s*rel\s*=\s*"?next"?\s*(;|$)`)

// nextQuery returns the query of the link to the next page; registry and path are known. A link
// that cannot be followed is an error, since the following tags would be missed.
func nextQuery(headers []string) (string, error) {
	for _, header := range headers {
		for _, found := range link.FindAllStringSubmatch(header, -1) {
			if !relNext.MatchString(found[2]) {
				continue
			}
			u, err := url.Parse(found[1])
			if err != nil || u.RawQuery == "" || len(u.RawQuery) > maxQuery {
				return "", pratique.Errorf(pratique.Corrupt, opTags,
					"the link to the next page cannot be followed: %s", pratique.Clip(found[1]))
			}
			values, err := url.ParseQuery(u.RawQuery)
			if err != nil {
				return "", pratique.Errorf(pratique.Corrupt, opTags,
					"the link to the next page cannot be followed: %s", pratique.Clip(err.Error()))
			}
			if n, err := strconv.Atoi(values.Get("n")); values.Has("n") && (err != nil || n < 1) {
				values.Set("n", strconv.Itoa(pageTags)) // GHCR's links ask for pages without tags
			}
			return values.Encode(), nil // encoded again, so that only a query gets into the request
		}
	}
	return "", nil
}

// Digest returns the digest that a tag names now. For a reference without a tag it checks that the
// digest still exists, and for a digest of another algorithm it returns the sha256 digest. The
// error is NotFound if there is none.
func (c *Client) Digest(ctx context.Context, ref pratique.ImageRef) (pratique.Digest, error) {
	d, _, err := c.digest(ctx, ref, pratique.Digest{}, nil)
	return d, err
}

// DigestIfChanged is Digest with the previously known digest, and reports whether it changed. The
// request is conditional, which is cheaper for most registries, unless known is zero. If the
// registry does not return digests, a second request reads the manifest. Requests are not retried;
// the error has a [Throttled] if the registry said how long to wait. spend is called before each
// request, for a budget; if it fails, no request is sent.
func (c *Client) DigestIfChanged(ctx context.Context, ref pratique.ImageRef, known pratique.Digest,
	spend func(context.Context) error) (
	d pratique.Digest, changed bool, err error) {
	return c.digest(ctx, ref, known, spend)
}

// digest does not retry if there is a budget.
func (c *Client) digest(ctx context.Context, ref pratique.ImageRef, known pratique.Digest,
	spend func(context.Context) error) (
	pratique.Digest, bool, error) {
	const op = "look up tag"
	if err := ref.Validate(); err != nil {
		return pratique.Digest{}, false, pratique.Wrap(pratique.Invalid, op,
			pratique.Clip(ref.String()), err)
	}
	t, err := c.target(ref.Repository)
	if err != nil {
		return pratique.Digest{}, false, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
	}
	q := apiRequest{method: http.MethodHead, kind: "manifests", id: ref.Tag, noRetry: spend != nil}
	var want pratique.ContentID
	if ref.Tag == "" || !ref.Other.IsZero() {
		want = ref.ContentID()
		q.id = want.String()
	}
	if !known.IsZero() {
		q.ifNoneMatch = fmt.Sprintf("%q", known)
	}
	if spend == nil {
		spend = func(context.Context) error { return nil }
	}
	var d pratique.Digest
	if ref.Other.IsZero() {
		d, err = c.headDigest(ctx, t, q, known, want, spend)
	} else { // only the bytes have the sha256 digest
		d, err = c.getDigest(ctx, t, q, want, spend)
	}
	return d, err == nil && d != known, pratique.Wrap(pratique.Unknown, op, ref.String(), err)
}

func (c *Client) headDigest(ctx context.Context, t target, q apiRequest, known pratique.Digest,
	want pratique.ContentID,
	spend func(context.Context) error) (pratique.Digest, error) {
	if err := spend(ctx); err != nil {
		return pratique.Digest{}, err
	}
	resp, err := c.do(ctx, t, q)
	if kind := pratique.KindOf(err); kind == pratique.NotFound || kind == pratique.Invalid {
		// Nexus and some proxies answer HEAD with 404.
		return c.getDigest(ctx, t, q, want, spend)
	}
	if err != nil {
		return pratique.Digest{}, err
	}
	_ = resp.Body.Close() // the answer to HEAD has none
	// A sha512 digest does not tell the sha256 digest.
	if named := strings.TrimSpace(resp.Header.Get("Docker-Content-Digest")); named != "" &&
		!strings.HasPrefix(named, "sha512:") {
		d, err := pratique.ParseDigest(named)
		return d, pratique.Wrap(pratique.Invalid, "read digest", "", err)
	}
	if resp.StatusCode == http.StatusNotModified {
		return known, nil
	}
	return c.getDigest(ctx, t, q, want, spend) // the header is optional
}

// getDigest reads the manifest. Its bytes must have the digest want, unless that is zero.
func (c *Client) getDigest(ctx context.Context, t target, q apiRequest, want pratique.ContentID,
	spend func(context.Context) error) (
	pratique.Digest, error) {
	if err := spend(ctx); err != nil {
		return pratique.Digest{}, err
	}
	q.method, q.ifNoneMatch = http.MethodGet, ""
	doc, err := c.readManifest(ctx, t, q, want)
	if err != nil {
		return pratique.Digest{}, err
	}
	return pratique.DigestOf(doc.raw), nil
}
