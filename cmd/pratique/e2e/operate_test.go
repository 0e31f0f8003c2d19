package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// operator is a verb with the token of the line.
func (l *line) operator() program {
	return program{env: []string{"PRATIQUE_URL=" + l.baseURL, "PRATIQUE_TOKEN=" + l.token}}
}

// jobs lists what pratique jobs shows.
func (l *line) jobs(args ...string) api.JobList {
	l.t.Helper()
	var list api.JobList
	v := l.operator().run(l.t, append([]string{"jobs", "--json"}, args...)...).want(l.t, 0)
	if err := json.Unmarshal([]byte(v.out), &list); err != nil {
		l.t.Fatal(err)
	}
	return list
}

// awaitJob waits for the one job that there is.
func (l *line) awaitJob(what string, done func(api.Job) bool, args ...string) api.Job {
	l.t.Helper()
	var list api.JobList
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if list = l.jobs(args...); len(list.Items) == 1 && done(list.Items[0]) {
			return list.Items[0]
		}
	}
	l.t.Fatalf("%s did not come: %+v", what, list)
	return api.Job{}
}

// awaitEmptyQueues waits until no message is left.
func (l *line) awaitEmptyQueues() {
	l.t.Helper()
	var total uint64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var status api.ServiceStatus
		if err := json.Unmarshal(l.get("/api/v1/status"), &status); err != nil {
			l.t.Fatal(err)
		}
		total = 0
		for _, q := range status.Queues {
			total += q.Total
		}
		if total == 0 {
			return
		}
	}
	l.t.Fatalf("%d messages are left", total)
}

// TestCancelAndRequeue: a push that waits for a database is canceled, and is not done when the
// database comes; then it is requeued.
func TestCancelAndRequeue(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{noDB: true})
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	job := l.awaitJob("the push with a failed attempt", func(j api.Job) bool {
		return j.Reason != "" && j.Attempts > 1 && j.State == api.JobWaiting
	})
	if job.Stage != "inspect" || job.Priority != pratique.PriorityPush ||
		!strings.Contains(job.Reason, "database") || job.AgeSeconds < 0 ||
		!strings.HasPrefix(job.Ref, l.registry.Host()+"/team/app:1.0") ||
		!strings.Contains(job.Image, digest.String()) {
		t.Errorf("%+v", job)
	}
	// Between its attempts the job waits, and during them it runs.
	l.operator().runUntil(t, job.Event, "jobs", "--state", "waiting", "--limit", "1").want(t, 0,
		job.Event)
	l.operator().runUntil(t, "no jobs", "jobs", "--state", "running").want(t, 0, "no jobs")
	l.operator().run(t, "jobs", "--state", "refused").want(t, 0, "no jobs")
	l.operator().run(t, "jobs").want(t, 0, job.Event, "inspect, push priority: 1 job, the oldest ")
	l.operator().run(t, "requeue", job.Event).want(t, verb.Unknown, "2>is not over")

	l.operator().run(t, "cancel", job.Event, "--reason", "wrong tag").want(t, 0, job.Event,
		"canceled by test: wrong tag")
	// once more changes nothing
	l.operator().run(t, "cancel", job.Event).want(t, 0, "canceled by test: wrong tag")
	l.operator().run(t, "why", digest.String()).want(t, 0, "CANCELED: ",
		"canceled by test: wrong tag", "operate@")
	l.operator().run(t, "jobs").want(t, 0, "no jobs")
	l.operator().run(t, "requeue", "--all-failed").want(t, 0, "nothing failed")
	l.operator().run(t, "cancel", "nobody").want(t, verb.Unknown, "2>there is no such job")
	reader := l.operator()
	reader.env[1] = "PRATIQUE_TOKEN=wrong-wrong-wrong"
	reader.run(t, "cancel", job.Event).want(t, verb.Unknown,
		"2>does not know the token in PRATIQUE_TOKEN")
	l.awaitEmptyQueues()
	stop()
	l.writeDatabase(nil)
	l.serve()
	l.awaitState(digest, pratique.StateCanceled)
	l.noCommit()

	l.awaitJob("the canceled job", func(j api.Job) bool {
		return j.Event == job.Event && j.State == "canceled"
	}, "--state", "canceled")
	again := l.operator().run(t, "requeue", job.Event).want(t, 0, job.Event+"  requeued as ")
	l.awaitState(digest, pratique.StateDeployed)
	if twice := l.operator().run(t, "requeue", job.Event).want(t, 0); twice.out != again.out {
		t.Errorf("requeued twice: %s and %s", again.out, twice.out)
	}
	id := strings.Fields(strings.SplitAfter(again.out, "requeued as")[1])[0]
	s, err := l.client.Submission(t.Context(), id, time.Minute)
	if err != nil || s.State != pratique.StateDeployed || s.Requeues != job.Event || s.Actor == "test" {
		t.Errorf("%+v, %v", s, err)
	}
	old, err := l.client.Submission(t.Context(), job.Event, 0)
	if err != nil || old.State != "canceled" || old.RequeuedAs != id || old.CanceledBy != "test" {
		t.Errorf("%+v, %v", old, err)
	}
	l.operator().run(t, "cancel", id).want(t, verb.Unknown, "2>it has ended: deployed")
	if n := l.commits(); n != 2 {
		t.Errorf("%d commits, want the first and one", n)
	}
	l.awaitEmptyQueues()
}

