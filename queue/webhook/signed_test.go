package webhook_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique/queue/webhook"
)

// signedWith signs a body as the fixture's senders do, and gives further headers.
func (f *fixture) signedWith(t *testing.T, header, body string, more ...string) (int, reply) {
	t.Helper()
	status, _, out := f.with(t, body, append([]string{header, signature(body)}, more...)...)
	return status, out
}

// Somebody who saw one signed request cannot send its body again with another type, id or time:
// whatever stands in the header is not signed.
func TestSignedCloudEventsAreSignedWhole(t *testing.T) {
	t.Parallel()
	const data = `{"repository":"team/app","tag":"1.0","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000001"}`
	attributes := func(typ, id, at string) []string {
		return []string{"Ce-Specversion", "1.0", "Ce-Type", typ, "Ce-Id", id, "Ce-Source", "/ci",
			"Ce-Time", at}
	}
	structured := `{"specversion":"1.0","id":"1","source":"/ci","type":"com.example.image.pushed","data":` + data + `}`
	enclosed := strings.NewReplacer("\n", "").Replace(file(t, "cdevents/published.json"))
	cd := `{"specversion":"1.0","id":"1","source":"/ci","type":"dev.cdevents.artifact.published.0.3.0","data":` + enclosed + `}`
	for _, c := range []struct {
		name, format, body string
		headers            []string
		status             int
	}{
		{"binary", "cloudevents", data, attributes("com.x.image.push", "1", "2026-08-01T12:00:00Z"), 400},
		{"binary with another type", "cloudevents", data, attributes("com.x.image.deleted", "1",
			"2026-08-01T12:00:00Z"), 400},
		{"binary with a parameter", "cloudevents", data,
			append(attributes("com.x.image.push", "2", "2999-01-01T00:00:00Z"), "Content-Type",
				"application/json; charset=utf-8"), 400},
		{"one attribute is enough", "cloudevents", structured,
			[]string{"Ce-Type", "com.x.image.push"}, 400},
		{"structured", "cloudevents", structured,
			[]string{"Content-Type", "application/cloudevents+json"}, 202},
		{"structured with attributes beside it", "cloudevents", structured,
			append(attributes("com.x.image.deleted", "9", ""), "Content-Type",
				"application/cloudevents+json"), 202},
		{"structured as plain JSON", "cloudevents", structured, nil, 202},
		{"batch", "cloudevents", "[" + structured + "]",
			[]string{"Content-Type", "application/cloudevents-batch+json"}, 202},
		{"batch with attributes beside it", "cloudevents", "[" + structured + "]",
			append(attributes("com.x.image.deleted", "9", ""), "Content-Type",
				"application/cloudevents-batch+json"), 202},
		{"CDEvents, binary", "cdevents", enclosed,
			attributes("dev.cdevents.artifact.published.0.3.0", "1", ""), 400},
		{"CDEvents, bare", "cdevents", enclosed, nil, 202},
		{"CDEvents, structured", "cdevents", cd,
			[]string{"Content-Type", "application/cloudevents+json"}, 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := sender(t, c.format, webhook.MethodHMACSHA256, func(r *webhook.Receiver) {
				r.Auth.Header = "X-Signature"
			})
			status, out := f.signedWith(t, "X-Signature", c.body, c.headers...)
			if status != c.status || status == 400 &&
				!strings.Contains(out.Detail, "signature covers the body alone") {
				t.Errorf("status %d, %+v, want %d", status, out, c.status)
			}
			if want := c.status == 202; (len(f.events) == 1) != want || len(f.drops) > 0 {
				t.Errorf("%d events, drops %v", len(f.events), f.drops)
			}
			// With a secret that is no signature of the body the sender is known, and all modes are
			// as before.
			open := sender(t, c.format, webhook.MethodBearer, nil)
			if status, _, out := open.with(t, c.body,
				append([]string{"Authorization", "Bearer " + sampleSecret},
					c.headers...)...); status >= 400 && c.name != "one attribute is enough" {
				t.Errorf("with bearer: status %d, %+v", status, out)
			}
		})
	}
}

// What a test of a payload says is what the receiver does.
func TestExplainRefusesWhatNoSignatureCovers(t *testing.T) {
	t.Parallel()
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"x.image.push"}, "Ce-Id": {"1"},
		"Ce-Source": {"s"}}
	body := []byte(`{"repository":"team/app","tag":"1.0"}`)
	for method, want := range map[webhook.Method]string{webhook.MethodHMACSHA256: "400",
		webhook.MethodBearer: ""} {
		all, _, err := webhook.Explain(webhook.Receiver{Name: "x", Format: "cloudevents",
			Auth: webhook.Auth{Method: method, Header: "X-Signature"}}, "", h, body)
		if err != nil || len(all) != 1 || all[0].Dropped != want {
			t.Errorf("%s: %+v, %v", method, all, err)
		}
	}
}

// Of the headers beside a signed body nothing is believed but the id of the delivery, and what has
// it ignored.
func TestUnsignedHeadersStoreNothingElse(t *testing.T) {
	t.Parallel()
	body := file(t, "gitea/created-without-header.json")
	f := sender(t, "gitea", webhook.MethodHMACSHA256, func(r *webhook.Receiver) {
		r.Registry = "git.example.com"
	})
	status, out := f.signedWith(t, "X-Gitea-Signature", body, "X-Gitea-Delivery", "d1",
		"X-Gitea-Event", "package", "Ce-Type", "x.image.deleted", "Date", "Tue, 01 Jan 2999 00:00:00 GMT")
	if status != http.StatusAccepted || len(f.events) != 1 || f.events[0].Delivery != "d1" ||
		f.events[0].OccurredAt.Year() > 2900 {
		t.Errorf("status %d, %+v, %+v", status, out, f.events)
	}
}
