package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processTree is the service as its own process, with the processes that it starts.
type processTree struct {
	t    *testing.T
	root int
	log  bytes.Buffer
}

// startService runs the program itself, until the end of the test.
func startService(t *testing.T, binary, config string) *processTree {
	t.Helper()
	p := &processTree{t: t}
	command := exec.Command(binary, "serve", "--config", config) // it is to drain, not to be killed
	command.Stdout, command.Stderr = &p.log, &p.log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p.root = command.Process.Pid
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it has ended already, if it failed
		if err := command.Wait(); err != nil || t.Failed() {
			t.Errorf("the service ended with %v, and said:\n%s", err, p.log.String())
		}
	})
	return p
}

// pids are the processes of the tree that live.
func (p *processTree) pids() []int {
	p.t.Helper()
	all := []int{p.root}
	for i := 0; i < len(all); i++ {
		// Each thread lists the children that it started.
		lists, err := filepath.Glob("/proc/" + strconv.Itoa(all[i]) + "/task/*/children")
		if err != nil {
			p.t.Fatal(err)
		}
		for _, list := range lists {
			raw, _ := os.ReadFile(list) // a thread that has ended has no children
			for _, field := range strings.Fields(string(raw)) {
				if pid, err := strconv.Atoi(field); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// cpu is the processor time of the tree, with that of its processes that have ended, in steps of 10
// ms.
func (p *processTree) cpu() time.Duration {
	p.t.Helper()
	const tick = 10 * time.Millisecond // Linux tells user space so on every architecture
	var total time.Duration
	for _, pid := range p.pids() {
		raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			p.t.Skipf("the processor time of processes cannot be read here: %v", err)
		}
		// The name, in parentheses, may contain anything.
		_, rest, _ := strings.Cut(string(raw[bytes.LastIndexByte(raw, ')'):]), " ")
		const utime, cstime = 11, 14
		for _, field := range strings.Fields(rest)[utime : cstime+1] {
			ticks, err := strconv.Atoi(field)
			if err != nil {
				p.t.Fatal(err)
			}
			total += time.Duration(ticks) * tick
		}
	}
	return total
}

// awaitIdle waits until the tree has used next to nothing for a while: until its children are warm,
// and what it does after a push is done.
func (p *processTree) awaitIdle() {
	p.t.Helper()
	const quiet, most = 500 * time.Millisecond, 10 * time.Millisecond
	deadline := time.Now().Add(patience)
	for before := p.cpu(); ; {
		time.Sleep(quiet)
		now := p.cpu()
		if now-before <= most {
			return
		}
		if before = now; time.Now().After(deadline) {
			p.t.Fatalf("the service is not idle after %s", patience)
		}
	}
}

// peakMemory is the highest resident sizes of the living processes together, in bytes. The program
// itself, which they share, is counted once.
func (p *processTree) peakMemory() int64 {
	p.t.Helper()
	var own, shared int64
	for _, pid := range p.pids() {
		raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			p.t.Fatal(err)
		}
		file := p.kib(raw, "RssFile:")
		own += p.kib(raw, "VmHWM:") - file
		shared = max(shared, file)
	}
	return (own + shared) << 10
}

func (p *processTree) kib(status []byte, key string) int64 {
	p.t.Helper()
	_, after, _ := bytes.Cut(status, []byte(key))
	var n int64
	if _, err := fmt.Sscan(string(after), &n); err != nil {
		p.t.Fatalf("the status of a process has no %s: %v", key, err)
	}
	return n
}
