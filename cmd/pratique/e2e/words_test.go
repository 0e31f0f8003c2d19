package e2e

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/cli"
	"github.com/pratique-dev/pratique/cmd/pratique/service"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/testenv/images"
)

// heard keeps what a service logs.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// TestLogWords: the log says what happened in the words that the documents have, and says that it
// stops.
func TestLogWords(t *testing.T) {
	t.Parallel()
	l := newLine(t, lineOptions{})
	conf, err := config.Load(l.configFile)
	if err != nil {
		t.Fatal(err)
	}
	var log heard
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- cli.Serve(ctx, conf, slog.New(slog.NewTextHandler(&log, nil)),
			service.Options{Queue: quick})
	}()
	d := l.push("team/app:1", l.build(images.Clean()))
	l.awaitState(d, pratique.StateDeployed)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"msg=resolved ", "msg=evaluated event=", "outcome=allow",
		"msg=deployed ", "msg=\"stopping: no new work is taken", "msg=stopped\n"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	for _, jargon := range []string{"msg=fact", "could not find out"} {
		if strings.Contains(log.String(), jargon) {
			t.Errorf("the log says %q", jargon)
		}
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
