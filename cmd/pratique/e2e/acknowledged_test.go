package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/ledger"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/internal/testenv/powercut"
	"github.com/pratique-dev/pratique/queue"
)

// outageConfig has no targets: each event ends with its verdict, and what is under test is that it
// has one.
const outageConfig = `
dataDir: {{.Dir}}/disk/data
listen: {{.Listen}}
log: {level: warn}
registries:
  - host: {{.Registry}}
receivers:
  - name: main
    registry: {{.Registry}}
    secrets: ["file:{{.Dir}}/webhook"]
workers: {inspect: 1}
database: {dir: "{{.Dir}}/db"}
api: {anonymousRead: true}
`

func newOutageLine(t testing.TB, extra string) *line {
	t.Helper()
	l := newLine(t, lineOptions{config: template.Must(template.New("").Parse(outageConfig + extra))})
	if err := os.Mkdir(filepath.Join(l.dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAcknowledgedSurvivesKill kills the service at random moments under load: what was answered
// with 2xx ends in a verdict, once.
func TestAcknowledgedSurvivesKill(t *testing.T) {
	// Killing a process leaves the disk's cache alone, so syncing would only take time.
	l := newOutageLine(t, "queue: {noSync: true}\n")
	l.outages(outages("PRATIQUE_TEST_KILLS", 6), func(p *process) {
		_ = p.command.Process.Kill() // it is running: nothing else ends it
		<-p.exited
	})
}

// TestAcknowledgedSurvivesPowerCut does the same to the machine: each time what was written and not
// synced is lost, or torn.
func TestAcknowledgedSurvivesPowerCut(t *testing.T) {
	l := newOutageLine(t, "")
	disk, err := powercut.Mount(filepath.Join(l.dir, "disk"))
	if errors.Is(err, errors.ErrUnsupported) && os.Getenv("PRATIQUE_TEST_CUTS") == "" {
		t.Skipf("this machine has no FUSE: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Unmount(); err != nil {
			t.Error(err)
		}
	})
	r := rand.New(rand.NewPCG(seed(t), 1))
	l.outages(outages("PRATIQUE_TEST_CUTS", 4), func(p *process) {
		disk.Cut(r)
		_ = p.command.Process.Kill() // it is running: nothing else ends it
		<-p.exited
		if err := disk.Restore(); err != nil {
			t.Fatal(err)
		}
	})
}

// outages is how many the environment asks for.
func outages(variable string, fallback int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return fallback
}

// seed makes a run repeatable: PRATIQUE_TEST_SEED is that of a run that failed.
func seed(t testing.TB) uint64 {
	s, err := strconv.ParseUint(os.Getenv("PRATIQUE_TEST_SEED"), 10, 64)
	if err != nil {
		s = rand.Uint64()
	}
	t.Logf("PRATIQUE_TEST_SEED=%d", s)
	return s
}

// outages runs the service under load, has it fail n times, lets it finish in peace, and looks at
// the ledger.
func (l *line) outages(n int, fail func(*process)) {
	t := l.t
	// A job that was under way at several outages in a row would be given up: the service must take
	// it for the cause.
	l.env = append(l.env, envAttempts+"=1000000")
	load := l.load(l.push("team/app:1.0", l.build(images.Clean())))
	r := rand.New(rand.NewPCG(seed(t), 2))
	for i := range n {
		p := l.start("never")
		// From the middle of starting to the middle of work.
		before := load.acked.Load()
		for deadline := time.Now().Add(patience); i%3 != 0 &&
			load.acked.Load() == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("outage %d: nothing was acknowledged; the service said:\n%s", i, p.log.String())
			}
		}
		time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
		select {
		case <-p.exited:
			t.Fatalf("outage %d: the service ended by itself: %v\n%s", i, p.err, p.log.String())
		default:
		}
		fail(p)
	}
	last := l.start("never")
	before := load.acked.Load()
	for deadline := time.Now().Add(patience); load.acked.Load() == before &&
		time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	acked := load.stop()
	l.awaitIdle()
	last.stop()
	lost, twice := l.missing(acked)
	t.Logf("%d outages, %d pushes acknowledged, %d requests: %d lost, %d evaluated twice", n,
		len(acked), load.requests.Load(), len(lost), len(twice))
	if len(lost) > 0 || len(twice) > 0 || len(acked) < n {
		t.Errorf("lost %v, evaluated twice %v", lost, twice)
	}
}

