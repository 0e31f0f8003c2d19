package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

func TestStopFinishesTheRequestUnderWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	started := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-ctx.Done()
		_, _ = io.WriteString(w, "done")
	})
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, listener, handler) }()
	go func() {
		<-started
		stop()
	}()
	response, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "done" {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second); err == nil {
		t.Error("still listening")
	}
}

// start runs a server whose handler tells when it was called.
func start(t *testing.T, grace time.Duration, handler http.HandlerFunc) (url string, stop func(),
	started chan struct{}, ended chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	started, ended = make(chan struct{}), make(chan error, 1)
	called := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		handler(w, r)
	})
	go func() { ended <- run(ctx, listener, called, grace) }()
	return "http://" + listener.Addr().String(), stop, started, ended
}

// A handler that waits is told of the stop, and its client gets an answer.
func TestStopEndsWaiting(t *testing.T) {
	t.Parallel()
	url, stop, started, ended := start(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			_, _ = io.WriteString(w, "not yet")
		case <-time.After(20 * time.Second):
			_, _ = io.WriteString(w, "waited to the end")
		}
	})
	go func() {
		<-started
		stop()
	}()
	begin := time.Now()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "not yet" {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// A handler that does not end is given up after the grace, and its client hears of it.
func TestStopGivesUpAfterTheGrace(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	url, stop, started, ended := start(t, 100*time.Millisecond, func(http.ResponseWriter, *http.Request) {
		<-release
	})
	go func() {
		<-started
		stop()
	}()
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	switch {
	case err == nil:
		response.Body.Close()
		t.Errorf("the client was told %s", response.Status)
	case os.IsTimeout(err):
		t.Error("the client was left waiting")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("still waiting")
	}
}

// TestSlowClient checks that a client that never finishes its header is cut off.
func TestSlowClient(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a time-out of several seconds")
	}
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, listener, http.NotFoundHandler()) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(3 * readHeaderTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection was still open after three times the bound: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
