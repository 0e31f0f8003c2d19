package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
)

var update = flag.Bool("update", false, "rewrite the golden OpenAPI document")

func TestImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	s := subject("a")
	w.facts(seen("e1", "1.0", s))
	w.facts(w.inspected(s)...)
	w.facts(evaluated("e1", s, pratique.Deny),
		pratique.Fact{Subject: s, Body: &pratique.Attested{VSA: digest("vsa"),
			Attestations: []pratique.Attestation{{PredicateType: pratique.PredicateVSA,
				Signer: pratique.Key{ID: "k"}, Format: pratique.FormatCosignTags}}}},
		pratique.Fact{Subject: s, Body: &pratique.Commit{Target: "prod", ID: "c0ffee"}},
		settled("e1", s, pratique.StateDenied))

	var byDigest, byTag, byRefDigest api.Image
	w.get("/api/v1/images/"+s.Digest.String(), &byDigest)
	res := w.get("/api/v1/images?ref="+url.QueryEscape(repo.String()+":1.0"), &byTag)
	w.get("/api/v1/images?ref="+url.QueryEscape(s.String()), &byRefDigest)
	if byDigest.Image != s.String() || byTag.Image != s.String() || byRefDigest.Image != s.String() {
		t.Errorf("%q %q %q", byDigest.Image, byTag.Image, byRefDigest.Image)
	}
	if at := res.Header.Get("Content-Location"); at != byDigest.Links.Self {
		t.Errorf("Content-Location %q, want %q", at, byDigest.Links.Self)
	}
	i := byDigest
	if i.State != "denied" || i.Outcome != pratique.Deny ||
		i.Verdict.Reasons[0].Finding != "CVE-1" || i.Counts[pratique.SeverityHigh] != 2 ||
		i.Database.AgeSeconds != 7200 || i.Packages != 12 || i.Fixable != 1 ||
		i.VSA != digest("vsa") || len(i.Attestations) != 1 ||
		i.Deployments[0].ID != "c0ffee" || i.Detail != "that is the end" ||
		i.Config.User != "1000" || len(i.Tags) != 1 || !i.Tags[0].Current {
		t.Errorf("%+v", i)
	}
	if len(i.Facts) != 7 || i.Facts[0].By != "test@host-1" || i.Facts[0].At.IsZero() ||
		i.Facts[6].Kind != pratique.FactCompleted {
		t.Errorf("facts %+v", i.Facts)
	}
	var facts api.FactList
	w.get(i.Links.Facts, &facts)
	if len(facts.Items) != 7 || facts.Total != 7 {
		t.Errorf("%d of %d facts", len(facts.Items), facts.Total)
	}
	if got := w.get(i.Links.Self, &byTag).Header; got.Get("X-Content-Type-Options") != "nosniff" ||
		got.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got)
	}
}

func TestFactsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	var many []pratique.Entry
	for i := range 3 * pratique.MaxHistory {
		many = append(many, pratique.Entry{Seq: uint64(i + 1), Fact: evaluated("", subject("a"),
			pratique.Allow)})
	}
	if err := w.ix.Apply(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	var facts api.FactList
	w.get("/api/v1/images/"+subject("a").Digest.String()+"/facts", &facts)
	if n := len(facts.Items); n != pratique.MaxHistory || facts.Total != len(many) ||
		facts.Items[n-1].Seq != uint64(len(many)) {
		t.Errorf("%d of %d facts", n, facts.Total)
	}
}

func TestIndexImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	parent, amd, arm := subject("index"), subject("amd"), subject("arm")
	w.facts(seen("e1", "1.0", parent, pratique.Child{Digest: amd.Digest, Platform: "linux/amd64"},
		pratique.Child{Digest: arm.Digest, Platform: "linux/arm64"}))
	w.facts(w.inspected(amd)...)
	w.facts(evaluated("e1", amd, pratique.Deny), evaluated("e1", parent, pratique.Deny))
	var i, child api.Image
	w.get("/api/v1/images/"+parent.Digest.String(), &i)
	if len(i.Children) != 2 || i.Children[0].Outcome != pratique.Deny ||
		i.Children[0].Counts[pratique.SeverityHigh] != 2 || i.Children[1].Outcome != "" ||
		i.Database == nil {
		t.Errorf("%+v", i)
	}
	w.get(i.Children[0].Links.Self, &child)
	if len(child.Parents) != 1 || child.Parents[0] != parent.String() {
		t.Errorf("parents %v", child.Parents)
	}
	w.wantProblem(404, "linux/arm64 "+arm.Digest.String(), "GET", "/api/v1/images/"+
		parent.Digest.String()+"/sbom", readToken, "")
	w.wantProblem(404, "is an index", "GET", "/api/v1/images/"+parent.Digest.String()+"/report",
		readToken, "")
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	s := subject("a")
	w.facts(w.inspected(s)...)
	base := "/api/v1/images/" + s.Digest.String()
	for path, want := range map[string]struct{ content, mediaType string }{
		"/sbom":                  {string(spdx), pratique.MediaTypeSPDX},
		"/sbom?format=spdx":      {string(spdx), pratique.MediaTypeSPDX},
		"/sbom?format=cyclonedx": {`{"bomFormat":"CycloneDX"}`, pratique.MediaTypeCycloneDX},
		"/report":                {string(reported), pratique.MediaTypeReport},
		"/extras":                {string(beside), pratique.MediaTypeExtras},
	} {
		res, raw := w.ask("GET", base+path, readToken, "")
		etag := `"` + pratique.DigestOf([]byte(want.content)).String() + `"`
		sent := etag
		if path == "/report" {
			sent = "W/" + etag
		}
		if res.StatusCode != 200 || string(raw) != want.content ||
			res.Header.Get("Content-Type") != want.mediaType || res.Header.Get("ETag") != sent {
			t.Errorf("%s: %d %v %q", path, res.StatusCode, res.Header, raw)
		}
		for _, header := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			if res, raw := w.ask("GET", base+path, readToken, "", "If-None-Match",
				header); res.StatusCode != 304 || len(raw) > 0 || res.Header.Get("ETag") != sent {
				t.Errorf("%s: If-None-Match %s: %d %q", path, header, res.StatusCode, raw)
			}
		}
		if res, _ := w.ask("HEAD", base+path, readToken, ""); res.StatusCode != 200 ||
			res.Header.Get("ETag") != sent {
			t.Errorf("HEAD %s: %d", path, res.StatusCode)
		}
	}
	w.wantProblem(422, "format", "GET", base+"/sbom?format=xml", readToken, "")

	w.blobs.mu.Lock()
	clear(w.blobs.all)
	w.blobs.mu.Unlock()
	w.wantProblem(500, "the log of the service has the cause", "GET", base+"/sbom", readToken, "")
	if len(w.errors) != 1 || !strings.Contains(w.errors[0].Error(), "secret/path") {
		t.Errorf("the cause went nowhere: %v", w.errors)
	}
	bare := subject("bare")
	w.facts(evaluated("", bare, pratique.Allow))
	w.wantProblem(404, "there is no SBOM", "GET", "/api/v1/images/"+bare.Digest.String()+"/sbom",
		readToken, "")
	w.wantProblem(404, "there is no report", "GET", "/api/v1/images/"+bare.Digest.String()+
		"/report", readToken, "")
	w.wantProblem(404, "there is no report on secrets", "GET", "/api/v1/images/"+
		bare.Digest.String()+"/extras", readToken, "")

	var i api.Image
	w.get(base, &i)
	if i.Extras == nil || i.Extras.Secrets != 3 || len(i.Extras.Kinds) != 1 || i.Links.Extras == "" {
		t.Errorf("extras %+v, link %q", i.Extras, i.Links.Extras)
	}
	plain := subject("plain")
	w.facts(pratique.Fact{Subject: plain, Body: &pratique.Inspected{Inventory: digest("inventory")}})
	w.wantProblem(404, "inspect.scanners", "GET", "/api/v1/images/"+plain.Digest.String()+"/extras",
		readToken, "")
	i = api.Image{}
	w.get("/api/v1/images/"+plain.Digest.String(), &i)
	if i.Extras != nil || i.Links.Extras != "" {
		t.Errorf("extras %+v, link %q", i.Extras, i.Links.Extras)
	}
}

func TestDigestInSeveralRepositories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	a, b := subject("a"), pratique.Subject{Repository: other, Digest: digest("a")}
	w.facts(evaluated("", a, pratique.Allow), evaluated("", b, pratique.Deny))
	path := "/api/v1/images/" + a.Digest.String()
	_, p := w.wantProblem(409, "?repository=", "GET", path, readToken, "")
	if p.Type != api.ProblemType+"conflict" || !strings.Contains(p.Detail, other.String()) {
		t.Errorf("%+v", p)
	}
	var i api.Image
	w.get(path+"?repository="+url.QueryEscape(other.String()), &i)
	if i.Repository != other.String() || i.Outcome != pratique.Deny {
		t.Errorf("%+v", i)
	}
	w.wantProblem(404, "is not known in", "GET", path+"?repository=registry.example/no", readToken, "")
}

