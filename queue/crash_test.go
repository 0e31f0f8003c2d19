package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue"
)

// The test binary runs itself as a victim, which is then killed with SIGKILL.
const (
	victimRole = "PRATIQUE_QUEUE_VICTIM"
	victimDir  = "PRATIQUE_QUEUE_DIR"
)

func TestMain(m *testing.M) {
	role := os.Getenv(victimRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := victim(role, os.Getenv(victimDir)); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

var crashConfig = queue.Config{AckWait: time.Second, MaxAttempts: 3, MinDelay: time.Millisecond,
	MaxDelay: 10 * time.Millisecond}

func victim(role, dir string) error {
	e, err := queue.StartEmbedded(queue.EmbeddedConfig{Dir: dir, SyncAlways: true})
	if err != nil {
		return err
	}
	conn, err := e.Conn()
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	b, ctx := queue.New(js, crashConfig), context.Background()
	if err := b.Setup(ctx); err != nil {
		return err
	}
	if role == "publish" {
		for i := 0; ; i++ {
			id := fmt.Sprint("m", i)
			if err := b.Publish(ctx, pratique.StageInspect, pratique.PriorityPush, id,
				[]byte(id)); err != nil {
				return err
			}
			fmt.Println(id)
		}
	}
	if role == "publish batches" {
		for i := 0; ; i++ {
			all := batch(fmt.Sprint("m", i, "-"), 50)
			if err := b.PublishBatch(ctx, pratique.StageInspect, all); err != nil {
				return err
			}
			for _, m := range all {
				fmt.Println(m.ID)
			}
		}
	}
	return b.Run(ctx, []queue.Work{{
		Stage: pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error {
			if role == "die" {
				fmt.Println(job.ID, job.Attempt)
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			fmt.Println(job.ID, job.Attempt)
			if role == "die-after-word" && job.Attempt == 1 {
				return pratique.Errorf(pratique.Died, "run inspector", "the child died")
			}
			if role == "die-after-word" {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			if job.ID == "stuck" {
				select {}
			}
			return nil
		},
		Failed: func(context.Context, queue.Job, error, bool) error { return nil },
	}})
}

// kill runs a victim until enough says so or it dies by itself, kills it, and returns its lines.
func kill(t *testing.T, role, dir string, enough func(lines []string) bool) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimRole+"="+role, victimDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var lines []string
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
		if enough(lines) {
			_ = cmd.Process.Kill() // SIGKILL; it may be dead already
		}
	}
	_ = cmd.Wait() // it was killed
	if n := len(lines); n > 0 && strings.HasPrefix(lines[n-1], "error:") {
		t.Fatal(lines[n-1])
	}
	return lines
}

func TestAcknowledgedSurvivesSIGKILL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := kill(t, "publish", dir, func(lines []string) bool { return len(lines) >= 100 })
	if len(acked) < 100 {
		t.Fatalf("the victim published %d", len(acked))
	}
	_, b, _ := start(t, dir, crashConfig)
	total := int(left(t, b))
	// At most the one under way when the kill came may be there besides.
	if total < len(acked) || total > len(acked)+1 {
		t.Errorf("%d stored, %d acknowledged", total, len(acked))
	}
	got := make(chan string, total+100)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			got <- job.ID
			return nil
		}})
	seen := map[string]int{}
	for range total {
		seen[receive(t, got)]++
	}
	for _, id := range acked {
		if seen[id] != 1 {
			t.Errorf("%s was acknowledged and delivered %d times", id, seen[id])
		}
	}
}

func TestJobOfAKilledWorkerComesAgainAndTheDoneOnesDoNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, b, _ := start(t, dir, crashConfig)
	publish(t, b, pratique.PriorityPush, "a", "b", "c", "stuck", "d")
	e.Close()
	lines := kill(t, "work", dir, func(lines []string) bool { return lines[len(lines)-1] == "stuck 1" })
	if got := strings.Join(lines, ", "); got != "a 1, b 1, c 1, stuck 1" {
		t.Fatalf("before the kill: %s", got)
	}
	_, b, _ = start(t, dir, crashConfig)
	got := make(chan string, 10)
	run(t, b, queue.Work{Stage: pratique.StageInspect, Failed: neverFails(t),
		Handle: func(_ context.Context, job queue.Job) error {
			got <- fmt.Sprint(job.ID, " ", job.Attempt)
			return nil
		}})
	after := []string{receive(t, got), receive(t, got)}
	slices.Sort(after) // which comes first depends on what JetStream had written of its delivery
	if strings.Join(after, ", ") != "d 1, stuck 2" {
		t.Errorf("after the kill: %s", after)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
	if len(got) > 0 {
		t.Errorf("and then: %s", <-got)
	}
}

// A message that kills its worker at once must end too, although nobody is left to record each
// failure, and an outage before gives it no more attempts.
func TestMessageThatKillsItsWorkerEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, b, _ := start(t, dir, crashConfig)
	publish(t, b, pratique.PriorityPush, "deadly")
	waits := make(chan int, 1000)
	stop := run(t, b, queue.Work{
		Stage:  pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error { waits <- job.Attempt; return errAway },
		Failed: func(context.Context, queue.Job, error, bool) error { return nil },
	})
	for range 2 * crashConfig.MaxAttempts {
		receive(t, waits)
	}
	stop()
	e.Close()
	for i := range crashConfig.MaxAttempts {
		if lines := kill(t, "die", dir, func([]string) bool { return false }); len(lines) != 1 {
			t.Fatalf("the victim that should die as number %d was not started: %q", i, lines)
		}
	}
	_, b, _ = start(t, dir, crashConfig)
	finals := make(chan error, 10)
	run(t, b, queue.Work{
		Stage: pratique.StageInspect,
		Handle: func(_ context.Context, job queue.Job) error {
			t.Errorf("started again, attempt %d", job.Attempt)
			return nil
		},
		Failed: func(_ context.Context, _ queue.Job, err error, final bool) error {
			if final {
				finals <- err
			}
			return nil
		},
	})
	if err := receive(t, finals); pratique.KindOf(err) != pratique.Exhausted {
		t.Errorf("got %v", err)
	}
	eventually(t, "the queue is empty", func() bool { return left(t, b) == 0 })
	if len(finals) > 0 {
		t.Error("recorded as final twice")
	}
}
