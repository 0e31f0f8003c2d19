// Command testprogress runs go test with the arguments that it gets, and says of each package how
// it ended as soon as it did. go test alone keeps the order of the packages: one that takes minutes
// hides all behind it. Every 20 seconds it says what is running. What failed is shown in full, and
// the exit status is that of go test.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is a line of go test -json; see go doc test2json.
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// report shows the events as they come.
type report struct {
	out io.Writer
	now func() time.Time

	mu      sync.Mutex
	running map[string]time.Time
	said    map[string]map[string]*strings.Builder // of packages, by test; "" is the package itself
	failed  map[string][]string
	ended   int
}

func newReport(out io.Writer, now func() time.Time) *report {
	return &report{out: out, now: now, running: map[string]time.Time{},
		said: map[string]map[string]*strings.Builder{}, failed: map[string][]string{}}
}

// follow shows all events of a stream. What is no event is passed on.
func (r *report) follow(stream io.Reader) error {
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprint(r.out, string(line))
			} else {
				r.show(e)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (r *report) show(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "start":
		r.running[e.Package] = r.now()
		r.said[e.Package] = map[string]*strings.Builder{}
	case "output":
		tests := r.said[e.Package]
		if tests == nil {
			return
		}
		if tests[e.Test] == nil {
			tests[e.Test] = &strings.Builder{}
		}
		tests[e.Test].WriteString(e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			r.end(e)
			return
		}
		if e.Action == "fail" {
			r.failed[e.Package] = append(r.failed[e.Package], e.Test)
		} else {
			delete(r.said[e.Package], e.Test)
		}
	}
}

// end shows how a package ended.
func (r *report) end(e event) {
	tests := r.said[e.Package]
	delete(r.running, e.Package)
	delete(r.said, e.Package)
	r.ended++
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %-60s %6.1fs\n", e.Package, e.Elapsed)
	case "skip":
		fmt.Fprintf(r.out, "-     %-60s no tests\n", e.Package)
	default:
		for _, test := range r.failed[e.Package] {
			if said := tests[test]; said != nil {
				fmt.Fprint(r.out, said.String())
			}
			delete(tests, test)
		}
		// of the package, and of tests that did not end
		for _, test := range slices.Sorted(maps.Keys(tests)) {
			fmt.Fprint(r.out, tests[test].String())
		}
		fmt.Fprintf(r.out, "FAIL  %-60s %6.1fs\n", e.Package, e.Elapsed)
	}
}

// beat says what is running.
func (r *report) beat() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.running) == 0 {
		fmt.Fprintf(r.out, "      building; %d packages tested\n", r.ended)
		return
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		all = append(all, fmt.Sprintf("%s for %s", name, r.now().Sub(r.running[name]).Round(time.Second)))
	}
	fmt.Fprintf(r.out, "      running: %s; %d packages tested\n", strings.Join(all, ", "), r.ended)
}

func main() {
	signal.Ignore(os.Interrupt) // go test gets it too, and ends
	command := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	command.Stderr = os.Stderr
	stream, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testprogress:", err)
		os.Exit(2)
	}
	r := newReport(os.Stdout, time.Now)
	go func() {
		for range time.Tick(20 * time.Second) {
			r.beat()
		}
	}()
	err = errors.Join(r.follow(stream), command.Wait())
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "testprogress:", err)
		os.Exit(2)
	}
}
