package webhook_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/queue/webhook"
)

// listed makes a list of two CloudEvents, that of the sample and another.
func listed(other string) func(string) string {
	return func(good string) string { return "[" + other + "," + good + "]" }
}

func replaced(from, to string) func(string) string {
	return func(good string) string { return strings.Replace(good, from, to, 1) }
}

func TestOneBadEventDoesNotLoseTheOthers(t *testing.T) {
	t.Parallel()
	const twice = `{"id":"bad","a":1,"a":2}`
	oneImage := `{"specversion":"1.0","id":"bad","source":"s","type":"x.image.push","data":{"repository":""}}`
	for name, c := range map[string]struct {
		path   string
		change func(good string) string
		id     string
	}{
		"distribution, type": {"distribution/push.json",
			replaced(`"events":[`, `"events":[{"id":"bad","action":7},`), "bad"},
		"distribution, names": {"distribution/push.json", replaced(`"events":[`, `"events":[`+
			twice+`,`), "bad"},
		"distribution, id behind": {"distribution/push.json",
			replaced(`"events":[`, `"events":[{"target":[],"id":"bad"},`), "bad"},
		"distribution, number": {"distribution/push.json", replaced(`"events":[`, `"events":[1,`), ""},
		"eventgrid, data": {"eventgrid/grid.http",
			replaced(`[`, `[{"id":"bad","eventType":"ImagePushed","data":{"action":7}},`), "bad"},
		"eventgrid, names":       {"eventgrid/grid.http", replaced(`[`, `[`+twice+`,`), "bad"},
		"eventgrid, cloudevents": {"eventgrid/cloudevent.http", listed(`{"id":"bad"}`), "bad"},
		"cloudevents, data":      {"cloudevents/structured-plain-type.json", listed(oneImage), "bad"},
		"cloudevents, names":     {"cloudevents/structured-plain-type.json", listed(twice), "bad"},
		"cloudevents, null":      {"cloudevents/structured-plain-type.json", listed("null"), ""},
		"zot, data": {"zot/nats.json",
			listed(`{"specversion":"1.0","id":"bad","source":"s","type":"x.image.updated","data":{"name":"a"}}`), "bad"},
		"zot, names": {"zot/nats.json", listed(twice), "bad"},
		"cdevents, data": {"cdevents/published-structured-plain-type.json",
			listed(`{"specversion":"1.0","id":"bad","source":"s","type":"dev.cdevents.x","data":{}}`), "bad"},
		"cdevents, names": {"cdevents/published-structured-plain-type.json", listed(twice),
			"bad"},
		"harbor": {"harbor/push.json",
			replaced(`"resources": [`, `"resources": [{"digest":7},`), ""},
		"harbor, names": {"harbor/push.json", replaced(`"resources": [`, `"resources": [`+
			twice+`,`), ""},
		"harbor, cloudevents": {"harbor/cloudevents-push.http",
			replaced(`"resources": [`, `"resources": [{"resource_url":"x"},`), "*"},
		"quay": {"quay/push.json",
			replaced(`"updated_tags": [`, `"updated_tags": [7,`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := readSample(t, "testdata/"+c.path)
			good := string(one.body)
			one.body = []byte(c.change(good))
			if string(one.body) == good {
				t.Fatal("the body was not changed")
			}
			var s setup
			readJSON(t, filepath.Join("testdata", filepath.Dir(c.path), "receiver.json"), &s)
			f := s.serve(t, webhook.Format{Name: filepath.Dir(c.path)})
			status, _, answer := s.request(t, f, one, sampleSecret)
			if status != http.StatusAccepted || len(f.events) != 1 || len(f.drops) != 1 {
				t.Fatalf("status %d %s, events %v, drops %v", status, answer, f.events, f.drops)
			}
			d := f.drops[0]
			if d.Reason != "unreadable" || d.Detail == "" || c.id != "*" && d.SenderID != c.id {
				t.Errorf("%+v", d)
			}
		})
	}
}

