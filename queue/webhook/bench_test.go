package webhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

func BenchmarkParse(b *testing.B) {
	body := []byte(file(b, "push.json"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := webhook.Parse("distribution", nil, body); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Publish(_ context.Context, events []pratique.Event) (int, error) {
	return len(events), nil
}

func BenchmarkHandler(b *testing.B) {
	h, err := webhook.New(webhook.Config{Receivers: []webhook.Receiver{receiver()}, Publisher: discard{}})
	if err != nil {
		b.Fatal(err)
	}
	body := file(b, "push.json")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/webhooks/main", strings.NewReader(body))
		r.SetPathValue("name", "main")
		r.Header.Set("Authorization", secret)
		r.Header.Set("Content-Type", eventsType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code)
		}
	}
}
