package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/testenv/natsserver"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// intake is the way of a push from HTTP to the queue, without the stages behind it.
type intake struct {
	url string
	box *outbox.Outbox
}

func newIntake(t *testing.T, c outbox.Config) intake {
	t.Helper()
	c.File = filepath.Join(t.TempDir(), "outbox.db")
	box, err := outbox.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	auth := webhook.Auth{Insecure: true}
	hooks, err := webhook.New(webhook.Config{Publisher: box, Receivers: []webhook.Receiver{
		{Name: "main", Format: "distribution", Registry: "registry.example.com", Auth: auth},
		{Name: "events", Format: "cloudevents", Registry: "registry.example.com", Auth: auth},
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", hooks)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return intake{url: s.URL + "/webhooks/", box: box}
}

// push reports a push of a tag to one of the receivers.
func (i intake) push(t *testing.T, receiver, tag string) *http.Response {
	t.Helper()
	digest := pratique.DigestOf([]byte(tag))
	body, kind := notification("registry.example.com", "team/app", tag, digest), "application/json"
	if receiver == "events" {
		body, kind = fmt.Sprintf(`{"specversion":"1.0","id":%q,"type":"container.image.push","source":"https://registry.example.com","datacontenttype":"application/json",
"data":{"repository":"team/app","tag":%q,"digest":%q}}`, tag, tag, digest), "application/cloudevents+json"
	}
	response, err := http.Post(i.url+receiver, kind, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response
}

// TestPushesAreAcknowledgedWhileNATSIsAway stops a real NATS server and starts it again, over and
// over: senders do not notice, and all that was acknowledged is in the queue, once and in order.
func TestPushesAreAcknowledgedWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	options := server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 64 << 30}
	s := natsserver.Start(t, options)
	options.Port = natsserver.Port(s)
	conn, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	broker := queue.New(js, queue.Config{})
	if err := broker.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := newIntake(t, outbox.Config{})
	events := &pipeline.Intake{Recorder: pipeline.Recorder{Process: pipeline.Process{Now: time.Now}}, Batches: broker}
	ctx, cancel := context.WithCancel(t.Context())
	var forwarder sync.WaitGroup
	forwarder.Go(func() { _ = in.box.Run(ctx, outbox.Downstream{Forward: events.Publish}) })
	t.Cleanup(func() { cancel(); forwarder.Wait() })

	var tags []string
	for round := range 4 {
		for n := range 40 {
			if n == 10 && round < 3 {
				natsserver.Stop(s)
			}
			tag := fmt.Sprintf("%d-%d", round, n)
			if response := in.push(t, "main", tag); response.StatusCode != http.StatusAccepted {
				t.Fatalf("%s: status %d", tag, response.StatusCode)
			}
			tags = append(tags, tag)
		}
		if round < 3 {
			if waiting := in.box.Stats().Waiting; waiting < 30 {
				t.Errorf("round %d: %d wait while NATS is away", round, waiting)
			}
			s = natsserver.Start(t, options)
		}
	}
	for deadline := time.Now().Add(patience); in.box.Stats().Waiting > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d still wait", in.box.Stats().Waiting)
		}
	}
	if got := queued(t, js); strings.Join(got, " ") != strings.Join(tags, " ") {
		t.Errorf("the queue has\n%v, want\n%v", got, tags)
	}
}

// queued returns the tags of the events in the queue, in their order.
func queued(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	stream, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(msg.Data), `"tag":"`)
		tag, _, _ := strings.Cut(rest, `"`)
		tags = append(tags, tag)
	}
	return tags
}

// TestFullOutboxAsksToComeAgain in the words of each sender, and takes pushes again when there is
// room.
func TestFullOutboxAsksToComeAgain(t *testing.T) {
	t.Parallel()
	in := newIntake(t, outbox.Config{MaxBytes: 4 << 10})
	accepted := 0
	for ; in.push(t, "main", fmt.Sprint(accepted)).StatusCode == http.StatusAccepted; accepted++ {
		if accepted > 100 {
			t.Fatal("it has no bound")
		}
	}
	for receiver, want := range map[string]int{"main": http.StatusServiceUnavailable,
		"events": http.StatusTooManyRequests} {
		response := in.push(t, receiver, "another")
		if response.StatusCode != want || response.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q", receiver, response.StatusCode,
				response.Header.Get("Retry-After"))
		}
	}
	if s := in.box.Stats(); s.RefusedFull < 3 || s.Waiting != accepted {
		t.Errorf("%+v after %d were accepted", s, accepted)
	}
	if response := in.push(t, "main", "0"); response.StatusCode != http.StatusOK {
		t.Errorf("a repeat needs no room: status %d", response.StatusCode)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var forwarder sync.WaitGroup
	forwarder.Go(func() {
		_ = in.box.Run(ctx, outbox.Downstream{Forward: func(context.Context, []pratique.Event) error {
			return nil
		}})
	})
	defer forwarder.Wait()
	defer cancel()
	for deadline := time.Now().Add(patience); in.push(t, "main",
		"another").StatusCode != http.StatusAccepted; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it stays full")
		}
	}
}
