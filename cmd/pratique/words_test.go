package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/api"
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

// TestLogWords: the log says what happened in the words that the documents have, and says that it stops.
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
		ended <- serveUntilDone(ctx, conf, slog.New(slog.NewTextHandler(&log, nil)), hooks{queue: quick})
	}()
	d := l.push("team/app:1", l.build(images.Clean()))
	l.awaitState(d, pratique.StateDeployed)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"msg=resolved ", "msg=evaluated event=", "outcome=allow", "msg=deployed ", "msg=\"stopping: no new work is taken", "msg=stopped\n"} {
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

// TestSubmitThatStopsWaiting: who stops waiting hears that the service does not, and how to ask.
func TestSubmitThatStopsWaiting(t *testing.T) {
	t.Parallel()
	reason := "the registry " + strings.Repeat("is away ", 100)
	s := api.Submission{ID: "e1", Ref: "registry.test/team/app:1", State: "accepted"}
	var asked int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := s
		if r.Method == http.MethodGet {
			asked++
			answer.Failure = &pratique.Failed{Stage: "inspect", Message: reason, Attempts: min(asked, 3)}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	f := submitFlags{serverFlags: serverFlags{url: server.URL}, wait: true, timeout: 500 * time.Millisecond}
	var out, progress bytes.Buffer
	err := f.run(t.Context(), s.Ref, &out, &progress)
	if err == nil || !strings.HasSuffix(err.Error(), "\nthe service goes on with it: pratique why registry.test/team/app:1 says how far it has come, pratique cancel e1 stops it") {
		t.Error(err)
	}
	if said := progress.String(); strings.Count(said, reason[:50]) != 1 || strings.Count(said, ", trying again after attempt ") != 3 || !strings.Contains(said, "after attempt 3 in stage inspect: the same again\n") {
		t.Error(said)
	}
}

// TestRatedLines: what senders repeat is logged a few times a minute, with how often it was not.
func TestRatedLines(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	r := &rated{most: 2, now: func() time.Time { return at }}
	take := func(key string) (n int, last string) {
		for range 5 {
			if left, ok := r.take(key); ok {
				n++
				last = fmt.Sprint(left)
			}
		}
		return n, last
	}
	if n, left := take("main"); n != 2 || left != "[]" {
		t.Errorf("%d lines, %s", n, left)
	}
	if n, _ := take("other"); n != 2 {
		t.Errorf("%d lines of another one", n)
	}
	at = at.Add(time.Minute)
	if left, ok := r.take("main"); !ok || fmt.Sprint(left) != "[notLogged=3]" {
		t.Errorf("%t, %v", ok, left)
	}
	if n, left := take("main"); n != 1 || left != "[]" {
		t.Errorf("%d lines, %s", n, left)
	}
}