const loadBody = `{"events":[{"id":"id-%[1]s","timestamp":"2026-03-09T14:44:26.402973972Z","action":"push",
 "target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%[2]s","size":708,"repository":"team/app","tag":"%[1]s"},
 "request":{"host":"%[3]s","method":"PUT"},"actor":{"name":"ci"}}]}`

// load reports pushes as a registry does that never gives up: each under one id until it is
// acknowledged.
type load struct {
	cancel   func()
	senders  sync.WaitGroup
	next     atomic.Int64
	acked    atomic.Int64
	requests atomic.Int64
	mu       sync.Mutex
	tags     []string
}

func (l *line) load(digest pratique.Digest) *load {
	ctx, cancel := context.WithCancel(l.t.Context())
	o := &load{cancel: cancel}
	secret, err := os.ReadFile(filepath.Join(l.dir, "webhook"))
	if err != nil {
		l.t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	for range 4 {
		o.senders.Go(func() {
			for ctx.Err() == nil {
				tag := fmt.Sprintf("t%d", o.next.Add(1))
				body := fmt.Sprintf(loadBody, tag, digest, l.registry.Host())
				for ctx.Err() == nil {
					o.requests.Add(1)
					if posted(ctx, client, l.baseURL+"/webhooks/main", string(secret), body) {
						o.mu.Lock()
						o.tags = append(o.tags, tag)
						o.mu.Unlock()
						o.acked.Add(1)
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(15 * time.Millisecond) // the line behind has to evaluate each of them
			}
		})
	}
	l.t.Cleanup(func() { o.stop() })
	return o
}

// stop ends the load and returns the tags of all pushes that were acknowledged.
func (o *load) stop() []string {
	o.cancel()
	o.senders.Wait()
	return o.tags
}

func posted(ctx context.Context, client *http.Client, url, secret, body string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v2+json")
	request.Header.Set("Authorization", secret)
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	// 200 is a repeat of what was stored before the answer was lost.
	return response.StatusCode == http.StatusAccepted || response.StatusCode == http.StatusOK
}

// awaitIdle waits until all work is done.
func (l *line) awaitIdle() {
	l.t.Helper()
	var about struct {
		Queues []struct{ Total int }
		Outbox *struct{ Waiting, Unresolved int }
	}
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		about.Queues, about.Outbox = nil, nil
		err := getJSON(l.baseURL+"/api/v1/status", &about)
		waiting := 0
		for _, q := range about.Queues {
			waiting += q.Total
		}
		if err == nil && len(about.Queues) > 0 && about.Outbox != nil &&
			waiting+about.Outbox.Waiting+about.Outbox.Unresolved == 0 {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("the work was not done in time: %+v, %v", about, err)
		}
	}
}

func getJSON(url string, into any) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// missing reads the ledger of the stopped service, and returns the tags whose push has no end, and
// those with two.
func (l *line) missing(acked []string) (lost, twice []string) {
	l.t.Helper()
	server, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: filepath.Join(l.dir, "disk",
		"data", "nats")})
	if err != nil {
		l.t.Fatal(err)
	}
	defer server.Close()
	conn, err := server.Conn()
	if err != nil {
		l.t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		l.t.Fatal(err)
	}
	facts := ledger.New(js, time.Now)
	end, err := facts.End(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	ends := map[string]int{}
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	err = facts.Follow(ctx, 0, func(entries []pratique.Entry) error {
		for _, e := range entries {
			if e.Fact.Kind() == pratique.FactCompleted {
				ends[pratique.As[pratique.Completed](e.Fact).Ref.Tag]++
				if pratique.As[pratique.Completed](e.Fact).State != pratique.StateAllowed {
					l.t.Errorf("%s ended as %s: %s",
						pratique.As[pratique.Completed](e.Fact).Ref.Tag,
						pratique.As[pratique.Completed](e.Fact).State,
						pratique.As[pratique.Completed](e.Fact).Detail)
				}
			}
			if e.Seq >= end {
				cancel()
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		l.t.Fatal(err)
	}
	for _, tag := range acked {
		switch ends[tag] {
		case 0:
			lost = append(lost, tag)
		case 1:
		default:
			twice = append(twice, tag)
		}
	}
	return lost, twice
}
