package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/internal/pipeline"
	"github.com/pratique-dev/pratique/internal/server"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/queue"
	"github.com/pratique-dev/pratique/queue/outbox"
	"github.com/pratique-dev/pratique/queue/webhook"
)

const benchSenders = 128

// BenchmarkIntake measures webhooks that were acknowledged, durable against power loss, over HTTP,
// beside plain publishes to a JetStream that syncs each of them, which is what a receiver without
// an outbox would wait for.
//
//	go test ./cmd/pratique/e2e -run '^$' -bench Intake -benchtime 3s
func BenchmarkIntake(b *testing.B) {
	raw, full := 0.0, 0.0
	b.Run("jetstream-sync-always/publishers=128", func(b *testing.B) { raw = benchmarkRaw(b) })
	b.Run("webhooks/senders=128", func(b *testing.B) { full = benchmarkWebhooks(b, 0) })
	b.Run("webhooks/senders=128/offered=half-of-raw", func(b *testing.B) {
		benchmarkWebhooks(b, int(raw/2))
	})
	b.Run("webhooks/senders=128/offered=half-of-full", func(b *testing.B) {
		benchmarkWebhooks(b, int(full/2))
	})
}

// streams is an embedded NATS that syncs each append, with the service's streams.
func streams(b *testing.B) (jetstream.JetStream, *queue.Broker) {
	b.Helper()
	embedded, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: b.TempDir(), SyncAlways: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(embedded.Close)
	conn, err := embedded.Conn()
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	broker := queue.New(js, queue.Config{})
	if err := broker.Setup(b.Context()); err != nil {
		b.Fatal(err)
	}
	return js, broker
}

// benchmarkRaw returns the rate, a second.
func benchmarkRaw(b *testing.B) float64 {
	js, _ := streams(b)
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "RAW",
		Subjects: []string{"raw"}}); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 900)
	times := inParallel(b, 0, func(int) func(int) error {
		return func(int) error {
			_, err := js.Publish(b.Context(), "raw", body)
			return err
		}
	})
	return float64(len(times)) / reportTimes(b, times).Seconds()
}

// benchmarkWebhooks sends as fast as it can, or that many a second, and returns the rate.
func benchmarkWebhooks(b *testing.B, rate int) float64 {
	_, broker := streams(b)
	box, err := outbox.Open(outbox.Config{File: filepath.Join(b.TempDir(), "outbox.db"),
		MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = box.Close() })
	address := serveWebhooks(b, box)
	intake := &pipeline.Intake{Recorder: pipeline.Recorder{Process: pipeline.Process{Now: time.Now}}, Batches: broker}
	ctx, cancel := context.WithCancel(b.Context())
	var forwarder sync.WaitGroup
	forwarder.Go(func() { _ = box.Run(ctx, outbox.Downstream{Forward: intake.Publish}) })
	defer forwarder.Wait()
	defer cancel()
	var next atomic.Int64
	times := inParallel(b, rate, func(int) func(int) error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		answers := bufio.NewReader(conn)
		return func(int) error { return exchange(conn, answers, benchRequest(next.Add(1))) }
	})
	took := reportTimes(b, times)
	// What was acknowledged is not yet in the queue: the rate that lasts is that of both.
	drain := time.Now()
	for box.Stats().Waiting > 0 {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(len(times))/(took+time.Since(drain)).Seconds(), "queued/s")
	return float64(len(times)) / took.Seconds()
}

// serveWebhooks runs the real server with a receiver for Distribution, and returns its address.
func serveWebhooks(b *testing.B, box *outbox.Outbox) string {
	b.Helper()
	hooks, err := webhook.New(webhook.Config{
		Receivers: []webhook.Receiver{{
			Name: "main", Format: "distribution", Registry: "registry.example.com",
			Auth: webhook.Auth{Secrets: []string{benchSecret}},
		}},
		Publisher: box,
	})
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/{name}", hooks)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, listener, mux) }()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	return listener.Addr().String()
}

const benchSecret = "Bearer 0123456789abcdef0123456789abcdef"

