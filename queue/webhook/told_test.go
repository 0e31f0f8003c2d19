package webhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// known takes the first event for news and all others for repeats.
type known struct{ n int }

func (k *known) Publish(_ context.Context, events []pratique.Event) (int, error) {
	k.n++
	if k.n > 1 {
		return 0, nil
	}
	return len(events), nil
}

// Whoever set a webhook up wrongly, or waits for a verdict that does not come, has to find out why:
// which sender, and the reason, printable and short.
func TestRefusedAndIgnoredAreTold(t *testing.T) {
	t.Parallel()
	var refused []webhook.Refused
	var ignored []webhook.Ignored
	h, err := webhook.New(webhook.Config{
		Receivers: []webhook.Receiver{{Name: "main", Format: "distribution",
			Registry: "registry.example.com",
			Auth:     webhook.Auth{Secrets: []string{"Bearer " + sampleSecret}}}},
		Publisher: &known{},
		OnRefused: func(r webhook.Refused) { refused = append(refused, r) },
		OnIgnored: func(i webhook.Ignored) { ignored = append(ignored, i) },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", h)
	const digest = "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf"
	event := func(id, action, tag string) string {
		return `{"id":"` + id + `","action":"` + action +
			`","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + digest +
			`","repository":"team/app","tag":"` + tag + `"},"request":{"host":"registry.example.com"}}`
	}
	post := func(path, authorization, forwarded string, events ...string) int {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"events":[`+
			strings.Join(events, ",")+`]}`))
		r.RemoteAddr = "192.0.2.7:4711"
		r.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v2+json")
		r.Header.Set("Authorization", authorization)
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code
	}
	if status := post("/webhooks/main", "Bearer wrong", "\x1b[31m10.0.0.1"+strings.Repeat("x", 500),
		event("1", "push", "1.0")); status != http.StatusUnauthorized {
		t.Fatalf("status %d", status)
	}
	if status := post("/webhooks/none", "Bearer wrong", ""); status != http.StatusNotFound {
		t.Fatalf("status %d", status)
	}
	if len(refused) != 2 {
		t.Fatalf("%+v", refused)
	}
	first := refused[0]
	if first.Receiver != "main" || first.Status != 401 || first.Remote != "192.0.2.7:4711" ||
		!strings.Contains(first.Detail, "the header Authorization is missing or wrong") {
		t.Errorf("%+v", first)
	}
	if strings.Contains(first.Forwarded, "\x1b") || len(first.Forwarded) > 130 ||
		!strings.Contains(first.Forwarded, "10.0.0.1") {
		t.Errorf("forwarded %q", first.Forwarded)
	}
	if refused[1].Receiver != "" || refused[1].Status != 404 || refused[1].Forwarded != "" {
		t.Errorf("%+v", refused[1])
	}

	good := "Bearer " + sampleSecret
	signature := "sha256-" + strings.TrimPrefix(digest, "sha256:") + ".sig"
	post("/webhooks/main", good, "", event("1", "push", "1.0"), event("2", "pull", "1.0"),
		event("3", "push", signature), event("4", "push", ""), event("5", "push", ""))
	post("/webhooks/main", good, "", event("6", "push", "1.0"))
	want := []webhook.Ignored{
		{Receiver: "main", Sender: webhook.Sender{Remote: "192.0.2.7:4711"}, Reason: "untagged",
			Image: "team/app@" + digest, N: 2},
		{Receiver: "main", Sender: webhook.Sender{Remote: "192.0.2.7:4711"},
			Reason: webhook.ReasonRepeat, Image: "registry.example.com/team/app:1.0@" + digest, N: 1},
	}
	if !slices.Equal(ignored, want) {
		t.Errorf("%+v, want %+v", ignored, want)
	}
}
