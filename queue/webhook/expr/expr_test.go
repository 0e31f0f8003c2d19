package expr

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pratique-dev/pratique"
)

// ecr is an event of Amazon ECR as EventBridge sends it.
const ecr = `{"version":"0","id":"13cde686-328b-6117-af20-0e5566167482","detail-type":"ECR Image Action",
"source":"aws.ecr","account":"123456789012","time":"2019-11-16T01:54:34Z","region":"us-west-2","resources":[],
"detail":{"result":"SUCCESS","repository-name":"my/app","image-digest":"sha256:7f5b","action-type":"PUSH","image-tag":"1.0"}}`

var ecrConfig = Config{
	When:       `body["detail-type"] == "ECR Image Action" && item.detail["action-type"] == "PUSH"`,
	Host:       `body.account + ".dkr.ecr." + body.region + ".amazonaws.com"`,
	Repository: `item.detail["repository-name"]`,
	Tag:        `item.detail[?"image-tag"].orValue("")`,
	Digest:     `item.detail["image-digest"]`,
	ID:         `body.id`,
	Time:       `body.time`,
}

// gitea has the owner apart, an escaped name, and a version that is a tag or a digest.
const gitea = `{"action":"created","repository":null,"package":{"id":41,"owner":{"login":"Acme"},"creator":{"login":"ci"},
"type":"container","name":"team/app","version":"1.4.2","created_at":"2026-05-01T10:00:00Z"},"sender":{"login":"ci"}}`

var giteaConfig = Config{
	When:       `item.action == "created" && item.package.type == "container"`,
	Repository: `item.package.owner.login.lowerAscii() + "/" + item.package.name`,
	Tag:        `item.package.version.startsWith("sha256:") ? "" : item.package.version`,
	Digest:     `item.package.version.startsWith("sha256:") ? item.package.version : ""`,
	Actor:      `item.sender.login`,
	ID:         `header["x-gitea-delivery"]`,
	Time:       `timestamp(item.package.created_at)`,
}

// odd has several images in one string, times as numbers, and lists in lists.
const odd = `{"meta":{"at":1772593567.25},"batches":[{"images":["r.test/a/b:1@sha256:aa","r.test/c:2@sha256:bb"]},{"images":[]},{"images":["r.test/d:3@sha256:cc"]}]}`