// benchRequest is a notification of Distribution about the n-th push, as long as a real one.
func benchRequest(n int64) string {
	digest := pratique.DigestOf(fmt.Appendf(nil, "%d", n))
	body := fmt.Sprintf(`{
   "events": [
      {
         "id": "320678d8-ca14-430f-8bb6-%012d",
         "timestamp": "2026-03-09T14:44:26.402973972Z",
         "action": "push",
         "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "%[2]s",
            "size": 708,
            "length": 708,
            "repository": "team/app",
            "url": "https://registry.example.com/v2/team/app/manifests/%[2]s",
            "tag": "1.0.%[1]d"
         },
         "request": {
            "id": "6df24a34-0959-4923-81ca-14f09767db19",
            "addr": "10.0.0.11:42961",
            "host": "registry.example.com",
            "method": "PUT",
            "useragent": "buildkit/v0.20"
         },
         "actor": {
            "name": "ci"
         },
         "source": {
            "addr": "registry-0:5000",
            "instanceID": "a53db899-3b4b-4a62-a067-8dd013beaca4"
         }
      }
   ]
}`, n, digest)
	return fmt.Sprintf("POST /webhooks/main HTTP/1.1\r\nHost: pratique\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: %d\r\n"+
		"Authorization: %s\r\nContent-Type: application/vnd.docker.distribution.events.v2+json\r\nAccept-Encoding: gzip\r\n\r\n%s",
		len(body), benchSecret, body)
}

// exchange sends a request and reads its answer, with less work than a client of net/http would
// make: the processors are the server's.
func exchange(conn net.Conn, answers *bufio.Reader, request string) error {
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	status, err := answers.ReadString('\n')
	if err != nil {
		return err
	}
	length := 0
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if text := string(line); strings.HasPrefix(text, "Content-Length:") {
			if _, err := fmt.Sscanf(text, "Content-Length: %d", &length); err != nil {
				return err
			}
		}
	}
	if _, err := answers.Discard(length); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 202 ") {
		return errors.New("not acknowledged: " + status)
	}
	return nil
}

// inParallel runs b.N operations from many senders, and returns how long each took. With a rate
// they are due at equal distances, and the time counts from then, so that a stall shows in all that
// it held up.
func inParallel(b *testing.B, rate int, sender func(n int) func(i int) error) []time.Duration {
	b.Helper()
	operations := make([]func(int) error, benchSenders)
	for n := range operations {
		operations[n] = sender(n)
	}
	times := make([]time.Duration, b.N)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for _, operation := range operations {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(times) {
					return
				}
				due := time.Now()
				if rate > 0 {
					due = start.Add(time.Duration(i) * time.Second / time.Duration(rate))
					time.Sleep(time.Until(due))
				}
				if err := operation(i); err != nil {
					b.Error(err)
					return
				}
				times[i] = time.Since(due)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	return times
}

func reportTimes(b *testing.B, times []time.Duration) time.Duration {
	took := b.Elapsed()
	slices.Sort(times)
	b.ReportMetric(float64(len(times))/took.Seconds(), "acks/s")
	for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		b.ReportMetric(float64(times[int(float64(len(times)-1)*q)].Microseconds())/1000, name)
	}
	b.ReportMetric(0, "ns/op")
	return took
}

// BenchmarkSaturated measures webhooks at a service whose line has far more to do than it can: 200
// a second, of which each makes a job, beside images that keep the processors busy. The shortest
// time-out of a sender is a second.
func BenchmarkSaturated(b *testing.B) {
	l := newOutageLine(b, "")
	p := l.start("never")
	secret, err := os.ReadFile(filepath.Join(l.dir, "webhook"))
	if err != nil {
		b.Fatal(err)
	}
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	l.awaitServing()
	ctx, cancel := context.WithCancel(b.Context())
	var pusher sync.WaitGroup
	pusher.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			spec := images.Vulnerable()
			spec.Text = fmt.Sprint(n)
			l.push(fmt.Sprintf("team/load:%d", n), l.build(spec))
			time.Sleep(50 * time.Millisecond)
		}
	})
	client := &http.Client{Timeout: 10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: benchSenders}}
	times := inParallel(b, 200, func(int) func(int) error {
		return func(i int) error {
			body := fmt.Sprintf(loadBody, fmt.Sprintf("s%d-%d", b.N, i), digest, l.registry.Host())
			if !posted(ctx, client, l.baseURL+"/webhooks/main", string(secret), body) {
				return errors.New("not acknowledged")
			}
			return nil
		}
	})
	reportTimes(b, times)
	b.ReportMetric(float64(times[len(times)-1].Milliseconds()), "max-ms")
	var about struct{ Queues []struct{ Total int } }
	if err := getJSON(l.baseURL+"/api/v1/status", &about); err != nil {
		b.Fatal(err)
	}
	backlog := 0
	for _, q := range about.Queues {
		backlog += q.Total
	}
	b.ReportMetric(float64(backlog), "backlog")
	cancel()
	pusher.Wait()
	_ = p.command.Process.Kill() // the backlog is of no use
}
