package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique/internal/testenv/natsserver"
)

// start runs a real NATS server on a loopback port; 0 is any.
func start(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	return natsserver.Start(t, server.Options{
		Port: port, JetStream: true, StoreDir: dir,
		Users: []*server.User{
			{Username: "pratique", Password: "secret"},
			{Username: "zot", Password: "secret",
				Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"zot.events"}}}},
		},
	})
}

func connect(t *testing.T, s *server.Server, user string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "secret"), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// inbox keeps what it receives, after it has failed as often as it should.
type inbox struct {
	mu     sync.Mutex
	bodies map[string]int
	types  map[string]bool
	failed int
	fails  int // still to come
}

func newInbox() *inbox { return &inbox{bodies: map[string]int{}, types: map[string]bool{}} }

func (i *inbox) receive(_ context.Context, h http.Header, body []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fails > 0 {
		i.fails--
		i.failed++
		return errors.New("the disk is full")
	}
	i.bodies[string(body)]++
	i.types[h.Get("Content-Type")+h.Get("Ce-Type")] = true
	return nil
}

func (i *inbox) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.bodies)
}

func run(t *testing.T, c Config, i *inbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, i.receive) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the feed ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func TestListensToASubject(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), 0)
	i := newInbox()
	i.fails = 2
	run(t, Config{Name: "zot", URL: s.ClientURL(), Subject: "zot.events", Username: "pratique",
		Password: "secret"}, i)
	await(t, "the subscription", func() bool { return s.NumSubscriptions() > 0 && hasInterest(s) })
	zot := connect(t, s, "zot")
	for n := range 50 {
		msg := &nats.Msg{Subject: "zot.events", Data: fmt.Appendf(nil, "%d", n), Header: nats.Header{}}
		if n == 0 {
			msg.Header.Set("ce-type", "zotregistry.image.updated")
		}
		if err := zot.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all messages", func() bool { return i.count() == 50 })
	if i.failed != 2 || !i.types["application/cloudevents+jsonzotregistry.image.updated"] {
		t.Errorf("failed %d, types %v", i.failed, i.types)
	}
}

func hasInterest(s *server.Server) bool {
	return s.GlobalAccount().Interest("zot.events") > 0
}

// With a stream nothing is missed: what was published while no feed ran, what could not be stored,
// and what was published around a restart of the server.
func TestConsumesAStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, 0)
	port := natsserver.Port(s)
	admin := connect(t, s, "pratique")
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ZOT",
		Subjects: []string{"zot.events"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			// Around the restart a request may be lost with the connection.
			await(t, "the stream's acknowledgement", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := js.Publish(ctx, "zot.events", fmt.Appendf(nil, "%d", n))
				return err == nil
			})
		}
	}
	publish(0, 20)
	i := newInbox()
	i.fails = 3
	c := Config{Name: "zot", URL: s.ClientURL(), Subject: "zot.events", Stream: "ZOT",
		Username: "pratique", Password: "secret"}
	stop := run(t, c, i)
	await(t, "what was there before", func() bool { return i.count() == 20 })
	natsserver.Stop(s)
	start(t, dir, port)
	publish(20, 40)
	await(t, "what was published after the restart", func() bool { return i.count() == 40 })
	stop()
	publish(40, 50)
	run(t, c, i)
	await(t, "what was published while no feed ran", func() bool { return i.count() == 50 })
	if i.failed != 3 {
		t.Errorf("failed %d times", i.failed)
	}
}

// TestEnds: what a feed has received but not stored when it ends is redelivered to the next one at
// once, and a server that is down does not keep a feed from ending.
func TestEnds(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), 0)
	js, err := jetstream.New(connect(t, s, "pratique"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ZOT",
		Subjects: []string{"zot.events"}}); err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		if _, err := js.Publish(t.Context(), "zot.events", fmt.Appendf(nil, "%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{
		Name: "zot", URL: s.ClientURL(), Subject: "zot.events", Stream: "ZOT", Username: "pratique",
		Password: "secret",
		Workers:  4,
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	received := make(chan struct{}, 40)
	go func() {
		ended <- Run(ctx, c, func(ctx context.Context, _ http.Header, _ []byte) error {
			received <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-received
	cancel()
	end := func() {
		t.Helper()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the feed does not end")
		}
	}
	end()

	i := newInbox()
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- Run(ctx, c, i.receive) }()
	await(t, "what the first feed had received", func() bool { return i.count() == 40 })
	natsserver.Stop(s)
	cancel()
	end()
}

func TestWaitsForAServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, 0)
	port := natsserver.Port(s)
	url := s.ClientURL()
	natsserver.Stop(s)
	i := newInbox()
	run(t, Config{Name: "zot", URL: url, Subject: "zot.events", Username: "pratique",
		Password: "secret"}, i)
	s = start(t, dir, port)
	await(t, "the subscription", func() bool { return hasInterest(s) })
	if err := connect(t, s, "zot").Publish("zot.events", []byte("x")); err != nil {
		t.Fatal(err)
	}
	await(t, "the message", func() bool { return i.count() == 1 })
}

// TestDeletedConsumer: a consumer that is deleted, alone or with its stream, is created again.
func TestDeletedConsumer(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), 0)
	js, err := jetstream.New(connect(t, s, "pratique"))
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{Name: "ZOT", Subjects: []string{"zot.events"}}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	i := newInbox()
	run(t, Config{Name: "zot", URL: s.ClientURL(), Subject: "zot.events", Stream: "ZOT",
		Username: "pratique", Password: "secret"}, i)
	publish := func(body string) {
		if _, err := js.Publish(t.Context(), "zot.events", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	publish("first")
	await(t, "the first message", func() bool { return i.count() == 1 })
	if err := js.DeleteConsumer(t.Context(), "ZOT", "pratique-zot"); err != nil {
		t.Fatal(err)
	}
	publish("second")
	await(t, "the second message", func() bool { return i.count() == 2 })
	if err := js.DeleteStream(t.Context(), "ZOT"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	publish("third")
	await(t, "the third message", func() bool { return i.count() == 3 })
}

// TestWrongPassword: a wrong password is retried, and not in a tight loop.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), 0)
	begin := time.Now()
	run(t, Config{Name: "zot", URL: s.ClientURL(), Subject: "zot.events", Username: "pratique",
		Password: "wrong"}, newInbox())
	await(t, "three attempts", func() bool {
		v, err := s.Varz(nil)
		return err == nil && v.TotalConnections >= 3
	})
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("three attempts in %s", took)
	}
}
