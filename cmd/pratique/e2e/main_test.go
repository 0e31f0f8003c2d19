package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pratique-dev/pratique/cmd/pratique/child"
	"github.com/pratique-dev/pratique/cmd/pratique/cli"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/testenv/powercut"
	"github.com/pratique-dev/pratique/queue"
)

// The test binary is also the program under test: it is started again as "pratique" with one of
// these set.
const (
	envMain  = "PRATIQUE_TEST_MAIN"  // run main with the arguments
	envCrash = "PRATIQUE_TEST_CRASH" // serve the configuration file, and die at this edge

	envAttempts = "PRATIQUE_TEST_ATTEMPTS" // how many starts a job has then, in place of those of quick
)

// quick shortens the waits of the queue, which are meant for networks.
var quick = queue.Config{AckWait: 2 * time.Second, MinDelay: 100 * time.Millisecond,
	MaxDelay: time.Second, MaxAttempts: 6}

func TestMain(m *testing.M) {
	powercut.Serve()
	switch {
	case len(os.Args) > 1 && os.Args[1] == child.Verb, os.Getenv(envMain) != "":
		cli.Main()
	case os.Getenv(envCrash) != "":
		os.Exit(serveUntilCrash())
	default:
		os.Exit(m.Run())
	}
}

// serveUntilCrash runs the service as serve does, until the edge "point#n" is reached for the n-th
// time. Then the process is killed as an out-of-memory killer would: nothing is flushed, closed or
// answered.
func serveUntilCrash() int {
	conf, err := config.Load(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return verb.Unknown
	}
	point, nth := os.Getenv(envCrash), int64(1)
	if at := len(point) - 2; at > 0 && point[at] == '#' {
		if nth, err = strconv.ParseInt(point[at+1:], 10, 64); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return verb.Unknown
		}
		point = point[:at]
	}
	var seen atomic.Int64
	edge := func(at string) {
		if at == point && seen.Add(1) == nth {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing after this line may run
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	settings, crashes := quick, 0
	if n, err := strconv.Atoi(os.Getenv(envAttempts)); err == nil {
		settings.MaxAttempts, crashes = n, n
	}
	if err := cli.Serve(ctx, conf, cli.NewLogger(conf.Log, os.Stderr),
		service.Options{Edge: edge, Queue: settings, Crashes: crashes}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return verb.Unknown
	}
	return 0
}