func TestProblems(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	unknown := digest("unknown").String()
	for _, tt := range []struct {
		status             int
		want, method, path string
	}{
		{404, "not-found", "GET", "/api/v1/images/" + unknown},
		{404, "not-found", "GET", "/api/v1/images/" + unknown + "/sbom"},
		{404, "not-found", "GET", "/api/v1/images/" + unknown + "/report"},
		{404, "not-found", "GET", "/api/v1/images/" + unknown + "/facts"},
		{404, "not-found", "GET", "/api/v1/images?ref=registry.example/team/app:no"},
		{404, "not-found", "GET", "/api/v1/submissions/no"},
		{404, "there is nothing", "GET", "/api/v1/nothing"},
		{404, "there is nothing", "GET", "/api/"},
		{404, "there is nothing", "GET", "/elsewhere"},
		{405, "GET, HEAD", "POST", "/api/v1/images"},
		{405, "GET, HEAD", "DELETE", "/api/v1/images/" + unknown},
		{405, "POST", "GET", "/api/v1/submissions"},
		{405, "GET, HEAD", "POST", "/openapi.json"},
		{414, "too long", "GET", "/api/v1/images?cursor=" + strings.Repeat("x", 5000)},
		{422, "invalid", "GET", "/api/v1/images/sha256:xyz"},
		{422, "invalid", "GET", "/api/v1/images/latest"},
		{422, "invalid", "GET", "/api/v1/images/" + unknown + "?repository=UPPER"},
		{422, "invalid", "GET", "/api/v1/images?ref=app"},
		{422, "invalid", "GET", "/api/v1/images?repository=app"},
		{422, "leave the other", "GET", "/api/v1/images?ref=registry.example/a:b&outcome=deny"},
		{422, "limit", "GET", "/api/v1/images?limit=0"},
		{422, "limit", "GET", "/api/v1/images?limit=201"},
		{422, "limit", "GET", "/api/v1/images?limit=many"},
		{422, "cursor", "GET", "/api/v1/images?cursor=zzz"},
		{422, "state", "GET", "/api/v1/images?state=odd"},
		{422, "outcome", "GET", "/api/v1/images?outcome=maybe"},
		{422, "unknown query parameter", "GET", "/api/v1/images?repo=x"},
		{422, "wait", "GET", "/api/v1/submissions/no?wait=61"},
	} {
		res, _ := w.wantProblem(tt.status, tt.want, tt.method, tt.path, submitToken, "")
		if tt.status == 405 && res.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", tt.method, tt.path)
		}
	}
	w.describe = errors.New("no connection to secret/path")
	w.wantProblem(500, "unknown", "GET", "/api/v1/status", readToken, "")
	w.describe = pratique.Errorf(pratique.Unavailable, "describe", "secret/path does not answer")
	w.wantProblem(503, "unavailable", "GET", "/api/v1/status", readToken, "")
	if err := w.ix.Close(); err != nil {
		t.Fatal(err)
	}
	w.wantProblem(503, "unavailable", "GET", "/api/v1/images", readToken, "")
	w.wantProblem(503, "unavailable", "GET", "/api/v1/images/"+unknown, readToken, "")
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	closed, public := newWorld(t, tokens()),
		newWorld(t, api.Auth{Tokens: tokens().Tokens, AnonymousRead: true})
	nobody := newWorld(t,
		api.Auth{Tokens: []api.Token{{Name: "empty", Submit: true},
			{Name: "short", Secret: "x", Submit: true}}})
	spoilt := newWorld(t,
		api.Auth{Tokens: append(tokens().Tokens, api.Token{Name: "short", Secret: "x"}),
			AnonymousRead: true})
	const submission = `{"image":"registry.example/a:b"}`
	for name, tt := range map[string]struct {
		w            *world
		method, auth string
		want         int
	}{
		"no token":                    {closed, "GET", "", 401},
		"wrong token":                 {closed, "GET", "Bearer wrong-secret-0123456789", 401},
		"wrong scheme":                {closed, "GET", "Basic " + readToken, 401},
		"no secret":                   {closed, "GET", "Bearer", 401},
		"prefix of a secret":          {closed, "GET", "Bearer " + readToken[:20], 401},
		"reads":                       {closed, "GET", "Bearer " + readToken, 200},
		"scheme in lower case":        {closed, "GET", "bearer " + readToken, 200},
		"anonymous":                   {public, "GET", "", 200},
		"wrong token, where no need":  {public, "GET", "Bearer wrong-secret-0123456789", 401},
		"anonymous submission":        {public, "POST", "", 401},
		"submission by a reader":      {public, "POST", "Bearer " + readToken, 403},
		"submission":                  {public, "POST", "Bearer " + submitToken, 202},
		"empty secret is nobody's":    {nobody, "POST", "Bearer ", 401},
		"short secret is nobody's":    {nobody, "GET", "Bearer x", 401},
		"good beside a short one":     {spoilt, "GET", "Bearer " + readToken, 401},
		"anonymous, with a short one": {spoilt, "GET", "", 401},
		"zero configuration is shut":  {newWorld(t, api.Auth{}), "GET", "", 401},
		"unknown path, without token": {closed, "PUT", "", 401},
	} {
		path, body := "/api/v1/status", ""
		if tt.method == "POST" {
			path, body = "/api/v1/submissions", submission
		}
		header := []string{}
		if tt.auth != "" {
			header = []string{"Authorization", tt.auth}
		}
		if tt.want >= 400 {
			res, _ := tt.w.wantProblem(tt.want, "token", tt.method, path, "", body, header...)
			if (res.Header.Get("WWW-Authenticate") != "") != (tt.want == 401) {
				t.Errorf("%s: WWW-Authenticate %q", name, res.Header.Get("WWW-Authenticate"))
			}
			continue
		}
		if res, raw := tt.w.ask(tt.method, path, "", body, header...); res.StatusCode != tt.want {
			t.Errorf("%s: %d %s, want %d", name, res.StatusCode, raw, tt.want)
		}
	}
	for want, auth := range map[string]api.Auth{
		"no name": {Tokens: []api.Token{{Secret: readToken}}},
		"shorter": {Tokens: []api.Token{{Name: "a", Secret: "x"}}},
		"two tokens": {Tokens: []api.Token{{Name: "a", Secret: readToken},
			{Name: "a", Secret: submitToken}}},
		"another one": {Tokens: []api.Token{{Name: "a", Secret: readToken},
			{Name: "b", Secret: readToken}}},
	} {
		if err := auth.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := tokens().Validate(); err != nil {
		t.Error(err)
	}
}

func TestStatusEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	w.facts(evaluated("", subject("a"), pratique.Allow))
	var s api.ServiceStatus
	w.get("/api/v1/status", &s)
	if s.Version != "v1.2.3" || s.Profiles[0].Digest != digest("policy") ||
		s.Database.Digest != database.Digest || s.Database.AgeSeconds != 7200 || s.IndexPosition != 1 {
		t.Errorf("%+v", s)
	}
	_, raw := w.ask("GET", "/api/v1/status", readToken, "")
	want := `"queues":[{"stage":"inspect","priority":"push","total":3,"running":1,"waiting":2,"oldest":"2026-08-01T11:58:30Z"},` +
		`{"stage":"deploy","priority":"rescan","total":0,"running":0,"waiting":0}]`
	if !strings.Contains(string(raw), want) {
		t.Errorf("%s, want %s", raw, want)
	}
	w.database = nil
	if _, raw := w.ask("GET", "/api/v1/status", readToken, ""); !strings.Contains(string(raw),
		`"database":null`) {
		t.Errorf("without a database: %s", raw)
	}
}

// TestProbes: anybody may ask them, and they say in plain words what is waited for.
func TestProbes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	for wait, want := range map[string]int{"": 200, "waiting for the vulnerability database": 503} {
		w.notReady = wait
		if res, raw := w.ask("GET", "/healthz", "", ""); res.StatusCode != 200 ||
			string(raw) != "alive\n" {
			t.Errorf("healthz: %d %s", res.StatusCode, raw)
		}
		res, raw := w.ask("GET", "/readyz", "", "")
		if res.StatusCode != want || want == 503 && string(raw) != wait+"\n" ||
			!strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("readyz: %d %s", res.StatusCode, raw)
		}
	}
	if res, _ := w.ask("POST", "/readyz", "", ""); res.StatusCode != 405 {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

func TestStatusOfErrors(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		nil:                      200,
		errors.New("x"):          500,
		context.Canceled:         503,
		context.DeadlineExceeded: 503,
		pratique.Wrap(pratique.Unknown, "op", "s", pratique.Errorf(pratique.NotFound, "op", "x")): 404,
	} {
		if got := api.Status(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	for kind, want := range map[pratique.Kind]int{
		pratique.Unknown: 500, pratique.Invalid: 422, pratique.NotFound: 404, pratique.Denied: 403,
		pratique.Conflict: 409, pratique.Exhausted: 413,
		pratique.RateLimited: 429, pratique.Unavailable: 503, pratique.Corrupt: 500,
		pratique.Unverified: 500, pratique.Stale: 503, pratique.Internal: 500,
	} {
		if got := api.Status(fmt.Errorf("around: %w", pratique.Errorf(kind, "op", "x"))); got != want {
			t.Errorf("%v: %d, want %d", kind, got, want)
		}
	}
}

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tokens())
	res, raw := w.ask("GET", "/openapi.json", "", "")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/openapi+json" {
		t.Fatal(res.StatusCode, res.Header)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, pretty.Bytes()) {
		t.Error("the OpenAPI document has changed: look at the difference after go test ./attest/api -update")
	}
	if res, raw := w.ask("GET", "/openapi.yaml", "", ""); res.StatusCode != 200 ||
		!bytes.Contains(raw, []byte("openapi: 3.1.0")) {
		t.Errorf("YAML: %d %.100s", res.StatusCode, raw)
	}
}