// What is wrong outside of the elements could be read as another envelope by somebody else.
func TestWrongEnvelopesAreRefusedWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ format, body string }{
		"two lists":          {"distribution", `{"events":[],"events":[]}`},
		"two lists, escaped": {"distribution", `{"events":[],"\u0065vents":[]}`},
		"names beside":       {"distribution", `{"events":[],"a":{"b":1,"b":2}}`},
		"names before":       {"distribution", `{"a":{"b":1,"b":2},"events":[]}`},
		"another body":       {"distribution", `{"events":[]} {"events":[]}`},
		"in a list":          {"distribution", `["events",[]]`},
		"no list":            {"distribution", `{"events":{}}`},
		"bytes in an event":  {"distribution", "{\"events\":[{\"id\":\"\xff\"},{}]}"},
		"deep in an event": {"distribution", `{"events":[{},` + strings.Repeat("[", 40) +
			strings.Repeat("]", 40) + `]}`},
		"too many events": {"distribution", `{"events":[` + strings.Repeat(`{},`, 20_000) + `{}]}`},
		"half an event":   {"eventgrid", `[{},{"id":`},
		"another list":    {"eventgrid", `[{}][{}]`},
		"bytes in a grid": {"eventgrid", "[{\"id\":\"\xff\"}]"},
		"deep in a batch": {"cloudevents", `[` + strings.Repeat("[", 40) +
			strings.Repeat("]", 40) + `]`},
		"two data": {"harbor",
			`{"type":"PUSH_ARTIFACT","event_data":{"resources":[{}]},"event_data":{"resources":[{}]}}`},
		"two lists of harbor": {"harbor",
			`{"type":"PUSH_ARTIFACT","event_data":{"resources":[{}],"resources":[{}]}}`},
		"harbor's other shape": {"harbor",
			`{"type":"PUSH_ARTIFACT","data":{"resources":[{"tag":"1","resource_url":"h/a:1"}]}}`},
		"two lists of quay": {"quay", `{"repository":"a","updated_tags":["1"],"updated_tags":["2"]}`},
	} {
		if all, err := webhook.Parse(c.format, http.Header{}, []byte(c.body)); err == nil {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// allocated is how many bytes are taken to read a body, those that were soon free again included.
// It must not run in parallel with anything.
func allocated(format string, h http.Header, body []byte) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := webhook.Parse(format, h, body)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

func TestBodiesDoNotGrowInMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the whole program
	const most = 64 << 20
	fill := func(begin, unit, end string, size int) []byte {
		return []byte(begin + strings.Repeat(unit, (size-len(begin)-len(end))/len(unit)) + end)
	}
	many := func(begin, unit, end string, n int) []byte {
		return []byte(begin + strings.Repeat(unit, n) + end)
	}
	zot := http.Header{"Ce-Type": {"x.image.updated"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1"},
		"Ce-Source": {"s"}}
	for name, c := range map[string]struct {
		format string
		header http.Header
		body   []byte
	}{
		"distribution":       {"distribution", nil, fill(`{"events":[`, `{},`, `{}]}`, 2<<20)},
		"distribution, most": {"distribution", nil, many(`{"events":[`, `0,`, `0]}`, 19_999)},
		"distribution, layers": {"distribution", nil,
			many(`{"events":[{"action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","references":[`,
				`{},`, `{}]}}]}`, 99_000)},
		"eventgrid":       {"eventgrid", nil, fill(`[`, `{},`, `{}]`, 2<<20)},
		"eventgrid, most": {"eventgrid", nil, many(`[`, `{},`, `{}]`, 19_999)},
		"zot":             {"zot", zot, fill(`{"name":[`, `{},`, `{}]}`, 10<<20)},
		"zot, batch":      {"zot", nil, fill(`[`, `{},`, `{}]`, 10<<20)},
		"zot, most":       {"zot", nil, many(`[`, `{},`, `{}]`, 19_999)},
	} {
		if n, err := allocated(c.format, c.header, c.body); n > most {
			t.Errorf("%s: %d MiB for %d KiB of body (%v)", name, n>>20, len(c.body)>>10, err)
		} else {
			t.Logf("%s: %d KiB for %d KiB of body", name, n>>10, len(c.body)>>10)
		}
	}
	if _, err := webhook.Decode(fill(`[`, `{},`, `{}]`, 2<<20)); err == nil ||
		!strings.Contains(err.Error(), "200,000 JSON tokens") {
		t.Errorf("2 MiB of {}: %v", err)
	}
	if _, err := webhook.Decode(bytes.Repeat([]byte(" "), 10)); err == nil {
		t.Error("nothing is no value")
	}
}

func TestSubscriptionIsCompared(t *testing.T) {
	t.Parallel()
	const ours, other = "projects/proj/subscriptions/pratique", "projects/proj/subscriptions/other"
	for name, c := range map[string]struct {
		path, want string
		headers    []string
		status     int
		reason     string
	}{
		"wrapped": {path: "gar/wrapped.json", want: ours, status: 202},
		"wrapped, other": {path: "gar/wrapped.json", want: other, status: 200,
			reason: "subscription"},
		"wrapped, any": {path: "gar/wrapped.json", status: 202},
		"header contradicts": {path: "gar/wrapped.json", want: ours, headers: []string{other},
			status: 200, reason: "subscription"},
		"unwrapped": {path: "gar/unwrapped.http", want: ours, headers: []string{ours},
			status: 202},
		"unwrapped, other": {path: "gar/unwrapped.http", want: ours, headers: []string{other},
			status: 200, reason: "subscription"},
		"unwrapped, two": {path: "gar/unwrapped.http", want: ours,
			headers: []string{ours, other}, status: 200, reason: "subscription"},
		"unwrapped, not named": {path: "gar/unwrapped-bare.json", want: ours, status: 200,
			reason: "subscription"},
	} {
		one := readSample(t, "testdata/"+c.path)
		f := serve(t, func(r *webhook.Receiver, _ *webhook.Limits) {
			r.Format, r.Registry, r.Repositories, r.Subscription = "gar",
				"europe-west1-docker.pkg.dev", nil, c.want
			r.Auth = webhook.Auth{Tokens: onlyToken(secret)}
		})
		status, _, _ := f.send(t, bytes.NewReader(one.body), func(r *http.Request) {
			r.Header = one.header.Clone()
			r.Header.Set("Authorization", secret)
			if len(c.headers) > 0 {
				r.Header["X-Goog-Pubsub-Subscription-Name"] = c.headers
			}
		})
		if status != c.status || (len(f.drops) == 1) != (c.reason != "") || len(f.events)+
			len(f.drops) != 1 {
			t.Errorf("%s: status %d, events %v, drops %v", name, status, f.events, f.drops)
			continue
		}
		if c.reason != "" && f.drops[0].Reason != c.reason {
			t.Errorf("%s: %+v", name, f.drops[0])
		}
	}
}

func TestExplainEvaluatesRequestsAsTheServiceDoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		receiver webhook.Receiver
		method   string
		header   http.Header
		greeted  bool
		dropped  string
	}{
		"handshake": {webhook.Receiver{Format: "cloudevents"}, "OPTIONS", nil, true, ""},
		"of who signs": {webhook.Receiver{Format: "cloudevents",
			Auth: webhook.Auth{Method: webhook.MethodHMACSHA256}}, "OPTIONS", nil, false, "401"},
		"of another format": {webhook.Receiver{Format: "quay"}, "OPTIONS", nil, false, "405"},
		"compressed": {webhook.Receiver{Format: "quay"}, "",
			http.Header{"Content-Encoding": {"gzip"}}, false, "415"},
		"form": {webhook.Receiver{Format: "quay"}, "POST",
			http.Header{"Content-Type": {"text/html"}}, false, "415"},
		"type that is taken": {webhook.Receiver{Format: "quay"}, "POST",
			http.Header{"Content-Type": {"application/json"}}, false, ""},
	} {
		c.receiver.Name = "test"
		all, greeted, err := webhook.Explain(c.receiver, c.method, c.header,
			[]byte(`{"repository":"a/b","updated_tags":["1"]}`))
		if err != nil || greeted != c.greeted {
			t.Errorf("%s: %+v, greeted %v, %v", name, all, greeted, err)
			continue
		}
		if !greeted && (len(all) != 1 || all[0].Dropped != c.dropped ||
			(all[0].Event == nil) != (c.dropped != "")) {
			t.Errorf("%s: %+v", name, all)
		}
	}
}
