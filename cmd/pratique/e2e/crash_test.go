package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// process is the service in a process of its own.
type process struct {
	l       *line
	command *exec.Cmd
	log     bytes.Buffer
	exited  chan struct{}
	err     error
}

// start runs the service in a process that dies at the edge; "never" is no edge.
func (l *line) start(edge string) *process {
	l.t.Helper()
	p := &process{l: l, exited: make(chan struct{})}
	p.command = exec.Command(os.Args[0], l.configFile)
	p.command.Env = append(append(os.Environ(), envCrash+"="+edge), l.env...)
	p.command.Stderr = &p.log
	if err := p.command.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.err = p.command.Wait()
	}()
	l.t.Cleanup(func() {
		_ = p.command.Process.Kill() // it has ended already, unless the test failed
		<-p.exited
		if l.t.Failed() {
			l.t.Logf("the service with edge %q said:\n%s", edge, p.log.String())
		}
	})
	return p
}

// wait waits for the end of the process and returns the signal that killed it, or 0.
func (p *process) wait() syscall.Signal {
	p.l.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.l.t.Fatal("the service did not end")
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return status.Signal()
		}
		p.l.t.Errorf("the service ended with %v", p.err)
	}
	return 0
}

// stop asks the process to drain.
func (p *process) stop() {
	p.l.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.l.t.Fatal(err)
	}
	if signal := p.wait(); signal != 0 {
		p.l.t.Errorf("killed by %v while draining", signal)
	}
}

// edges runs a push to its end and returns every point at which a crash could leave something half
// done.
func edges(t *testing.T, spec images.Spec, end pratique.State) []string {
	t.Helper()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	l.await(l.push("team/app:1.0", l.build(spec)), "the end", func(i api.Image) bool {
		return i.State == end && count(i, pratique.FactCompleted) == 1
	})
	stop()
	l.edges.mu.Lock()
	defer l.edges.mu.Unlock()
	all := slices.Clone(l.edges.all)
	slices.Sort(all)
	return slices.Compact(all)
}

// TestCrashAtEveryEdge kills the process at every edge of every stage, starts it again, and wants
// what would have come without the crash: for a clean image exactly one commit, for a vulnerable
// one none, and an index without contradictions. Under -short it takes the edges around what is
// visible outside.
func TestCrashAtEveryEdge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		spec    images.Spec
		end     pratique.State
		commits int
	}{
		{"clean", images.Clean(), pratique.StateDeployed, 2},
		{"vulnerable", images.Vulnerable(), pratique.StateDenied, 1},
	}
	for _, tt := range tests {
		all := edges(t, tt.spec, tt.end)
		if len(all) < 15 {
			t.Fatalf("only %d edges: %v", len(all), all)
		}
		if os.Getenv("PRATIQUE_TEST_ALL_EDGES") == "" {
			visible := []string{
				"inspect:before-resolved", "inspect:after-scanned", "attest:after-attach",
				"attest:after-attested",
				"deploy:after-enqueue", "deploy:after-commit", "deploy:after-answered",
				"deploy:after-completed", "attest:before-completed",
			}
			all = slices.DeleteFunc(all, func(e string) bool { return !slices.Contains(visible, e) })
		}
		for _, edge := range all {
			t.Run(tt.name+"/"+edge, func(t *testing.T) {
				t.Parallel()
				l := newLine(t, lineOptions{})
				dying := l.start(edge)
				digest := l.push("team/app:1.0", l.build(tt.spec))
				if signal := dying.wait(); signal != syscall.SIGKILL {
					t.Fatalf("the service was not killed at the edge, but by %v", signal)
				}
				again := l.start("never")
				image := l.awaitState(digest, tt.end)
				if l.commits() != tt.commits {
					t.Errorf("%d commits, want %d", l.commits(), tt.commits)
				}
				again.stop()
				l.checkIndex()
				if tt.end == pratique.StateDeployed {
					l.checkFiles(digest, "1.0")
				}
				if len(image.Deployments) != tt.commits-1 {
					t.Errorf("deployments %+v", image.Deployments)
				}
			})
		}
	}
}

func (l *line) checkIndex() {
	l.t.Helper()
	_, problems, err := index.Check(filepath.Join(l.dir, "data", "index.db"))
	if err != nil || len(problems) > 0 {
		l.t.Errorf("index: %v, %v", problems, err)
	}
}

// TestDrain stops the service with SIGTERM while work is under way, and wants it finished or taken
// up again.
func TestDrain(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	first := l.start("never")
	var digests []pratique.Digest
	for _, text := range []string{"a", "b", "c", "d"} {
		spec := images.Clean()
		spec.Text = text
		digests = append(digests, l.push("team/app:"+text, l.build(spec)))
	}
	l.await(digests[0], "a first fact", func(i api.Image) bool { return len(i.Facts) > 0 })
	first.stop()
	second := l.start("never")
	for _, d := range digests {
		l.await(d, "an end", func(i api.Image) bool { return i.State == pratique.StateDeployed })
	}
	second.stop()
	l.checkIndex()
}

// TestIndexOfAnotherVersion starts on an index that an older program wrote: it is made anew from
// the ledger.
func TestIndexOfAnotherVersion(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	stop := l.serve()
	digest := l.push("team/app:1.0", l.build(images.Clean()))
	before := l.await(digest, "the end", func(i api.Image) bool {
		return count(i, pratique.FactCompleted) == 1
	})
	stop()
	db, err := bbolt.Open(filepath.Join(l.dir, "data", "index.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte("1"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	l.serve()
	if after := l.awaitState(digest, pratique.StateDeployed); len(after.Facts) != len(before.Facts) {
		t.Errorf("%d facts, %d before", len(after.Facts), len(before.Facts))
	}
}

// TestStopWhileStarting asks the process to end at once, over and over at another moment: that is
// no failure.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	for delay := range 8 {
		p := l.start("never")
		time.Sleep(time.Duration(delay) * 100 * time.Millisecond)
		if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// Before the program has asked for signals the system ends it; later it ends by itself, and
		// wait sees to it that it does so without an error.
		p.wait()
	}
}