func TestEval(t *testing.T) {
	t.Parallel()
	header := http.Header{"X-Gitea-Delivery": {"d-1", "d-2"}, "Authorization": {"Bearer secret"}}
	for name, test := range map[string]struct {
		config Config
		body   string
		want   []Item
	}{
		"ECR": {ecrConfig, ecr, []Item{{
			Wanted: true, Host: "123456789012.dkr.ecr.us-west-2.amazonaws.com",
			Repository: "my/app", Tag: "1.0",
			Digest: "sha256:7f5b", ID: "13cde686-328b-6117-af20-0e5566167482",
			Time: time.Date(2019, 11, 16, 1, 54, 34, 0, time.UTC),
		}}},
		"ECR without a tag": {ecrConfig, strings.Replace(ecr, `"image-tag"`, `"other"`, 1), []Item{{
			Wanted: true, Host: "123456789012.dkr.ecr.us-west-2.amazonaws.com", Repository: "my/app",
			Digest: "sha256:7f5b", ID: "13cde686-328b-6117-af20-0e5566167482",
			Time: time.Date(2019, 11, 16, 1, 54, 34, 0, time.UTC),
		}}},
		"ECR scan":   {ecrConfig, `{"detail-type":"ECR Image Scan","detail":{}}`, []Item{{}}},
		"ECR delete": {ecrConfig, strings.Replace(ecr, "PUSH", "DELETE", 1), []Item{{}}},
		"Gitea": {giteaConfig, gitea, []Item{{
			Wanted: true, Repository: "acme/team/app", Tag: "1.4.2", Actor: "ci", ID: "d-1",
			Time: time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC),
		}}},
		"Gitea by digest": {giteaConfig, strings.Replace(gitea, "1.4.2", "sha256:aa", 1), []Item{{
			Wanted: true, Repository: "acme/team/app", Digest: "sha256:aa", Actor: "ci", ID: "d-1",
			Time: time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC),
		}}},
		"odd": {Config{
			Events:     `body.batches.map(b, b.images).map(l, l.size() > 0, l)[0] + body.batches[2].images`,
			Host:       `item.split("/")[0]`,
			Repository: `item.substring(item.indexOf("/") + 1, item.lastIndexOf(":", item.indexOf("@")))`,
			Tag:        `item.split("@")[0].split(":")[1]`,
			Digest:     `item.split("@")[1]`,
			Time:       `body.meta.at`,
		}, odd, []Item{
			{Wanted: true, Host: "r.test", Repository: "a/b", Tag: "1", Digest: "sha256:aa",
				Time: time.Date(2026, 3, 4, 3, 6, 7, 250e6, time.UTC)},
			{Wanted: true, Host: "r.test", Repository: "c", Tag: "2", Digest: "sha256:bb",
				Time: time.Date(2026, 3, 4, 3, 6, 7, 250e6, time.UTC)},
			{Wanted: true, Host: "r.test", Repository: "d", Tag: "3", Digest: "sha256:cc",
				Time: time.Date(2026, 3, 4, 3, 6, 7, 250e6, time.UTC)},
		}},
		"optional and null fields": {Config{
			Repository: `item.?name`, Tag: `"t"`, Digest: `item.digest`, Actor: `item.?by`,
			Time: `item.?at`,
		}, `{"name":"app","digest":null}`, []Item{{Wanted: true, Repository: "app", Tag: "t"}}},
		"replaced": {Config{
			Repository: `item.replace("_", "/", 1)`, Tag: `item.replace("_", "").upperAscii()`,
		}, `"a_b_c"`, []Item{{Wanted: true, Repository: "a/b_c", Tag: "ABC"}}},
		"no credentials in header": {Config{
			Repository: `"authorization" in header ? "seen" : "hidden"`, Tag: `"t"`,
		}, `{}`, []Item{{Wanted: true, Repository: "hidden", Tag: "t"}}},
		"no events": {Config{Events: `body`, Repository: `item`, Tag: `item`}, `[]`, []Item{}},
	} {
		p, err := Compile(test.config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := p.Eval(header, decode(t, test.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestCompileNamesFieldAndPosition(t *testing.T) {
	t.Parallel()
	good := Config{Repository: `"r"`, Tag: `"t"`}
	for name, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no repository":     {func(c *Config) { c.Repository = "" }, []string{"repository is required"}},
		"no tag and digest": {func(c *Config) { c.Tag = "" }, []string{"one of tag and digest"}},
		"syntax":            {func(c *Config) { c.Tag = `item.` }, []string{"tag: ", "1:6"}},
		"unknown variable": {func(c *Config) {
			c.Actor = `boddy.x`
		}, []string{"actor: ", "1:1", "boddy"}},
		"item in events": {func(c *Config) {
			c.Events = `[item]`
		}, []string{"events: ", "1:2", "item"}},
		"unknown function": {func(c *Config) {
			c.ID = `"%s".format([body.id])`
		}, []string{"id: ", "format"}},
		"join":            {func(c *Config) { c.ID = `["a"].join()` }, []string{"id: ", "join"}},
		"number":          {func(c *Config) { c.MediaType = `1` }, []string{"mediaType: ", "int"}},
		"bool for list":   {func(c *Config) { c.Events = `true` }, []string{"events: ", "bool"}},
		"string for bool": {func(c *Config) { c.When = `"true"` }, []string{"when: ", "string"}},
		"list for time":   {func(c *Config) { c.Time = `[1]` }, []string{"time: ", "list"}},
		"header, unsigned": {func(c *Config) {
			c.BodyOnly, c.Time = true, `header["x-time"]`
		}, []string{"time: ", "header", "only id may use header"}},
		"events, unsigned": {func(c *Config) {
			c.BodyOnly, c.Events = true, `[header]`
		}, []string{"events: ", "header", "only id may use header"}},
		"too long": {func(c *Config) {
			c.Host = `"` + strings.Repeat("a", maxSource) + `"`
		}, []string{"host: ", "size"}},
		"too deep": {func(c *Config) {
			c.Host = strings.Repeat("(", 1000) + `"a"` + strings.Repeat(")", 1000)
		}, []string{"host: "}},
	} {
		c := good
		test.change(&c)
		_, err := Compile(c)
		if pratique.KindOf(err) != pratique.Invalid {
			t.Errorf("%s: got %v, want an Invalid error", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in: %v", name, want, err)
			}
		}
	}
}

func TestEvalRefusesPayloadThatIsNotAsExpected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config Config
		body   string
		want   string
	}{
		"field is missing": {Config{Repository: `item.name`, Tag: `item.tag`}, `{"name":"a"}`,
			"item 0: tag: no such key: tag"},
		"body is a list": {Config{Repository: `item.name`, Tag: `"t"`}, `[]`,
			"item 0: repository: "},
		"body is null": {Config{Repository: `item.name`, Tag: `"t"`}, `null`,
			"item 0: repository: "},
		"number": {Config{Repository: `item.id`, Tag: `"t"`}, `{"id":41}`,
			"repository: gives a value of type double"},
		"empty repository": {Config{Repository: `item.name`, Tag: `"t"`}, `{"name":""}`,
			"repository: is empty"},
		"neither of two": {Config{Repository: `"r"`, Tag: `item.?t`, Digest: `item.?d`}, `{}`,
			"both are empty"},
		"events no list": {Config{Events: `body.events`, Repository: `item`, Tag: `item`},
			`{"events":{}}`, "events: gives a value of type map"},
		"events null": {Config{Events: `body.events`, Repository: `item`, Tag: `item`},
			`{"events":null}`, "events: gives nothing"},
		"when no bool": {Config{When: `item.ok`, Repository: `"r"`, Tag: `"t"`},
			`{"ok":"yes"}`, "when: gives a value of type string"},
		"when nothing": {Config{When: `item.?ok`, Repository: `"r"`, Tag: `"t"`}, `{}`,
			"when: gives nothing"},
		"one bad of three": {Config{Events: `body`, Repository: `item.n`, Tag: `"t"`},
			`[{"n":"a"},{"n":"b"},{}]`, "item 2: repository: "},
		"header is missing": {Config{Repository: `"r"`, Tag: `header["x-tag"]`}, `{}`,
			"tag: no such key: x-tag"},
		"time is nonsense": {Config{Repository: `"r"`, Tag: `"t"`, Time: `item`}, `"yesterday"`,
			"time: "},
		"time is negative": {Config{Repository: `"r"`, Tag: `"t"`, Time: `item`}, `-1`, "time: "},
		"time in millisecond": {Config{Repository: `"r"`, Tag: `"t"`, Time: `item`},
			`1772593567000`, "time: "},
		"time is not finite": {Config{Repository: `"r"`, Tag: `"t"`, Time: `double("NaN")`}, `1`,
			"time: "},
		"time is a bool": {Config{Repository: `"r"`, Tag: `"t"`, Time: `item`}, `true`,
			"time: gives a value of type bool"},
		"replace in a number": {Config{Repository: `item.replace("a", "b")`, Tag: `"t"`}, `1`,
			"repository: "},
		"replace by nothing": {Config{Repository: `item.a.replace("a", item.b)`, Tag: `"t"`},
			`{"a":"a"}`, "repository: no such key: b"},
	} {
		p, err := Compile(test.config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		items, err := p.Eval(http.Header{}, decode(t, test.body))
		if pratique.KindOf(err) != pratique.Invalid || !strings.Contains(err.Error(), test.want) ||
			items != nil {
			t.Errorf("%s: got %v, %v; want an Invalid error with %q", name, items, err, test.want)
		}
	}
}

func decode(t testing.TB, body string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// An id only tells repeats apart, so that of a sender that signs its bodies may be in a header.
func TestIDMayBeInAnUnsignedHeader(t *testing.T) {
	t.Parallel()
	p, err := Compile(Config{Repository: `"r"`, Tag: `"t"`, ID: `header["x-id"]`, BodyOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	items, err := p.Eval(http.Header{"X-Id": {"7"}}, map[string]any{})
	if err != nil || len(items) != 1 || items[0].ID != "7" {
		t.Errorf("%+v, %v", items, err)
	}
}