// TestDeadLetters: an image that is not there fails for good, is listed, and is evaluated when it
// is there and somebody asks.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	image := l.registry.Host() + "/team/app:2.0"
	s, err := l.client.Submit(t.Context(), image, "", time.Minute)
	if err != nil || s.State != pratique.StateFailed {
		t.Fatalf("%+v, %v", s, err)
	}
	dead := l.awaitJob("the dead letter", func(j api.Job) bool {
		return j.State == "failed"
	}, "--state", "failed", "--since", "1h")
	if dead.Event != s.ID || dead.Stage != "inspect" || dead.Attempts != 1 ||
		dead.Priority != pratique.PriorityManual || dead.Reason == "" {
		t.Errorf("%+v", dead)
	}
	l.operator().run(t, "cancel", s.ID).want(t, verb.Unknown, "2>it has ended: failed")
	l.operator().run(t, "requeue").want(t, verb.Unknown, "2>give the ids")
	digest := l.push("team/app:2.0", l.build(images.Clean()))
	l.awaitState(digest, pratique.StateDeployed)
	l.operator().run(t, "requeue", "--all-failed", "--since", "24h").want(t, 0, s.ID+"  requeued as ")
	l.operator().run(t, "requeue", "--all-failed").want(t, 0)
	if list := l.jobs("--state", "failed"); len(list.Items) != 0 {
		t.Errorf("%+v", list.Items)
	}
	old, err := l.client.Submission(t.Context(), s.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	anew, err := l.client.Submission(t.Context(), old.RequeuedAs, time.Minute)
	if err != nil || !anew.Done || anew.Outcome != pratique.Allow || anew.Ref != image {
		t.Errorf("%+v, %v", anew, err)
	}
}

// TestDeadLetterOfAWebhook fails before anything but its failure is on record, and can be requeued
// all the same.
func TestDeadLetterOfAWebhook(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serve()
	gone := pratique.DigestOf([]byte("gone"))
	if status := l.post(strings.NewReader(notification(l.registry.Host(), "team/app", "3.0", gone)),
		nil); status/100 != 2 {
		t.Fatalf("answered %d", status)
	}
	failed := func(j api.Job) bool { return j.State == "failed" }
	first := l.awaitJob("the dead letter", failed)
	if first.Priority != pratique.PriorityPush || !strings.Contains(first.Ref, ":3.0@"+gone.String()) {
		t.Errorf("%+v", first)
	}
	l.operator().run(t, "requeue", first.Event).want(t, 0)
	again := l.awaitJob("its successor", func(j api.Job) bool {
		return failed(j) && j.Event != first.Event
	})
	s, err := l.client.Submission(t.Context(), again.Event, 0)
	if err != nil || s.Requeues != first.Event || s.Source != "main" || s.Actor != "ci" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCancelRunningInspection: the registry keeps a download open for ever, and the worker is free
// again at once.
func TestCancelRunningInspection(t *testing.T) {
	t.Parallel()
	var hold, held atomic.Bool
	l := newLine(t, lineOptions{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				held.Store(true)
				<-r.Context().Done() // until the client gives up
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	l.serve()
	hold.Store(true)
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	job := l.awaitJob("the inspection", func(j api.Job) bool {
		return j.State == api.JobRunning && held.Load()
	}, "--state", "running")
	l.operator().run(t, "cancel", job.Event).want(t, 0)
	l.awaitEmptyQueues()
	hold.Store(false)
	s, err := l.client.Submission(t.Context(), job.Event, 0)
	if err != nil || s.State != pratique.StateCanceled || s.Failure != nil {
		t.Errorf("%+v, %v", s, err)
	}
	l.noCommit()
	l.operator().run(t, "requeue", job.Event).want(t, 0)
	l.awaitState(digest, pratique.StateDeployed)
}

// busyRegistry asks for patience once, and notes who asks all the same.
type busyRegistry struct {
	mu       sync.Mutex
	armed    bool
	until    time.Time
	pestered []string
}

const busyFor = 2 * time.Second

func (b *busyRegistry) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		refuse := b.armed && strings.Contains(r.URL.Path, "/manifests/")
		switch {
		case refuse:
			b.armed, b.until = false, time.Now().Add(busyFor)
		case time.Now().Before(b.until):
			b.pestered = append(b.pestered, r.Method+" "+r.URL.Path)
		}
		b.mu.Unlock()
		if refuse {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// TestRegistryAsksForPatience: all that is submitted meanwhile waits in the queue, nobody asks the
// registry, and everything is evaluated when the time is over.
func TestRegistryAsksForPatience(t *testing.T) {
	t.Parallel()
	busy := &busyRegistry{}
	l := newLine(t, lineOptions{wrap: busy.wrap})
	image := l.build(images.Clean())
	digest := l.push("team/app:1.0", image) // before anybody listens
	busy.mu.Lock()
	busy.armed = true
	busy.mu.Unlock()
	l.serve()
	var ids []string
	for range 5 {
		s, err := l.client.Submit(t.Context(), l.registry.Host()+"/team/app:1.0", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	for _, id := range ids {
		s, err := l.client.Submission(t.Context(), id, time.Minute)
		if err != nil || !s.Done || s.Outcome != pratique.Allow || s.Digest != digest {
			t.Errorf("%+v, %v", s, err)
		}
	}
	busy.mu.Lock()
	if busy.until.IsZero() || len(busy.pestered) > 0 {
		t.Errorf("asked within the pause: %v", busy.pestered)
	}
	busy.mu.Unlock()
	// The job of the push's own notification may still have to ask the registry, which takes the
	// lock.
	l.awaitEmptyQueues()
}
