package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// journal lists what the stages did, and the edges that they passed, so that tests can ask what
// came before what. What a stage only looks up is not in it: how often it does so is its own
// business.
type journal struct {
	t       *testing.T
	mu      sync.Mutex // an image is prepared while it is evaluated
	lines   []string
	lookups map[string]int

	fail map[string]error // makes a call fail before it has an effect
	// failedAt is how many lines there were when the first call failed.
	failedAt int
	after    map[string]func() // what happens during a call, once

	crash string             // the edge, with its count, at which the process dies
	at    func(point string) // is called at each edge, before a crash
	edges map[string]int
}

func newJournal(t *testing.T) *journal {
	return &journal{t: t, lookups: map[string]int{}, fail: map[string]error{},
		edges: map[string]int{}, failedAt: -1}
}

// do notes what is done, and returns the error that the test wants there.
func (j *journal) do(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	j.mu.Lock()
	j.lines = append(j.lines, line)
	j.mu.Unlock()
	return j.call(line)
}

// ask is do for what changes nothing, or nothing that anybody finds.
func (j *journal) ask(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	j.mu.Lock()
	j.lookups[line]++
	j.mu.Unlock()
	return j.call(line)
}

func (j *journal) call(line string) error {
	j.mu.Lock()
	happens := j.after[line]
	delete(j.after, line)
	err := j.fail[line]
	if err != nil && j.failedAt < 0 {
		j.failedAt = len(j.lines)
	}
	j.mu.Unlock()
	if happens != nil {
		happens()
	}
	return err
}

// died is what an edge panics with: no deferred call of a stage may count on more.
type died string

func (j *journal) edge(point string) {
	j.mu.Lock()
	j.edges[point]++
	passed := j.edges[point]
	j.lines = append(j.lines, "edge "+point)
	j.mu.Unlock()
	if j.at != nil {
		j.at(point)
	}
	if at := fmt.Sprintf("%s#%d", point, passed); at == j.crash {
		panic(died(at))
	}
}

// forget begins the journal anew.
func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines, j.failedAt = nil, -1
	clear(j.lookups)
}

// effects are the lines without the edges.
func (j *journal) effects() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return withoutEdges(j.lines)
}

// afterFailure are the effects after the first call that failed.
func (j *journal) afterFailure() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failedAt < 0 {
		j.t.Helper()
		j.t.Error("no call failed")
		return nil
	}
	return withoutEdges(j.lines[j.failedAt:])
}

func withoutEdges(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "edge ")
	})
}

// passed are the edges in their order.
func (j *journal) passed() []string {
	var points []string
	for _, line := range j.lines {
		if point, ok := strings.CutPrefix(line, "edge "); ok {
			points = append(points, point)
		}
	}
	return points
}

// count is how often something was done.
func (j *journal) count(line string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(j.lines), func(l string) bool { return l != line }))
}

// inOrder wants each of these to have been done once, and in this order, whatever else was done.
func (j *journal) inOrder(lines ...string) {
	j.t.Helper()
	done, last := j.effects(), -1
	for _, line := range lines {
		if n := j.count(line); n != 1 {
			j.t.Errorf("%q was done %d times, want once: %q", line, n, done)
			return
		}
		at := slices.Index(done, line)
		if at < last {
			j.t.Errorf("%q was done too early, want the order %q: %q", line, lines, done)
		}
		last = at
	}
}

// never wants nothing that begins so to have been done.
func (j *journal) never(prefixes ...string) {
	j.t.Helper()
	for _, line := range j.effects() {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			j.t.Errorf("%q was done: %q", line, j.effects())
		}
	}
}

// endsWith wants this to be the last that was done.
func (j *journal) endsWith(line string) {
	j.t.Helper()
	if done := j.effects(); len(done) == 0 || done[len(done)-1] != line {
		j.t.Errorf("the last was not %q: %q", line, done)
	}
}
