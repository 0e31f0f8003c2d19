package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/describe"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/remote"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/testenv/images"
	"github.com/pratique-dev/pratique/queue"
)

// serveSleepy runs the service with pauses between attempts that no test waits for.
func (l *line) serveSleepy() {
	l.t.Helper()
	l.serveWith(service.Options{Queue: queue.Config{MinDelay: time.Hour, MaxDelay: time.Hour},
		WakeInterval: 100 * time.Millisecond})
}

// asleep waits until the image's work failed, and checks what people are told of the next attempt.
func (l *line) asleep(d pratique.Digest, reason string) {
	l.t.Helper()
	image := l.await(d, "a failed attempt", func(i api.Image) bool {
		return i.Failure != nil && !i.NextAttempt.IsZero()
	})
	if wait := time.Until(image.NextAttempt); wait < 20*time.Minute ||
		!strings.Contains(image.Failure.Message, reason) {
		l.t.Fatalf("tried again in %s, failed of %s", wait, image.Failure.Message)
	}
	// The fact comes before the queue has the job back.
	var jobs api.JobList
	agree := func() bool {
		running := slices.ContainsFunc(jobs.Queues, func(q pratique.QueueStats) bool {
			return q.Running != 0 || q.Waiting != q.Total
		})
		return len(jobs.Items) == 1 && jobs.Items[0].NextAttempt.Equal(image.NextAttempt) &&
			strings.Contains(jobs.Items[0].Reason, reason) && !running
	}
	for deadline := time.Now().Add(patience); !agree(); time.Sleep(50 * time.Millisecond) {
		var err error
		if jobs, err = l.client.Jobs(l.t.Context(), "waiting", time.Time{}, 10); err != nil ||
			time.Now().After(deadline) {
			l.t.Fatalf("%+v, %v", jobs, err)
		}
	}
	var table strings.Builder
	if err := remote.WriteJobs(&table, jobs, time.Now()); err != nil ||
		!strings.Contains(table.String(), "NEXT") || !strings.Contains(table.String(), "  in ") {
		l.t.Errorf("%s, %v", table.String(), err)
	}
	if said := describe.Image(image, nil, false); !strings.Contains(said, "  trying again at "+
		words.Stamp(image.NextAttempt)+" after attempt 1 in stage ") {
		l.t.Error(said)
	}
}

var offlineConfig = template.Must(template.New("").Parse(strings.Replace(lineText,
	`{dir: "{{.Dir}}/db"}`, `{offline: true}`, 1)))

// TestImportedDatabaseWakes: those who wait for a database go on when one is imported, not when
// their pause is over.
func TestImportedDatabaseWakes(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{config: offlineConfig})
	l.serveSleepy()
	d := l.push("team/app:1", l.build(images.Clean()))
	l.asleep(d, "there is none")
	newScanBench(t).run("db", "import", filepath.Join(l.dir, "db"), "--config",
		l.configFile).want(t, 0, "now in use")
	l.awaitState(d, pratique.StateDeployed)
}

// TestRepairedRepositoryWakes: those who wait for a config repository go on when somebody has
// repaired a file, and when a login works again.
func TestRepairedRepositoryWakes(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	l.serveSleepy()
	app := l.registry.Host() + "/team/app"
	broken := func(text string) {
		if _, err := l.git.Advance(t.Context(), "config", text,
			fileSet{"clusters/production/marked.yaml": text}); err != nil {
			t.Fatal(err)
		}
	}
	broken("image: {name: \"" + app + ":0\"} # {\"$pratique\": \"" + app + "\"}\n")
	d := l.push("team/app:1", l.build(images.Clean()))
	l.asleep(d, "marked.yaml:1: ")
	broken("image: " + app + ":0 # {\"$pratique\": \"" + app + "\"}\n")
	l.awaitEmptyQueues() // it is deployed already where it could be written
	l.awaitState(d, pratique.StateDeployed)

	l.git.RequireAuth("somebody", "else")
	other := images.Clean()
	other.Text = "other"
	d = l.push("team/app:2", l.build(other))
	l.asleep(d, "deploy.targets[].username")
	l.git.RequireAuth("", "")
	l.awaitState(d, pratique.StateDeployed)
}
